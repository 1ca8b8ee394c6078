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
    """Examine the data of a recipe: splits, labels, lengths, and what is doubtful, with places and what to do.

    With --step, of a run: the examples of that step, in the order of their batch.
    """
    if step is not None:
        _show_step(_only_run(assignments), step, runs_dir, as_json=as_json)
        return
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


def _only_run(words: tuple[str, ...]) -> str:
    from launcher.errors import Problem, UserError

    if len(words) != 1 or "=" in words[0]:
        message = f"needs a run and nothing else, not {' '.join(words) or 'none'}"
        raise UserError(Problem(message, where="--step", remedy="launch data --step N RUN"))
    return words[0]


def _show_step(reference: str, step: int, runs_dir: Path | None, *, as_json: bool) -> None:
    from launcher.cli.output import printable, show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.runs.finding import find

    run = find(reference, options.resolve_runs_dir(runs_dir))
    result = run_verb(["step", str(run.path), str(step)])
    if as_json:
        show_json(result)
        return
    examples = result["examples"]
    show(f"step {step} of {run.run_id}, epoch {result['epoch'] + 1}: {len(examples)} examples")
    for example in examples:
        place = example.get("place") or f"example {example['example']}"
        show(f"{printable(place)} ({example['tokens']} tokens)")
        values = example.get("values") or {f"text {n}": text for n, text in enumerate(example["texts"], 1)}
        for name, value in values.items():
            show(f"    {printable(str(name))}: {printable(str(value))}")


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
        labels = Text(printable(_labels(split["labels"], split["classes"])))
        table.add_row(Text(printable(name)), human_count(split["examples"]), *lengths, labels)
    if any(split["tokens"] for split in splits.values()):
        table.caption = "lengths in tokens, before any is cut"
    return table


LENGTHS = ("median", "p90", "p99", "longest", "longer")


def _labels(labels: dict[str, int], classes: int) -> str:
    shown = [f"{name or '(none)'} {count:,}" for name, count in list(labels.items())[:LABELS_SHOWN]]
    more = [f"{classes - len(shown):,} more"] if classes > len(shown) else []
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
