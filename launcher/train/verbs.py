"""The verbs that need torch: each prints JSON events on stdout, which the CLI renders."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import tasks
from launcher.engine.table import TriedFamilies
from launcher.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    LauncherError,
    Problem,
    RunFailed,
    UserError,
)
from launcher.loading.resolve import read_recipe_file
from launcher.reading.cleaning import cleaner
from launcher.reading.corpus import documents
from launcher.reading.inference_files import look_to_predict, rows_to_predict
from launcher.recipe.recipe import Recipe
from launcher.runs.best_model import step_of
from launcher.runs.directory import RunDir
from launcher.runs.metrics import doubt_of_file
from launcher.runs.records import tree_of
from launcher.runs.verb_results import (
    DataReport,
    Evaluations,
    Explanations,
    Exported,
    Negatives,
    Planted,
    Prebuilt,
    Predictions,
    Prefetched,
    Sent,
    StateDifferences,
    Timed,
    TorchFacts,
    TrainedStep,
    Upload,
    Workspace,
)
from launcher.train.compat.short_start import shorten_start
from launcher.train.process.events import Events
from launcher.train.use.inference_files import labelled_split
from launcher.train.use.written_rows import write_array, write_rows

if TYPE_CHECKING:
    from launcher.tasks.shared.rows import Row
    from launcher.train.use.inference import Predictor

OUTPUT_FORMATS = (".csv", ".jsonl")
ARRAY = ".npy"
Verb = Callable[[Namespace, Events], object]


def run_verb(arguments: list[str]) -> int:
    """Run one verb; its result or its error is the last event. Returns the exit code."""
    events = Events(os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace"))
    os.dup2(2, 1)  # whatever libraries print must not come between the events
    options = _parser().parse_args(arguments)
    if options.imports_models:
        shorten_start()
    run: Verb = options.run
    try:
        result = run(options, events)
    except UserError as error:
        return _fail(events, error.exit_code, error.problems)
    except RunFailed as error:
        problem = Problem(error.message, remedy=error.remedy)
        return _fail(events, error.exit_code, [problem], error.error_class)
    except LauncherError as error:
        return _fail(events, error.exit_code, [Problem(str(error))])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.strerror is None:  # no refusal of the system's: libraries call their own errors so
            raise
        where = None if error.filename is None else str(error.filename)
        return _fail(events, EXIT_USAGE, [Problem(error.strerror, where)])
    events.emit("result", **tree_of(result))
    return EXIT_OK


def _fail(events: Events, exit_code: int, problems: Iterable[Problem], kind: str = "failed") -> int:
    events.emit("error", exit_code=exit_code, problems=list(map(vars, problems)), **{"class": kind})
    return exit_code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m launcher.train")
    verbs = parser.add_subparsers(required=True)
    _add_uses_of_models(verbs)
    _add_looks_at_runs(verbs)
    _add(verbs, "prefetch", prefetch_recipe, "recipe", imports_models=True)
    _add(verbs, "data", examine_data, "recipe", imports_models=True)
    _add(verbs, "doctor", examine)
    _add(verbs, "engine", try_engine, imports_models=True)
    _add(verbs, "prebuild", prebuild)
    return parser


def _add(verbs: Any, name: str, run: Verb, *paths: str, imports_models: bool = False) -> ArgumentParser:
    """A verb with these arguments and options, each a path; its parser takes what else it has."""
    parser: ArgumentParser = verbs.add_parser(name)
    parser.set_defaults(run=run, imports_models=imports_models)
    for path in paths:
        parser.add_argument(path, type=Path)
    return parser


def _add_uses_of_models(verbs: Any) -> None:
    """Verbs that load the model of a run; --recipe says how a file is read where it isn't as the run's own."""
    add = partial(_add, verbs, imports_models=True)
    evaluate = add("eval", evaluate_run, "directory", "--recipe", "--output")
    evaluate.add_argument("data", type=Path, nargs="?")
    predict = add("predict", predict_run, "directory", "--recipe", "--output")
    predict.add_argument("file", type=Path, nargs="?")
    predict.add_argument("--text", action="append", default=[])
    negatives = add("negatives", find_negatives, "directory", "corpus", "--recipe")
    negatives.add_argument("--output", type=Path, required=True)
    negatives.add_argument("--count", type=int, required=True)
    negatives.add_argument("--margin", type=float)
    negatives.add_argument("--labelled", action="store_true")
    explain = add("explain", explain_run, "directory")
    explain.add_argument("--text", action="append", default=[])
    explain.add_argument("--label")
    export = add("export", export_run, "directory")
    export.add_argument("--output", type=Path, required=True)
    export.add_argument("--onnx", action="store_true")
    export.add_argument("--int8", action="store_true")
    add("latency", time_run, "directory")
    add("step", show_step, "directory").add_argument("step", type=int)


def _add_looks_at_runs(verbs: Any) -> None:
    _add(verbs, "states", compare_runs, "expected").add_argument("found", type=Path, nargs="+")
    _add(verbs, "plant", plant_bit, "directory")
    sync = _add(verbs, "sync", sync_run, "directory")
    sync.add_argument("--to", default="wandb", choices=("wandb", "tensorboard", "mlflow"))
    sync.add_argument("--follow", action="store_true")
    _add(verbs, "workspace", lay_out_workspace, "directory")
    push = _add(verbs, "push", push_run, "directory")
    push.add_argument("--repo", required=True)
    push.add_argument("--public", action="store_true")
    push.add_argument("--repetition", type=Path, action="append", default=[])  # runs with other seeds
    push.add_argument("--yes", action="store_true")  # without it, say what would be sent


def sync_run(options: Namespace, events: Events) -> Sent:
    """Bring the record of a run to W&B, TensorBoard or MLflow."""
    run = RunDir(options.directory)
    if options.to == "wandb":
        from launcher.train.record.sync import sync

        sent = sync(run, events, follow=options.follow)
    else:
        from launcher.train.record.exports import export

        sent = export(run, options.to, follow=options.follow)
    if doubt := doubt_of_file(run):
        events.notice(f"{run.run_id}: {doubt}", "warning")
    return sent


def lay_out_workspace(options: Namespace, events: Events) -> Workspace:
    """Lay out the panels of a run's project at W&B."""
    from launcher.train.record.workspace import lay_out

    events.progress("asking W&B")
    return Workspace(options.directory.name, lay_out(RunDir(options.directory)))


def push_run(options: Namespace, events: Events) -> Upload:
    """Upload the best model to a hub, or say what would be uploaded."""
    from launcher.train.use.hub_upload import planned_upload, upload

    run, repetitions = RunDir(options.directory), [RunDir(path) for path in options.repetition]
    events.progress("asking the hub")
    plan = planned_upload(run, options.repo, public=options.public, repetitions=repetitions)
    if not options.yes:
        return plan
    events.progress("uploading")
    return upload(run, plan, repetitions=repetitions)


def _loaded(run: RunDir, recipe: Recipe, events: Events) -> Predictor:
    """The best model of a run, on the device that suits the recipe."""
    from launcher.train.use.inference import Predictor, best_device

    events.progress("loading the model")
    return Predictor.load(run, recipe, best_device(recipe))


def evaluate_run(options: Namespace, events: Events) -> Evaluations:
    """Metrics of the best model by split, or on a labelled file."""
    from launcher.train.dataset.prepare import prepare

    run = RunDir(options.directory)
    recipe = read_recipe_file(options.recipe or run.recipe)
    predictor, told = _loaded(run, recipe, events), events.progress_of
    if options.data is None:
        prepared = partial(
            prepare,
            tokenizer=predictor.tokenizer,
            progress=told("tokenising"),
            position_limit=predictor.longest,
        )
        dataset = prepared(recipe)
        if dataset.label_names and dataset.label_names != predictor.label_names:
            dataset = prepared(_with_labels(recipe, predictor.label_names))
        splits = {"validation": dataset.validation, "test": dataset.test}
        given = {name: Path(path) for name, path in recipe.eval.extra.items()}
    else:
        splits, given = {}, {options.data.name: options.data}
    splits |= {
        name: labelled_split(predictor, path, recipe, told(f"tokenising {name}"))
        for name, path in given.items()
    }
    if options.output is not None:
        from launcher.train.use.evaluated_files import write_evaluations

        step = step_of(run.model)
        return write_evaluations(options.output, predictor, splits, given, told, run.evaluated, step)
    return Evaluations(
        {
            name: predictor.evaluate(split, told(f"evaluating {name}"))
            for name, split in splits.items()
            if split is not None and len(split)
        }
    )


def _with_labels(recipe: Recipe, names: tuple[str, ...]) -> Recipe:
    """The recipe with the classes of a model that was trained on other data, or on them in another order."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"labels": names})})


def predict_run(options: Namespace, events: Events) -> Predictions:
    """Predictions for a file or for texts: in the result, or in a csv or jsonl file; vectors also in an array."""
    from launcher.train.use.predictions import predict_in_parts

    run = RunDir(options.directory)
    recipe = read_recipe_file(options.recipe or run.recipe)
    spec = tasks.of(recipe)
    output: Path | None = options.output
    if output is None and options.file is not None:
        suffix = options.file.suffix if options.file.suffix in OUTPUT_FORMATS else ".csv"
        output = Path(f"{options.file.stem}.predictions{suffix}").absolute()
    forms = OUTPUT_FORMATS if spec.array is None else (*OUTPUT_FORMATS, ARRAY)
    if output is not None and output.suffix not in forms:
        remedy = f"use a name that ends in {' or '.join(forms)}"
        raise UserError("can't be written", where=str(output), remedy=remedy)
    rows: Iterable[Row] = ()
    columns: tuple[str, ...] = ()
    if options.file is None:
        rows = texts = spec.rows_of(options.text)
        count = len(texts)
    else:
        events.progress(f"reading {options.file.name}")
        looked = look_to_predict(options.file, recipe)
        rows, count, columns = rows_to_predict(options.file, recipe), looked.count, tuple(looked.stored)
    predictor = _loaded(run, recipe, events)
    name = str(options.file or "--text")
    parts = predict_in_parts(predictor, rows, name, count, events.progress_of)
    if output is None:
        return Predictions(tuple(row for part in parts for row in part))
    if output.suffix == ARRAY:
        vectors = ([row[str(spec.array)] for row in part] for part in parts)
        written = write_array(output, vectors, count)
    else:
        written = write_rows(output, parts, columns)
    return Predictions(output=str(output), rows=written)


def find_negatives(options: Namespace, events: Events) -> Negatives:
    """Hard negatives for the queries of a run's training data, in a csv or jsonl file."""
    from launcher.train.use.negatives import Wanted, labelled_table, mine, queries_of, table

    run = RunDir(options.directory)
    recipe = read_recipe_file(run.recipe)
    events.emit("progress", name=f"reading {options.corpus.name}", done=None, total=None)
    corpus = documents(options.corpus, read_recipe_file(options.recipe) if options.recipe else recipe)
    predictor = _loaded(run, recipe, events)
    queries, wanted = queries_of(predictor), Wanted(options.count, options.margin)
    found = list(mine(predictor, queries, corpus, wanted, events.progress_of))
    first, second = predictor.task.spec.given_texts
    if options.labelled:
        (label,) = predictor.task.spec.label_columns
        rows = list(labelled_table(found, (first, second, label)))
    else:
        rows = list(table(found, wanted, (first, second)))
    write_rows(options.output, [rows])
    return Negatives(
        output=str(options.output),
        rows=len(rows),
        queries=len(queries),
        documents=len(corpus),
        negatives=sum(len(each.negatives) for each in found),
        short=sum(len(each.negatives) < wanted.count for each in found),
    )


def explain_run(options: Namespace, events: Events) -> Explanations:
    """Which words speak for and against the prediction for each text, or pair of texts."""
    from launcher.train.use.attributions import explain

    run = RunDir(options.directory)
    recipe = read_recipe_file(run.recipe)
    spec = tasks.of(recipe)
    rows = map(cleaner(recipe), spec.rows_of(options.text))
    predictor = _loaded(run, recipe, events)
    texts = [[str(row.values[column]) for column in spec.text_columns] for row in rows]
    return Explanations(tuple(explain(predictor, parts, options.label) for parts in texts))


def export_run(options: Namespace, events: Events) -> Exported:
    """A plain Hugging Face directory of the best model."""
    from launcher.train.use.inference import export_model

    run = RunDir(options.directory)
    if not options.onnx:
        return Exported(str(export_model(run, options.output)))
    from launcher.train.use.onnx_export import export_onnx, refuse_missing

    refuse_missing()
    target = export_model(run, options.output)
    events.progress("tracing the model")
    recipe = read_recipe_file(run.recipe)
    found = export_onnx(run, recipe, target, options.int8, events.progress_of("comparing"))
    return Exported(str(target), found)


def time_run(options: Namespace, events: Events) -> Timed:
    """How long the best model takes for one text, here."""
    import torch

    from launcher.train.use.inference import Predictor, best_device
    from launcher.train.use.latency import TOKENS, measure_latency

    run = RunDir(options.directory)
    recipe = read_recipe_file(run.recipe)
    events.progress(f"timing {run.run_id}")
    device = best_device(recipe)
    ms = measure_latency(Predictor.load(run, recipe, device).model, device)
    return Timed(ms, TOKENS, device.type, torch.get_num_threads())


def prefetch_recipe(options: Namespace, events: Events) -> Prefetched:
    """Put model, tokenizer and data where nodes without a network find them, and tokenise."""
    from launcher.train.inputs import prepare_dataset, tokenizer_for
    from launcher.train.model.build import fetch_model

    recipe = read_recipe_file(options.recipe)
    if recipe.model.name is not None:
        events.progress(f"fetching {recipe.model.name}")
        fetch_model(recipe)
    events.progress("loading data")
    dataset = prepare_dataset(recipe, tokenizer_for(recipe), events.progress_of("tokenising"))
    sizes = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return Prefetched(
        model=recipe.model.name,
        examples={name: len(split) for name, split in sizes.items() if split is not None},
        labels=tuple(dataset.label_names),
        fingerprint=dataset.fingerprint,
    )


def examine_data(options: Namespace, events: Events) -> DataReport:
    """What the data of a recipe hold and what is doubtful about them."""
    from launcher.train.dataset.data_report import report
    from launcher.train.inputs import longest_input, tokenizer_for

    recipe = read_recipe_file(options.recipe)
    tokenizer, limit = None, None
    try:
        tokenizer, limit = tokenizer_for(recipe), longest_input(recipe)
    except RunFailed as error:
        events.notice(f"lengths in tokens are left out: {error.message}")
    return report(recipe, tokenizer, limit, events.progress)


def show_step(options: Namespace, events: Events) -> TrainedStep:
    """The examples that a step of a run is made of."""
    from launcher.train.use.trained_step import examples_of

    return examples_of(RunDir(options.directory), options.step, partial(events.phase, "tokenising"))


def compare_runs(options: Namespace, events: Events) -> StateDifferences:
    """How the final states of runs differ from that of another."""
    from launcher.train.step.state_difference import compare_states

    expected = RunDir(options.expected)
    events.progress("comparing final states")
    return StateDifferences(tuple(compare_states(expected, RunDir(path)) for path in options.found))


def plant_bit(options: Namespace, events: Events) -> Planted:
    """Change a bit of a run's newest checkpoint."""
    from launcher.train.step.state_difference import plant_difference

    return Planted(plant_difference(RunDir(options.directory)))


def examine(options: Namespace, events: Events) -> TorchFacts:
    """What torch sees of this machine."""
    import torch

    from launcher.train.compat.switch import never_tested
    from launcher.train.record.provenance import gpu_names
    from launcher.train.record.versions import versions

    installed = versions()
    return TorchFacts(
        versions=installed,
        untested=tuple(never_tested(installed)),
        cuda=torch.version.cuda or "none",
        gpus=", ".join(gpu_names()) or "none",
        bf16=torch.cuda.is_bf16_supported(including_emulation=False)
        if torch.cuda.is_available()
        else "autocast on CPU",
        gloo=torch.distributed.is_gloo_available(),
        nccl=torch.distributed.is_nccl_available(),
    )


def try_engine(options: Namespace, events: Events) -> TriedFamilies:
    """Every family on a tiny encoder: is each way of computing a step right here, and how fast?"""
    from launcher.train.probe.families import try_families

    return TriedFamilies(tuple(try_families(events.progress)))


def prebuild(options: Namespace, events: Events) -> Prebuilt:
    """Compile the operators that DeepSpeed would otherwise compile at first use, with every rank waiting."""
    import torch

    from launcher.train.step.operators import building, extensions_dir
    from launcher.train.step.zero import import_deepspeed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    import_deepspeed(device)
    events.progress("compiling DeepSpeed's operators")
    if device == "cpu":
        from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

        with building():
            ShareMemCommBuilder().load(verbose=False)
    return Prebuilt(str(extensions_dir()))
