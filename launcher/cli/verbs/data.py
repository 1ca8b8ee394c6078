"""`launch data`: what a recipe's data hold, and what is doubtful about them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

LABELS_SHOWN = 12
LEVELS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@click.command("data")
@options.assignments
@options.as_json
@options.examples("""
    launch data recipe=bert-cls data.train=train.csv data.text=sentence
""")
def data_command(assignments: tuple[str, ...], as_json: bool) -> None:
    """Examine the data of a recipe: splits, labels, lengths, and what is doubtful, with places and what to do."""
    from launcher.cli.output import show_json, show_rich
    from launcher.cli.train_process import run_verb, write_recipe
    from launcher.loading import resolve as loading
    from launcher.reading import check as datacheck

    loaded = loading.load(assignments, environ=os.environ, cwd=Path.cwd())
    facts = datacheck.check_data(loaded.recipe)
    with tempfile.TemporaryDirectory(prefix="launch-data-") as directory:
        path = write_recipe(Path(directory), loading.dump_recipe(loaded.recipe))
        result = run_verb(["data", str(path)])
    if as_json:
        show_json({"columns": list(facts.columns), **result})
        return
    show_rich(report(result))


def report(result: dict[str, Any]) -> Iterator[Table | Text]:
    """A table of the splits, then what is doubtful."""
    yield _splits(result["splits"])
    yield from _findings(result["findings"])


def _splits(splits: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from launcher.cli.output import printable
    from launcher.figures import human_count

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("split")
    for name in ("examples", "median", "90%", "99%", "longest", "too long"):
        table.add_column(name, justify="right")
    table.add_column("labels")
    for name, split in splits.items():
        tokens = split["tokens"] or {}
        lengths = [human_count(tokens[key]) if key in tokens else "-" for key in LENGTHS]
        labels = Text(printable(_labels(split["labels"])))
        table.add_row(Text(printable(name)), human_count(split["examples"]), *lengths, labels)
    if any(split["tokens"] for split in splits.values()):
        table.caption = "lengths in tokens, before any is cut"
    return table


LENGTHS = ("median", "p90", "p99", "longest", "longer")


def _labels(labels: dict[str, int]) -> str:
    shown = [f"{name or '(none)'} {count:,}" for name, count in list(labels.items())[:LABELS_SHOWN]]
    more = [f"{len(labels) - LABELS_SHOWN} more"] if len(labels) > LABELS_SHOWN else []
    return ", ".join(shown + more) or "-"


def _findings(findings: list[dict[str, Any]]) -> Iterator[Text]:
    from rich.text import Text

    if not findings:
        yield Text("nothing doubtful found")
    for finding in findings:
        level = str(finding["level"])
        yield Text.assemble((f"{level:<9}", LEVELS[level]), (str(finding["message"]), "bold"))
        for example in finding["examples"]:
            yield Text(f"{'':<13}{example}", style="dim")
        if finding["remedy"]:
            yield Text(f"{'':<9}-> {finding['remedy']}")
