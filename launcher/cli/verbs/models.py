"""`launch eval`, `predict`, `export` and `prefetch`: front ends of the verbs that need torch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options
from launcher.cli.file_arguments import (
    existing,
    file_and_words,
    output_words,
    recipe_for_file,
    telling_of_part,
)

if TYPE_CHECKING:
    from launcher.runs.directory import RunDir
    from launcher.runs.verb_results import OnnxExport, Predictions


@click.command("eval")
@options.run_argument
@click.argument("given", nargs=-1, metavar="[DATA] [data.KEY=VALUE]...")
@click.option(
    "--output",
    metavar="DIR",
    type=options.GivenPath(),
    help="Write predictions, tables by class, confusion matrix, calibration and intervals of all metrics there.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch eval smoke-20260131 test.csv
    launch eval smoke-20260131 test.csv --output looked-at
    launch eval smoke-20260131 other.csv data.text=review data.label=stars
    launch eval smoke-20260131            its own validation and test data
""")
def eval_command(
    reference: str, given: tuple[str, ...], output: str | None, runs_dir: Path | None, as_json: bool
) -> None:
    """Metrics of a run's best model on DATA, a file like its training data; data.* keys state what differs."""
    from launcher.cli.output import show, show_json
    from launcher.cli.summary import metrics_text
    from launcher.cli.train_process import run_verb
    from launcher.runs.verb_results import Evaluations

    run = trained_run(reference, runs_dir)
    data, words = file_and_words(given)
    file = existing(data)
    with recipe_for_file(run, data, words, labelled=True) as recipe:
        if output is not None:
            _evaluate_into(Path(output), ["eval", str(run), *file, *recipe], as_json)
            return
        result = run_verb(["eval", str(run), *file, *recipe], Evaluations)
    if as_json:
        show_json(result.tree())
        return
    for name, metrics in result.metrics.items():
        show(f"{name}: {metrics_text(metrics)}")


def _evaluate_into(directory: Path, command: list[str], as_json: bool) -> None:
    from launcher.cli.evaluated import metrics_with_intervals, prepare, write_tables
    from launcher.cli.output import say, show, show_json
    from launcher.cli.summary import shown
    from launcher.cli.train_process import run_verb
    from launcher.runs.files import filled
    from launcher.runs.verb_results import Evaluations

    with filled(directory.absolute()):
        target = prepare(directory)
        result = run_verb([*command, "--output", str(target)], Evaluations)
        files = list(write_tables(target))
    if as_json:
        show_json({**result.tree(), "files": list(map(str, files))})
        return
    for name, metrics in result.metrics.items():
        found = result.intervals[name] if result.intervals else None
        show("\n".join([f"{name}:", *metrics_with_intervals(metrics, found.by_metric if found else {})]))
        if found:
            say(f"  {found.method}")
    for path in files:
        show(shown(path))


@click.command("predict")
@options.run_argument
@click.argument("given", nargs=-1, metavar="[FILE] [data.KEY=VALUE]...")
@click.option(
    "--text",
    "texts",
    type=options.Text(),
    multiple=True,
    metavar="TEXT",
    help="A text to predict; twice for a pair, again for more.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=options.GivenPath(),
    help="Write csv or jsonl there; default: stdout for --text, FILE.predictions.csv for FILE "
    "(FILE.predictions.jsonl for jsonl).",
)
@click.option(
    "--negatives",
    type=click.IntRange(min=1),
    metavar="K",
    help="Search FILE, a corpus, for K hard negatives of each query of the run's training data; "
    "default output: FILE.negatives.csv.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1),
    metavar="M",
    help="With --negatives: skip what scores less than M below the positive; it may be a positive, too.",
)
@click.option(
    "--labelled",
    is_flag=True,
    help="With --negatives: one row per document with its label, to train ranking on.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch predict smoke-20260131 --text "a sentence of yours"
    launch predict smoke-20260131 new.csv --output predictions.csv
    launch predict smoke-20260131 other.csv data.text=review
    launch predict ranking-20260131 passages.txt --negatives 4 --margin 0.1
""")
def predict_command(
    reference: str,
    given: tuple[str, ...],
    texts: tuple[str, ...],
    output: str | None,
    negatives: int | None,
    margin: float | None,
    labelled: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Predictions of a run's best model for each row of FILE, or for --text."""
    from launcher import tasks
    from launcher.cli.negatives import Asked, find_negatives
    from launcher.cli.output import show_json
    from launcher.cli.train_process import run_verb
    from launcher.loading.resolve import read_recipe_file
    from launcher.runs.directory import RunDir
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Predictions

    file, words = file_and_words(given)
    if negatives is None and (margin is not None or labelled):
        raise options.misused("--margin and --labelled go with --negatives K")
    if bool(file) == bool(texts):
        raise options.misused("give a FILE or --text, one of them")
    if negatives is not None and file is None:
        raise options.misused("--negatives needs a FILE: the corpus")
    run = trained_run(reference, runs_dir)
    if negatives is not None and file is not None:
        find_negatives(run, file, words, Asked(negatives, margin, labelled, output), as_json)
        return
    if texts:
        tasks.of(read_recipe_file(RunDir(run).recipe)).rows_of(texts)
    command = ["predict", str(run), *existing(file)]
    command += [word for text in texts for word in ("--text", text)]
    target = output_words(file, output, "predictions")
    with recipe_for_file(run, file, words, labelled=False) as recipe, telling_of_part(target):
        result = run_verb([*command, *target, *recipe], Predictions)
    if as_json:
        show_json(tree_of(result))
    else:
        _show_predictions(run, result)


def _show_predictions(run: Path, result: Predictions) -> None:
    from launcher import tasks
    from launcher.cli.output import say, show
    from launcher.loading.resolve import read_recipe_file
    from launcher.runs.directory import RunDir

    task = tasks.of(read_recipe_file(RunDir(run).recipe))
    for row in result.predictions or ():
        show(task.told(row))
    if result.output is not None:
        say(f"{result.rows} predictions in {result.output}")


@click.command("export")
@options.run_argument
@click.option(
    "--output", metavar="DIR", type=options.GivenPath(), help="Directory to write; default RUN-model."
)
@click.option("--onnx", is_flag=True, help="Add model.onnx, compared with PyTorch on the validation data.")
@click.option("--int8", is_flag=True, help="Also add model.int8.onnx, with 8-bit weights.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch export smoke-20260131 --output my-model
    launch export smoke-20260131 --onnx --int8
""")
def export_command(
    reference: str, output: str | None, onnx: bool, int8: bool, runs_dir: Path | None, as_json: bool
) -> None:
    """A plain Hugging Face directory of the best model, adapters merged, with a model card.

    The card (README.md) has the metrics (with their spread, if the same recipe ran with other seeds), how the model was
    made, and Python that uses it without launch.
    """
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.errors import UserError
    from launcher.planning.run_data import recipe_with_data
    from launcher.runs.directory import RunDir
    from launcher.runs.files import filled
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Exported

    run = trained_run(reference, runs_dir)
    target = Path(output or f"{run.name}-model").absolute()
    if target.exists():
        raise UserError("exists already", where=str(target), remedy="choose another with --output DIR")
    if int8 and not onnx:
        raise options.misused("--int8 goes with --onnx")
    if onnx:
        recipe_with_data(RunDir(run))
    flags = [*(["--onnx"] if onnx else []), *(["--int8"] if int8 else [])]
    with filled(target):
        result = run_verb(["export", str(run), "--output", str(target), *flags], Exported)
        _write_card(run, target)
    if as_json:
        show_json(tree_of(result))
        return
    show(result.output)
    if result.onnx is not None:
        show(_onnx_table(result.onnx))


def _onnx_table(found: OnnxExport) -> str:
    """What the verb measured."""
    from launcher.cli.output import table
    from launcher.figures import human_bytes

    rows = [
        ["PyTorch", "-", "-", *_times(found.torch_latency_ms, found.torch_latency_many_ms), "-"],
    ]
    for it in found.models:
        difference = f"{it.largest_difference:.2g}"
        same = "-" if it.same_choice is None else f"{it.same_choice:.2%}"
        times = _times(it.latency_ms, it.latency_many_ms)
        rows.append([it.file, difference, same, *times, human_bytes(it.bytes)])
    headers = ("model", "largest difference", "same choice", "one text", f"{found.many} texts", "size")
    told = f"over {found.examples:,} validation examples; inputs {', '.join(found.inputs)}"
    return f"{table(rows, headers)}\n{told}; outputs {', '.join(found.outputs)}"


def _times(one: float, many: float) -> tuple[str, str]:
    return f"{one:.2f} ms", f"{many:.1f} ms"


def _write_card(run: Path, target: Path) -> None:
    """README.md, with the spread of metrics where the training was done with several seeds."""
    from launcher.cards.model_card import NAME, model_card
    from launcher.report.repetitions import repetitions
    from launcher.runs.directory import RunDir
    from launcher.runs.files import write_text

    found = RunDir(run)
    write_text(target / NAME, model_card(found, repetitions=repetitions(found)), mode=0o644)


@click.command("prefetch")
@options.assignments
@options.as_json
@options.examples("""
    launch prefetch recipe=roberta-cls
""")
def prefetch_command(assignments: tuple[str, ...], as_json: bool) -> None:
    """Download the model and the data of a recipe and tokenise them, so that nodes need no internet."""
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb, write_recipe
    from launcher.figures import quantity
    from launcher.loading import resolve as loading
    from launcher.planning.prepare import check
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Prefetched

    checked = check(assignments, os.environ, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="launch-prefetch-") as directory:
        path = write_recipe(Path(directory), loading.dump_recipe(checked.loaded.recipe))
        result = run_verb(["prefetch", str(path)], Prefetched)
    if as_json:
        show_json(tree_of(result))
        return
    counts = ", ".join(f"{count:,} of {split}" for split, count in result.examples.items())
    show(f"model   {result.model or 'none to download: it starts from random weights'}")
    classes = f"; {quantity(len(result.labels), 'class')}" if result.labels else ""
    show(f"data    tokenised: {counts}{classes}")


def trained_run(reference: str, runs_dir: Path | None) -> Path:
    """The directory of a run that has a model. Raises UserError where it has none yet, or one that is damaged."""
    from launcher.errors import Problem, UserError
    from launcher.planning.model_files import model_faults
    from launcher.runs.best_model import no_model
    from launcher.runs.finding import find

    run = find(reference, options.resolve_runs_dir(runs_dir))
    if not (run.model / "config.json").is_file():
        message, remedy = no_model(run)
        raise UserError(message, where=run.run_id, remedy=remedy)
    if faults := model_faults(str(run.model), weights=True):
        raise UserError([Problem(it.message, str(run.model), remedy=it.remedy) for it in faults])
    _tell_unfinished(run)
    return run.path


def _tell_unfinished(run: RunDir) -> None:
    """Say of which step a model is that a later one may still replace."""
    from launcher.cli.output import say
    from launcher.runs.best_model import doubt
    from launcher.runs.recovered_result import of_run

    if wrong := doubt(run):
        say(f"note: {wrong}")
        return
    result = run.read_result()
    if result is not None and result.status == "completed":
        return
    best = of_run(run, run.read_plan()).best
    of_step = f", of step {best.step}" if best else ""
    say(f"note: {run.run_id} is not completed: this is its best model so far{of_step}")
