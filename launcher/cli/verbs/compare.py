"""`launch compare`: runs side by side, best first."""

from __future__ import annotations

import csv
import io
import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.report.comparison import Comparison, Figures, Spread
    from launcher.runs.directory import RunDir
    from launcher.sweeps.effects import Effect
    from launcher.sweeps.sweep import Sweep

LEAST_COLUMNS = 3
"""Of the table, on the narrowest terminal: which run, its metric, how far it is from the best."""


@click.command("compare")
@click.argument("references", nargs=-1, required=True, metavar="RUN RUN ...")
@click.option(
    "--metric", metavar="NAME", help="Compare by this metric; default: the one that chose the best models."
)
@click.option("--best", is_flag=True, help="Print the recipe of the best; launch recipe=FILE trains it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one csv line per run, with the values of a sweep.")
@click.option("--latency", is_flag=True, help="Measure how long each model takes for one text here.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch compare bert-1 bert-2 roberta-1 roberta-2
    launch compare bert-1 roberta-1 --latency --metric macro_f1
    launch compare SWEEP --best > best.yaml
    launch compare SWEEP --csv > trials.csv
""")
def compare_command(
    references: tuple[str, ...],
    metric: str | None,
    best: bool,
    as_csv: bool,
    latency: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Quality, training time, latency, memory and size of runs, best first.

    Runs that differ only in their seed or fold share a row: mean ± standard deviation. For a sweep, also what each of its keys
    does to the metric.
    """
    from dataclasses import asdict

    from launcher.cli.output import show, show_json
    from launcher.loading.resolve import read_recipe_file
    from launcher.report.comparison import compare, figures
    from launcher.report.significance import TEST

    if as_csv and (best or as_json):
        raise options.misused("--csv goes with neither --best nor --json")
    directory = options.resolve_runs_dir(runs_dir)
    runs = _evaluated(references, directory, metric)
    machine = platform.node()
    known = [figures(run, metric, machine) for run in runs]
    rows = compare(known)
    if latency:
        untimed = [run for run in runs if not _has_latency(run, machine)]
        for run in untimed:
            read_recipe_file(run.recipe)  # what is wrong with one is told before any model is loaded
        for run in untimed:
            _measure(run, machine)
        rows = compare([figures(run, metric, machine) for run in runs])
    _tell_doubts(runs, known)
    if best:
        first = next(run for run in runs if run.run_id == rows[0].runs[0])
        _show_best(rows[0], first, known[0].metric, as_json)
    elif as_csv:
        show(_csv(known, _values(references, directory)).rstrip())
    elif as_json:
        found = [asdict(effect) for effect in _effects(known, references, directory)]
        document = {"metric": known[0].metric, "test": TEST, "rows": list(map(asdict, rows))}
        show_json({**document, "effects": found})
    else:
        sweep = _sweep(references, directory)
        show(text_of(rows, known[0].metric, None if sweep is None else sweep.name))
        if told := _effects(known, references, directory):
            show("\n" + _effects_text(told))
        if any(row.against_best for row in rows):
            show(f"p: {TEST}, against the first row")


def _tell_doubts(runs: Sequence[RunDir], known: Sequence[Figures]) -> None:
    """What keeps the runs from being compared fairly, and what their records lack."""
    from launcher.cli.output import say
    from launcher.report.comparison import doubts
    from launcher.runs.metrics import doubt_of

    for doubt in doubts(known):
        say(f"note: {doubt}")
    for run in runs:
        if lack := doubt_of(run):
            say(f"note: {run.run_id}: {lack}")


def _sweep(references: Sequence[str], runs_dir: Path) -> Sweep | None:
    """The sweep, where the references are one and nothing else."""
    return options.sweep_meant(references[0], runs_dir) if len(references) == 1 else None


def _values(references: Sequence[str], runs_dir: Path) -> dict[str, Mapping[str, Any]]:
    """What the trials of the sweep have in its keys, by run id; empty where the references are not one sweep."""
    sweep = _sweep(references, runs_dir)
    return {} if sweep is None else {trial.run_id: trial.values for trial in sweep.trials}


def _effects(known: Sequence[Figures], references: Sequence[str], runs_dir: Path) -> list[Effect]:
    """What each key of the sweep does; seed and fold are no settings."""
    from launcher import tasks
    from launcher.report.comparison import REPEATED
    from launcher.sweeps.effects import effects

    values = _values(references, runs_dir)
    trials = [
        ({key: value for key, value in values[run.run_id].items() if key not in REPEATED}, run.best)
        for run in known
        if run.run_id in values
    ]
    higher = tasks.named(known[0].task).higher_is_better(known[0].metric)
    return effects(trials, higher_is_better=higher)


def _effects_text(found: Sequence[Effect]) -> str:
    from launcher.cli.output import fitted, table
    from launcher.figures import human_number

    def levels(effect: Effect) -> str:
        if not effect.levels:
            return "upper half of its values against the lower"
        return "  ".join(f"{level.written}: {human_number(level.mean)}" for level in effect.levels)

    rows = [
        (
            effect.key,
            f"{effect.span:.4f}",
            "-" if effect.rank_correlation is None else f"{effect.rank_correlation:+.2f}",
            levels(effect),
        )
        for effect in found
    ]
    return table(fitted([["key", "span of means", "rank correlation", "means, best first"], *rows], 3))


def _csv(known: Sequence[Figures], values: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each run, with its values in the sweep's keys."""
    keys = list(next(iter(values.values()), {}))
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        ["run", *keys, known[0].metric, "test", "train_s", "memory_bytes", "size_bytes", "parameters"]
    )
    for run in known:
        own = values.get(run.run_id, {})
        cells = [
            json.dumps(own[key]) if key in own and not isinstance(own[key], str) else own.get(key)
            for key in keys
        ]
        out.writerow(
            [
                run.run_id,
                *cells,
                run.best,
                run.test,
                run.train_s,
                run.memory_bytes,
                run.size_bytes,
                run.parameters,
            ]
        )
    return text.getvalue()


def _evaluated(references: Sequence[str], runs_dir: Path, metric: str | None) -> list[RunDir]:
    """The runs that are meant; of a sweep, those that have an evaluated model by now, and the metric of it."""
    from launcher.cli.output import say
    from launcher.errors import UserError
    from launcher.report.comparison import has_value

    runs = options.believed(options.runs_meant(references, runs_dir))
    named = {run.path for name in references for run in _named(name, runs_dir)}
    ready = [run for run in runs if run.path in named or _has_best(run)]
    if not ready:
        remedy = f"launch status {references[0]} says how far they are"
        raise UserError("has no trial with an evaluated model yet", ", ".join(references), remedy=remedy)
    if left := len(runs) - len(ready):
        say(f"note: {left} of {len(runs)} trials have no evaluated model yet and are left out")
    comparable = [run for run in ready if run.path in named or has_value(run, metric)]
    if not comparable:
        return ready  # of which the first is refused, with the reason
    if left := len(ready) - len(comparable):
        say(
            f"note: {left} of {len(runs)} trials have no number for {metric or 'the metric'} and are left out"
        )
    return comparable


def _named(reference: str, runs_dir: Path) -> list[RunDir]:
    """The run, where the reference is that of no sweep."""
    is_sweep = options.sweep_meant(reference, runs_dir) is not None
    return [] if is_sweep else options.runs_meant([reference], runs_dir)


def _has_best(run: RunDir) -> bool:
    result = run.read_result()
    return result is not None and result.best is not None


def _show_best(row: Comparison, run: RunDir, metric: str, as_json: bool) -> None:
    """The recipe of a row's first run, without what belongs to that run alone."""
    from launcher.cli.output import show, show_json
    from launcher.loading.resolve import dump_recipe
    from launcher.runs.planned_recipe import planned_recipe

    recipe = planned_recipe(run).model_copy(update={"run_id": None})
    if as_json:
        show_json({"metric": metric, "best": row.best.mean, "run": run.run_id, "recipe": recipe.tree()})
    else:
        show(f"# {row.name}: {metric} {_value(row.best)}\n{dump_recipe(recipe).rstrip()}")


def _has_latency(run: RunDir, machine: str) -> bool:
    latency = run.read_latency()
    return latency is not None and latency.machine == machine


def _measure(run: RunDir, machine: str) -> None:
    """Time the model in a process of its own and keep the figure with the run."""
    from launcher.cli.train_process import run_verb
    from launcher.runs.files import write_json
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Timed

    timed = run_verb(["latency", str(run.path)], Timed)
    write_json(run.latency, {"machine": machine, **tree_of(timed)})


def text_of(rows: Sequence[Comparison], metric: str, sweep: str | None) -> str:
    """A line for each row; what all rows have in common is told below, and what a narrow terminal has no room for isn't."""
    from launcher.cli.output import fitted, in_full, table

    columns = _columns(rows, metric, sweep)
    common = (
        {} if len(rows) == 1 else {name: cells[0] for name, cells in columns.items() if _is_same(name, cells)}
    )
    lines = [name for name, cells in columns.items() if name not in common and set(cells) != {"-"}]
    cells = [lines, *zip(*(columns[name] for name in lines), strict=True)]
    text = table(fitted(in_full(cells, LEAST_COLUMNS), 0))
    told = ", ".join(f"{name} {cell}" for name, cell in common.items() if cell != "-")
    return f"{text}\nall of them: {told}" if told else text


def _is_same(name: str, cells: Sequence[str]) -> bool:
    return name in ("size", "parameters", "model") and len(set(cells)) == 1


def _columns(rows: Sequence[Comparison], metric: str, sweep: str | None) -> dict[str, list[str]]:
    """The cells of each column, those that matter most first."""
    from launcher.figures import human_bytes, human_count, human_seconds

    return {
        "run" if sweep is None else f"{sweep}.": [_short_names(row, sweep) for row in rows],
        metric: [_value(row.best) for row in rows],
        "from the best": [_difference(row) for row in rows],
        "test": [_value(row.test) for row in rows],
        "latency": [f"{row.latency_ms.mean:.2f} ms" if row.latency_ms else "-" for row in rows],
        "training": [human_seconds(row.train_s.mean) if row.train_s else "-" for row in rows],
        "memory": [human_bytes(round(row.memory_bytes.mean)) if row.memory_bytes else "-" for row in rows],
        "size": [human_bytes(round(row.size_bytes.mean)) for row in rows],
        "parameters": [human_count(row.parameters) if row.parameters else "-" for row in rows],
        "model": [row.model for row in rows],
    }


def _difference(row: Comparison) -> str:
    found = row.against_best
    if found is None:
        return "-"
    some = "" if found.seeds == len(row.runs) else f" ({found.seeds} {row.repeated}s)"
    return f"{found.mean:+.4f}, p {found.p:.2g}{some}"


def _short_names(row: Comparison, sweep: str | None) -> str:
    """A row of a sweep's trials by what they have in common beside the name of the sweep."""
    if sweep is None:
        return row.name
    own = [run.removeprefix(f"{sweep}.") for run in row.runs]
    common = {re.sub(r"(^|-)(seed|fold)[0-9]+", "", name).lstrip("-") for name in own}
    if len(own) == 1 or len(common) > 1:
        return own[0] if len(own) == 1 else f"{own[0]} and {len(own) - 1} more"
    return f"{common.pop()}, {len(own)} {row.repeated}s".lstrip(", ")


def _value(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.4f}"
    return f"{spread.mean:.4f}{deviation}"
