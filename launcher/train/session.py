"""One attempt from start to finish: everything around the loop."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from launcher import control_groups
from launcher.cards import model_card
from launcher.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_UNRECORDED,
    RunFailed,
    RunStopped,
    UserError,
)
from launcher.health.facts import this_node
from launcher.planning.plan import Plan
from launcher.planning.recorded_plan import recorded_plan
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.events import last_step
from launcher.runs.failure_classes import takes_no_writes
from launcher.runs.files import let_group_read, write_text
from launcher.runs.results import Best, Error, Measured, Result, Tracking
from launcher.runs.run_plan import read_plan_tree
from launcher.secret_values import without_secrets
from launcher.train.compress.compression import compression_report
from launcher.train.job import Job, make_job
from launcher.train.loop import Ending, StepTimer, train
from launcher.train.model.adapters import IDLE_COPY
from launcher.train.model.revision import pinned
from launcher.train.probe.speed_records import MeasuredSteps, keep_steps
from launcher.train.process import ranks as distributed
from launcher.train.process.core_waits import core_time, share_waited
from launcher.train.process.events import Events
from launcher.train.process.failure import describe_failure
from launcher.train.process.heartbeat import Heartbeat
from launcher.train.process.machine_trial import try_machine
from launcher.train.process.node_use import watch_node
from launcher.train.process.single_writer import become_writer
from launcher.train.process.stop_requests import StopFlag
from launcher.train.step.checkpoints import TrainState
from launcher.train.tokens.cache import TokenSplit
from launcher.train.use.examination import keep
from launcher.train.use.inference import Predictor
from launcher.train.use.inference_files import labelled_split
from launcher.train.validation import tell_no_number, with_best_model


def run_attempt(run: RunDir, attempt: AttemptDir, stop: StopFlag, heartbeat: Heartbeat) -> int:
    """Train this attempt on this rank; returns the process's exit code (a planned stop is a success for torchrun)."""
    rank = int(os.environ.get("RANK", "0"))
    path = run.events if rank == 0 else None
    events = Events.to_file(path, attempt.number, heartbeat)
    events.phase("starting")
    started = time.perf_counter()
    try:
        plan = read_plan(run, attempt)
        for note in plan.notes[len(run.read_plan().notes) :]:
            events.notice(note)
        ranks = distributed.join(plan, heartbeat)
        become_writer(run, ranks)
        plan = pinned(run, plan, ranks)
        try_machine(run, attempt, plan, ranks, events)
        if ranks.is_main:
            run.put_model_back()
        if ranks.local_rank == 0 and plan.recipe.tracking.wandb.mode != "disabled":
            watch_node(run, has_gpus=ranks.device.type == "cuda")
        job, state = make_job(run, attempt, plan, ranks, events, stop)
        ending, state, timer = train(job, with_best_model(job, state))
        if ending == "completed":
            job.checkpoints.wait()
        _finish(job, attempt, ending, state, timer, started)
    except RunStopped:
        if rank == 0:
            _end(run, attempt, events, EXIT_STOPPED, started, Result("stopped"))
    except BaseException as error:  # noqa: BLE001  (whatever ends an attempt is recorded: sys.exit, too)
        with contextlib.suppress(
            OSError, ValueError
        ):  # a full disk has no room for the log; a closed one takes none
            sys.stderr.write(without_secrets(traceback.format_exc(), os.environ))
        return _fail(run, attempt, events, error, rank, started)
    distributed.leave()
    return EXIT_OK


def read_plan(run: RunDir, attempt: AttemptDir) -> Plan:
    """The plan of this attempt, from the run directory and nowhere else."""
    return recorded_plan(attempt.plan if attempt.plan.exists() else run.plan)


def _finish(
    job: Job, attempt: AttemptDir, ending: Ending, state: TrainState, timer: StepTimer, started: float
) -> None:
    """Write the result; rank 0 evaluates the best model on the test split and on eval.extra, where there are such."""
    job.heartbeat.save()
    if ending == "stopped":
        job.checkpoints.wait()
    job.heartbeat.phase("ending")
    measured = _measured(job, timer)
    if not job.ranks.is_main:
        return
    seen = MeasuredSteps(float(job.dataset.train.lengths.mean()), timer.step_seconds[2:], measured.waited)
    keep_steps(job.plan, job.built.base, job.ranks.device, seen)
    metrics: dict[str, dict[str, Any]] = {}
    compression = None
    if ending == "completed":
        metrics = _evaluate_best(job, state)
        compression = compression_report(job.run, job.recipe, job.dataset, job.ranks.device)
    code = EXIT_OK if ending == "completed" else EXIT_STOPPED
    job.heartbeat.phase("ending")
    job.record.finish(code)
    result = Result(
        ending,
        best=_best(job, state),
        test=metrics.pop("test", None),
        extra=metrics or None,
        compression=compression,
        steps=state.step,
        total_steps=job.steps.total,
        epochs=state.step / job.steps.per_epoch,
        skipped_steps=state.skipped_steps,
        left_out=state.left_out or None,
        rolled_back=state.rolled_back or None,
        micro_batch_size=job.plan.layout.micro_batch_size,
        predicted=read_plan_tree(job.plan.tree(), "the plan").predicted,
        measured=measured,
        tracking=Tracking(job.record.page()),
    )
    _end(job.run, attempt, job.events, code, started, result)
    if ending == "completed":
        _write_card(job)


def _write_card(job: Job) -> None:
    """README.md beside the best model; a run that can't write it is completed all the same."""
    try:
        if job.run.model.is_dir():
            card = job.run.model / model_card.NAME
            write_text(card, model_card.model_card(job.run))
            if job.recipe.shared:
                let_group_read(card)
    except (OSError, UserError) as error:
        job.events.notice(f"the model's README.md is not written: {error}", "warning")


def _best(job: Job, state: TrainState) -> Best | None:
    if state.best_step is None:
        return None
    return Best(job.task.spec.chosen_metric, state.best_value, state.best_step)


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
            message = describe_failure(error).message
            job.events.notice(f"eval.extra: {name} is not evaluated: {message}", "warning")
            found[name] = {"error": message}
    return found


def _evaluate_split(
    job: Job, state: TrainState, predictor: Predictor, name: str, split: TokenSplit
) -> dict[str, float]:
    metrics, found, _ = predictor.examine(
        split, name, lambda done, total: job.events.phase("evaluating", done, total), state.best_step
    )
    if name == "test":
        keep(job.run.evaluated, found)
    tell_no_number(job, name, state.step, metrics)
    job.record.eval(state.step, name, {f"eval/{key}": value for key, value in metrics.items()})
    job.events.emit("eval", step=state.step, split=name, metrics=metrics, best=False)
    return metrics


def _measured(job: Job, timer: StepTimer) -> Measured:
    """Figures to stand beside the plan's, under its names: bytes of the fullest rank, seconds of a median step."""
    on_gpu = job.ranks.device.type == "cuda"
    peak = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    peaks = job.ranks.gather(peak)
    ranks_per_core = job.plan.gpus / control_groups.cores()
    shared = share_waited(timer.core_time, core_time(), ranks_per_core)
    waits = [share for share in job.ranks.gather(shared) or () if share is not None]
    # Ranks that share a core get it in turn, one more and one less; else all wait for the one that others' work held up.
    of_all = statistics.fmean if ranks_per_core > 1 else max
    steady = timer.step_seconds[2:] or timer.step_seconds
    named = job.built.model.named_parameters()
    parameters = [parameter for name, parameter in named if IDLE_COPY not in name]
    return Measured(
        total=max(peaks) if peaks else None,
        step_s=statistics.median(steady) if steady else None,
        waited=of_all(waits) if waits else None,
        parameters=sum(_size(p) for p in parameters),
        trainable_parameters=sum(_size(p) for p in parameters if p.requires_grad),
    )


def _size(parameter: torch.nn.Parameter) -> int:
    """Elements of a parameter, also where ZeRO-3 holds only a part of it."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _earlier_wall(run: RunDir, attempt: AttemptDir) -> float:
    """Seconds of the attempts before this one, as far as their ends are on record."""
    records = [run.attempt(number).read() for number in run.attempt_numbers() if number < attempt.number]
    return sum(record.seconds or 0.0 for record in records)


def _fail(
    run: RunDir, attempt: AttemptDir, events: Events, error: BaseException, rank: int, started: float
) -> int:
    """Record the failure, as far as that can be; returns the exit code of this rank."""
    try:
        if _is_first(attempt):
            told = _describe(run, attempt, error, rank)
            failed = Result("failed", steps=told.step or 0, error=told)
            try:
                _end(run, attempt, events, EXIT_FAILED, started, failed)
            except OSError:  # a disk that errs may do so once
                _end(run, attempt, events, EXIT_FAILED, started, failed)
    except OSError as refusal:
        return EXIT_UNRECORDED if takes_no_writes(refusal) else EXIT_FAILED
    return EXIT_FAILED


def _is_first(attempt: AttemptDir) -> bool:
    """Where several ranks fail, the first to come is the cause and the others are its echo."""
    try:
        descriptor = os.open(attempt.path / "first_failure", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    os.close(descriptor)
    return True


def _describe(run: RunDir, attempt: AttemptDir, error: BaseException, rank: int) -> Error:
    """The failure with the rank, the node and the step."""
    step = (
        error.step if isinstance(error, RunFailed) and error.step else last_step(run.events, attempt.number)
    )
    who = describe_failure(error, attempt.hosts_of_ranks())
    return replace(who, rank=rank if who.rank is None else who.rank, host=who.host or this_node(), step=step)


def _end(run: RunDir, attempt: AttemptDir, events: Events, code: int, started: float, result: Result) -> None:
    """Write result.json and the exit code of this attempt."""
    wall_s = round(time.perf_counter() - started + _earlier_wall(run, attempt), 3)
    steps = result.steps or 0
    run.write_result(replace(result, run_id=run.run_id, steps=steps, wall_s=wall_s, attempts=attempt.number))
    write_text(attempt.exit_code, f"{code}\n")
    events.emit("end", status=result.status, exit_code=code)
