"""One attempt from start to finish: everything around the loop."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import platform
import resource
import socket
import statistics
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, LauncherError, RunFailed, RunStopped
from launcher.planning.plan import Plan, step_counts
from launcher.recipe.recipe import Recipe
from launcher.runs import out_of_memory as smaller
from launcher.runs.directory import AttemptDir, RunDir, read_json, write_json, write_text
from launcher.runs.failures import FREE_SPACE, last_step
from launcher.train.compress.compression import account, start_smaller
from launcher.train.compress.distillation import Distilled, with_teacher
from launcher.train.compress.magnitude_pruning import Sparsity
from launcher.train.dataset.inference_files import labelled_split
from launcher.train.dataset.prepare import Dataset, never, prepare, training_texts
from launcher.train.loop import Ending, Job, Speed, train
from launcher.train.model.build import build_model, load_config
from launcher.train.packed.collate import Collate
from launcher.train.packed.packing import PackedCollate
from launcher.train.packed.unpadded import make_collate
from launcher.train.process import ranks as distributed
from launcher.train.process.events import Events, finite
from launcher.train.process.ranks import Ranks
from launcher.train.process.single_writer import become_writer
from launcher.train.process.stop_requests import StopFlag
from launcher.train.record.recorder import NoRecord, open_record
from launcher.train.step.captured_steps import CudaRecorder, GraphedSteps
from launcher.train.step.checkpoints import Checkpoints, TrainState
from launcher.train.step.regularisation import Adversary
from launcher.train.step.strategy import Plain, Strategy, make_strategy
from launcher.train.step.token_limit import probe_tokens, with_tokens, within
from launcher.train.step.torch_compile import compile_layers
from launcher.train.tasks import Task, get_task
from launcher.train.tasks.labelled import take_own_loss
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import load_tokenizer, position_limit, train_tokenizer
from launcher.train.use.cloze_probes import make_probes
from launcher.train.use.inference import Predictor

LONGEST_MESSAGE = 1000
OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "'out of memory'",  # NCCL: Cuda failure 2 'out of memory'
)
"""Characters of an unexpected error that result.json keeps; the rank's log has it all."""
PACKAGES = ("torch", "transformers", "deepspeed", "peft", "datasets", "wandb")


def run_attempt(run: RunDir, stop: StopFlag) -> int:
    """Train this attempt on this rank; returns the process's exit code (a planned stop is a success for torchrun)."""
    attempt = run.attempt(int(os.environ.get("LAUNCHER_ATTEMPT", "1")))
    attempt.path.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("RANK", "0"))
    events = Events.to_file(run.events, attempt.number) if rank == 0 else Events(None)
    events.phase("starting")
    started = time.perf_counter()
    try:
        plan = read_plan(run, attempt)
        if attempt.plan.exists():
            events.notice(plan.notes[-1])
        ranks = distributed.join(plan)
        become_writer(run, ranks)
        job, state = make_job(run, attempt, plan, ranks, events, stop)
        ending, state, speed = train(job, state)
        if ending == "completed":
            job.checkpoints.wait()
        _finish(job, attempt, ending, state, speed, started)
    except RunStopped:
        if rank == 0:
            _end(run, attempt, events, EXIT_STOPPED, started, status="stopped")
    except Exception as error:  # noqa: BLE001  (whatever ends an attempt is recorded)
        traceback.print_exc()
        _fail(run, attempt, events, error, rank, started)
        return EXIT_FAILED
    distributed.leave()
    return EXIT_OK


def read_plan(run: RunDir, attempt: AttemptDir) -> Plan:
    """The plan of this attempt, from the run directory and nowhere else."""
    path = attempt.plan if attempt.plan.exists() else run.plan
    return Plan.model_validate_json(path.read_text(encoding="utf-8"))


def make_job(
    run: RunDir, attempt: AttemptDir, plan: Plan, ranks: Ranks, events: Events, stop: StopFlag
) -> tuple[Job, TrainState]:
    """Read data, build the model, and take up the newest valid checkpoint."""
    recipe = plan.recipe
    _set_kernels(recipe, ranks)
    events.phase("loading data")
    tokenizer = tokenizer_for(recipe)
    task = make_task(recipe, tokenizer, ranks)
    take_own_loss(task, run)
    dataset = _prepare_together(ranks, recipe, tokenizer, events, stop)
    for note in dataset.notes:
        events.notice(note)
    task.fit(dataset.train, dataset.label_names)
    events.phase("building model")
    start = recipe
    if recipe.prune.shrinks:
        start = start_smaller(run, recipe, task, dataset, tokenizer, ranks, events)
    built = build_model(start, task, dataset.label_names, tokenizer)
    collate, padding = make_collate(task, tokenizer, built.model, ranks.device)
    if isinstance(task, Distilled):
        task.watch(built.base)
    if padding is not None:
        events.notice(padding)
    if plan.compile == "inductor":
        compile_layers(built.base)
    strategy = make_strategy(plan, run, ranks, built.model)
    checkpoints = Checkpoints(run, ranks, recipe.checkpoint.keep)
    state = _newest_state(checkpoints, strategy, dataset, events)
    found = state.max_tokens
    if found is None:
        found = probe_tokens(plan, ranks, strategy, collate, task, dataset.train)
    limit = within(found, plan, smaller=attempt.plan.exists())
    if limit is not None and ranks.is_main:
        write_text(attempt.max_tokens, f"{limit}\n")
    state, plan = dataclasses.replace(state, max_tokens=limit), with_tokens(plan, limit)
    per_epoch, total, warmup = step_counts(recipe, len(dataset.train))
    config = run_config(run, plan, recipe, dataset)
    record = open_record(run, plan, events, config) if ranks.is_main else NoRecord()
    job = Job(
        run=run,
        plan=plan,
        recipe=recipe,
        ranks=ranks,
        task=task,
        dataset=dataset,
        tokenizer=tokenizer,
        built=built,
        strategy=strategy,
        collate=collate,
        probes=make_probes(recipe, tokenizer, longest_input(recipe)),
        adversary=Adversary(built.base.get_input_embeddings(), recipe.train.fgm)
        if recipe.train.fgm
        else None,
        checkpoints=checkpoints,
        sparsity=Sparsity(built.base, recipe.prune, total, state.step) if recipe.prune.magnitude else None,
        graphs=_graphed_steps(plan, task, strategy, collate, events),
        record=record,
        events=events,
        stop=stop,
        per_epoch=per_epoch,
        total=total,
        warmup=warmup,
    )
    return job, state


def _newest_state(
    checkpoints: Checkpoints, strategy: Strategy, dataset: Dataset, events: Events
) -> TrainState:
    """Where to go on from: the newest valid checkpoint, loaded, or the beginning. RunFailed where the data changed."""
    newest = checkpoints.newest(on_bad=lambda text: events.notice(text, "warning"))
    directory, state = newest or (None, TrainState())
    state = state.on(dataset.fingerprint, len(dataset.train))
    if directory is not None:
        strategy.load(directory)
        events.notice(f"resuming from {directory.name}")
    return state


def _graphed_steps(
    plan: Plan, task: Task, strategy: Strategy, collate: Collate, events: Events
) -> GraphedSteps | None:
    """Steps as CUDA graphs where the plan has them."""
    if plan.compile != "graph":
        return None
    assert isinstance(strategy, Plain)
    if not isinstance(collate, PackedCollate):
        events.notice("steps are not CUDA graphs, since there is no unpadded path for this model")
        return None
    return GraphedSteps(task, strategy, collate, CudaRecorder(torch.device("cuda")), events.notice)


def make_task(recipe: Recipe, tokenizer: Any, ranks: Ranks) -> Task:
    """The task of the training, with a teacher where the recipe names one."""
    if recipe.distill.teacher is not None:
        return with_teacher(recipe, tokenizer, ranks.device)
    return get_task(recipe, tokenizer)


def _prepare_together(
    ranks: Ranks, recipe: Recipe, tokenizer: Any, events: Events, stop: StopFlag
) -> Dataset:
    """`prepare_dataset`, or RunStopped on every rank where any of them was asked to stop meanwhile."""
    dataset = None
    with contextlib.suppress(RunStopped):
        dataset = prepare_dataset(
            recipe, tokenizer, lambda done, total: events.phase("tokenising", done, total), stop
        )
    if ranks.any(dataset is None) or dataset is None:
        raise RunStopped("stopped before the training began")
    return dataset


def prepare_dataset(
    recipe: Recipe,
    tokenizer: Any,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool] = never,
) -> Dataset:
    """The recipe's data, tokenised for its model."""
    return prepare(recipe, tokenizer, progress=progress, stop=stop, position_limit=longest_input(recipe))


def tokenizer_for(recipe: Recipe) -> Any:
    """The model's own tokenizer, or one trained on the training texts where there is no model to take it from."""
    if recipe.model.name is not None:
        return load_tokenizer(recipe.model.name, recipe.model.revision)
    return train_tokenizer(training_texts(recipe), recipe.model.scratch, recipe.scratch_length)


def longest_input(recipe: Recipe) -> int | None:
    """Tokens that the model can take, None for any number."""
    if recipe.model.name is None:
        return None
    return position_limit(load_config(recipe))


def run_config(run: RunDir, plan: Plan, recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What W&B shows as the run's configuration."""
    return {
        "recipe": recipe.tree(),
        "plan": {
            key: value for key, value in plan.tree().items() if key not in ("recipe", "cluster", "python")
        },
        "data": {
            "fingerprint": dataset.fingerprint,
            "train_examples": len(dataset.train),
            "labels": list(dataset.label_names),
        },
        "git_commit": plan.git_commit,
        "run_id": run.run_id,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "slurm_nodes": os.environ.get("SLURM_JOB_NODELIST"),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _set_kernels(recipe: Recipe, ranks: Ranks) -> None:
    np.random.seed(recipe.seed)
    if ranks.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = recipe.precision != "fp32"
        torch.backends.cudnn.allow_tf32 = recipe.precision != "fp32"
        torch.cuda.reset_peak_memory_stats()
    if recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def _finish(
    job: Job, attempt: AttemptDir, ending: Ending, state: TrainState, speed: Speed, started: float
) -> None:
    """Write the result; rank 0 evaluates the best model on the test split and on eval.extra, where there are such."""
    if ending == "stopped":
        job.checkpoints.wait()
    measured = _measured(job, speed)
    if not job.ranks.is_main:
        return
    metrics: dict[str, dict[str, Any]] = {}
    compression = None
    if ending == "completed":
        metrics = _evaluate_best(job, state)
        compression = account(job.run, job.recipe, job.dataset, job.ranks.device)
    code = EXIT_OK if ending == "completed" else EXIT_STOPPED
    job.record.finish(code)
    _end(
        job.run,
        attempt,
        job.events,
        code,
        started,
        status=ending,
        best=_best(job, state),
        test=metrics.pop("test", None),
        extra=metrics or None,
        compression=compression,
        steps=state.step,
        epochs=state.step / job.per_epoch,
        skipped_steps=state.skipped_steps,
        micro_batch_size=job.plan.layout.micro_batch_size,
        predicted=_predicted(job.plan),
        measured=measured,
        tracking={"url": job.record.page()},
    )


def _predicted(plan: Plan) -> dict[str, Any]:
    tree = plan.tree()
    return {**tree["memory"], **tree["traffic"], "step_s": plan.throughput.step_s}


def _best(job: Job, state: TrainState) -> dict[str, Any] | None:
    if state.best_step is None:
        return None
    metric = job.task.spec.chosen_metric
    return {"metric": metric, "value": state.best_value, "step": state.best_step}


def _evaluate_best(job: Job, state: TrainState) -> dict[str, dict[str, Any]]:
    """Metrics of the best model on the test split, as `test`, and on each file of eval.extra under its name.

    For a file of eval.extra that can't be evaluated `error` says why.
    """
    given = job.recipe.eval.extra
    if job.dataset.test is None and not given:
        return {}
    job.events.phase("evaluating")
    predictor = Predictor.load(job.run, job.recipe, job.ranks.device)
    found: dict[str, dict[str, Any]] = {}
    if job.dataset.test is not None:
        found["test"] = _evaluate_split(job, state, predictor, "test", job.dataset.test)
    for name, path in given.items():
        try:
            split = labelled_split(predictor, Path(path), job.recipe)
            found[name] = _evaluate_split(job, state, predictor, name, split)
        except Exception as error:  # noqa: BLE001  (what the training has found is not lost to one of these files)
            traceback.print_exc()
            message = describe_failure(error)["message"]
            job.events.notice(f"eval.extra: {name} is not evaluated: {message}", "warning")
            found[name] = {"error": message}
    return found


def _evaluate_split(
    job: Job, state: TrainState, predictor: Predictor, name: str, split: TokenSplit
) -> dict[str, float]:
    metrics = predictor.evaluate(split, lambda done, total: job.events.phase("evaluating", done, total))
    job.record.eval(state.step, name, {f"eval/{key}": value for key, value in metrics.items()})
    job.events.emit("eval", step=state.step, split=name, metrics=metrics, best=False)
    return metrics


def _measured(job: Job, speed: Speed) -> dict[str, Any]:
    """Figures to stand beside the plan's, under its names: bytes of the fullest rank, seconds of a median step."""
    on_gpu = job.ranks.device.type == "cuda"
    peak = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    peaks = job.ranks.gather(peak)
    steady = speed.step_seconds[2:] or speed.step_seconds
    parameters = list(job.built.model.parameters())
    return {
        "total": max(peaks) if peaks else None,
        "step_s": statistics.median(steady) if steady else None,
        "parameters": sum(_size(p) for p in parameters),
        "trainable_parameters": sum(_size(p) for p in parameters if p.requires_grad),
    }


def _size(parameter: torch.nn.Parameter) -> int:
    """Elements of a parameter, also where ZeRO-3 holds only a part of it."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _earlier_wall(run: RunDir, attempt: AttemptDir) -> float:
    total = 0.0
    for number in run.attempt_numbers():
        record = read_json(run.attempt(number).record) or {}
        if number < attempt.number and record.get("ended_at"):
            total += record["ended_at"] - record["started_at"]
    return total


def _fail(
    run: RunDir, attempt: AttemptDir, events: Events, error: Exception, rank: int, started: float
) -> None:
    """Record the failure; where several ranks fail, the first to come is the cause and the others are its echo."""
    try:
        descriptor = os.open(attempt.path / "first_failure", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    step = error.step if isinstance(error, RunFailed) and error.step else last_step(run, attempt.number)
    place = {"rank": rank, "host": socket.gethostname(), "step": step}
    failure = {**place, **describe_failure(error)}
    _end(run, attempt, events, EXIT_FAILED, started, status="failed", steps=step or 0, error=failure)


def describe_failure(error: BaseException) -> dict[str, Any]:
    """class, message and remedy of an exception for result.json."""
    if isinstance(error, RunFailed):
        return {"class": error.error_class, "message": error.message, "remedy": error.remedy}
    if isinstance(error, LauncherError):
        return {"class": "data", "message": str(error), "remedy": None}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"class": "disk", "message": str(error), "remedy": FREE_SPACE}
    if _is_out_of_memory(error):
        return {
            "class": smaller.ERROR_CLASS,
            "message": (str(error).splitlines() or [type(error).__name__])[0],
            "remedy": "lower batch.micro or batch.tokens (batch.global stays), or model.gradient_checkpointing=true",
        }
    return {
        "class": "crashed",
        "message": f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE],
        "remedy": "logs/rank_R.log holds the traceback",
    }


def _is_out_of_memory(error: BaseException) -> bool:
    """torch has an error of its own for its allocator on a GPU; main memory, CUDA and its libraries only have words."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _end(run: RunDir, attempt: AttemptDir, events: Events, code: int, started: float, **known: Any) -> None:
    """Write result.json and the exit code of this attempt; what is not known is null."""
    result = {
        "status": None,
        "run_id": run.run_id,
        "best": None,
        "test": None,
        "extra": None,
        "compression": None,
        "steps": 0,
        "wall_s": round(time.perf_counter() - started + _earlier_wall(run, attempt), 3),
        "attempts": attempt.number,
        "error": None,
        **known,
    }
    write_json(run.result, finite(result))  # a correlation may be NaN
    write_text(attempt.exit_code, f"{code}\n")
    events.emit("end", status=result["status"], exit_code=code)
