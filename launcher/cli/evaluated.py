"""What `launch eval --output` writes beside the predictions: tables as csv, pictures as svg."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.report.figures_svg import confusion_svg, reliability_svg
from launcher.runs.examination import FILE, ClassFigures, Confusion, Examination, Interval
from launcher.runs.files import write_text
from launcher.runs.records import make, read_json
from launcher.runs.results import Metrics


def prepare(directory: Path) -> Path:
    """Make the directory where it isn't there. Raises UserError where it can't be, or holds something else."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = [path for path in directory.iterdir() if not _is_ours(path)]
    except OSError as error:
        raise UserError(
            f"can't be made: {error.strerror}", None, "--output", str(directory), "give another directory"
        ) from None
    if others:
        remedy = "give a new directory, or one that an evaluation has made"
        raise UserError(f"holds something else: {others[0].name}", None, "--output", str(directory), remedy)
    return directory.absolute()


def _is_ours(path: Path) -> bool:
    return path.name == FILE or (path / FILE).is_file() or path.suffix in (".csv", ".svg")


def write_tables(directory: Path) -> Iterator[Path]:
    """Write tables and pictures of each evaluation in a directory, and name every file that is there then."""
    for record in sorted([*directory.glob(FILE), *directory.glob(f"*/{FILE}")]):
        found = make(Examination, read_json(record) or {}, str(record))
        for name, text in _files(found):
            write_text(record.with_name(name), text, 0o644)
        yield from sorted(record.parent.glob("*.*"))


def _files(found: Examination) -> Iterator[tuple[str, str]]:
    intervals = {} if found.bootstrap is None else found.bootstrap.intervals
    rows = [
        (name, value, *((None, None) if (at := intervals.get(name)) is None else (at.low, at.high)))
        for name, value in found.metrics.items()
    ]
    yield "metrics.csv", _csv(("metric", "value", "low", "high"), rows)
    if found.classes:
        yield (
            "classes.csv",
            _csv(tuple(ClassFigures.__annotations__), [tuple(vars(each).values()) for each in found.classes]),
        )
    if found.confusion is not None:
        yield "confusion.csv", _matrix(found.confusion)
        yield (
            "confusion.svg",
            confusion_svg(
                found.confusion, f"Confusion matrix, {found.confusion.of} of {found.split}", alone=True
            ),
        )
    if found.calibration is not None:
        title = f"Calibration error {found.calibration.error:.3f} on {found.split}"
        yield (
            "calibration.csv",
            _csv(
                ("confidence", "accuracy", "count"),
                [tuple(vars(each).values()) for each in found.calibration.bins],
            ),
        )
        yield "calibration.svg", reliability_svg(found.calibration, title, alone=True)


def _matrix(confusion: Confusion) -> str:
    rows = [(name, *counts) for name, counts in zip(confusion.names, confusion.counts, strict=True)]
    return _csv(("true \\ predicted", *confusion.names), rows)


def _csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue()


def metrics_with_intervals(metrics: Metrics, intervals: Mapping[str, Interval | None]) -> Iterator[str]:
    """A line for each metric: `accuracy  0.9300  0.9010 to 0.9540`."""
    from launcher.figures import human_number

    for name, value in metrics.items():
        yield f"  {name:<20} {human_number(value):<10} {intervals.get(name) or ''}".rstrip()
