"""`launch data`: what a recipe's data hold, and what is doubtful about them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from launcher.runs.verb_results import DataFinding, DataReport, Lengths, SplitReport

LABELS_SHOWN = 12
LEVELS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@click.command("data")
@click.argument("assignments", nargs=-1, metavar="recipe=NAME|PATH [key=value ...] | --step N RUN")
@click.option(
    "--step",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Show the texts that step N of a run was trained on.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch data recipe=bert-cls data.train=train.csv data.text=sentence
    launch data --step 120 smoke-20260131
""")
def data_command(
    assignments: tuple[str, ...], step: int | None, runs_dir: Path | None, as_json: bool
) -> None:
    """Examine the data of a recipe: splits, labels, lengths, and what is doubtful, where, and what to do.

    --step N RUN shows the examples of that step of a run, in the order of the batch.
    """
    if step is not None:
        _show_step(_only_run(assignments), step, runs_dir, as_json=as_json)
        return
    from launcher.cli.output import show_json, show_rich
    from launcher.cli.train_process import run_verb, write_recipe
    from launcher.loading import resolve as loading
    from launcher.reading import check as datacheck
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import DataReport

    loaded = loading.load(assignments, environ=os.environ, cwd=Path.cwd())
    facts = datacheck.check_data(loaded.recipe)
    with tempfile.TemporaryDirectory(prefix="launch-data-") as directory:
        path = write_recipe(Path(directory), loading.dump_recipe(loaded.recipe))
        result = run_verb(["data", str(path)], DataReport)
    if as_json:
        show_json({"columns": list(facts.columns), **tree_of(result)})
        return
    show_rich(report(result))


def _only_run(words: tuple[str, ...]) -> str:
    from launcher.errors import UserError

    if len(words) != 1 or "=" in words[0]:
        message = f"needs a run and nothing else, not {' '.join(words) or 'none'}"
        raise UserError(message, where="--step", remedy="launch data --step N RUN")
    return words[0]


def _show_step(reference: str, step: int, runs_dir: Path | None, *, as_json: bool) -> None:
    from launcher.cli.output import printable, show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.planning.run_data import recipe_of_step
    from launcher.runs.finding import find
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import TrainedStep

    run = find(reference, options.resolve_runs_dir(runs_dir))
    recipe_of_step(run, step)
    result = run_verb(["step", str(run.path), str(step)], TrainedStep)
    if as_json:
        show_json(tree_of(result))
        return
    show(f"step {step} of {run.run_id}, epoch {result.epoch + 1}: {len(result.examples)} examples")
    for each in result.examples:
        place = each.place or f"example {each.example}"
        show(f"{printable(place)} ({each.tokens} tokens)")
        values = each.values or {f"text {n}": text for n, text in enumerate(each.texts, 1)}
        for name, value in values.items():
            show(f"    {printable(str(name))}: {printable(str(value))}")


def report(result: DataReport) -> Iterator[Table | Text]:
    """A table of the splits, then what is doubtful."""
    yield _splits(result.splits)
    yield from _findings(result.findings)


def _splits(splits: Mapping[str, SplitReport]) -> Table:
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
        labels = Text(printable(_labels(split.labels, split.classes)))
        table.add_row(Text(printable(name)), human_count(split.examples), *_lengths(split.tokens), labels)
    if any(split.tokens for split in splits.values()):
        table.caption = "lengths in tokens, before any is cut"
    return table


def _lengths(tokens: Lengths | None) -> list[str]:
    from launcher.figures import human_count

    if tokens is None:
        return ["-"] * 5
    counts = (tokens.median, tokens.p90, tokens.p99, tokens.longest, tokens.longer)
    return ["-" if count is None else human_count(count) for count in counts]


def _labels(labels: Mapping[str, int], classes: int) -> str:
    shown = [f"{name or '(none)'} {count:,}" for name, count in list(labels.items())[:LABELS_SHOWN]]
    more = [f"{classes - len(shown):,} more"] if classes > len(shown) else []
    return ", ".join(shown + more) or "-"


def _findings(findings: Sequence[DataFinding]) -> Iterator[Text]:
    from rich.text import Text

    if not findings:
        yield Text("nothing doubtful found")
    for finding in findings:
        yield Text.assemble((f"{finding.level:<9}", LEVELS[finding.level]), (finding.message, "bold"))
        for example in finding.examples:
            yield Text(f"{'':<13}{example}", style="dim")
        if finding.remedy:
            yield Text(f"{'':<9}-> {finding.remedy}")
