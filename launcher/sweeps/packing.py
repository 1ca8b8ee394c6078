"""How many trials share a GPU, or a node's cores: as many as fit by the plan's estimate, or by what one of them has measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UserError
from launcher.executors import Executor
from launcher.figures import human_bytes, quantity
from launcher.planning.plan import Plan
from launcher.runs.directory import RunDir

MARGIN = 0.9
"""Of the memory that there is, what trials may take together."""
DOUBT = 1.2
"""What an estimate that nothing was measured against is multiplied by."""
MOST = 64
UNITS = {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}
"""Powers of two in what a profile asks for: mebibytes where it names none."""


@dataclass(frozen=True)
class Packing:
    """How many trials share a job."""

    each: int
    reason: str
    """Why so many, for a reader."""
    by_memory: bool = False
    """Whether it is memory that has no room for more."""


def packing(plan: Plan, executor: Executor, measured: Sequence[RunDir], asked: int | None) -> Packing:
    """`asked` trials together, or as many as fit where it is None. Raises UserError where that can't be known or done."""
    _refuse_unpackable(plan)
    if asked is None:
        return _by_request(plan, executor, _as_fit(plan, executor, measured))
    _refuse_too_many(plan, executor, asked)
    try:
        fitting = _as_fit(plan, executor, measured)
    except UserError:
        return Packing(asked, "as asked")
    fits = (
        f", though {fitting.each} fit {fitting.reason}" if fitting.each < asked and fitting.by_memory else ""
    )
    return Packing(asked, f"as asked{fits}")


def _as_fit(plan: Plan, executor: Executor, measured: Sequence[RunDir]) -> Packing:
    """As many as fit. Raises UserError where that can't be known."""
    each, why = _need(plan, measured)
    if plan.device == "cuda":
        if plan.memory.capacity is None:
            raise _unknown("the memory of the GPU: cluster profile gpu_memory_gib")
        return _fitting(each, plan.memory.capacity, None, why)
    cores, memory = executor.node_capacity(plan.cluster.partition)
    per_trial = plan.request.cpus_per_task if plan.request is not None else plan.gpus
    if cores is None or memory is None:
        raise _unknown("what a node has")
    return _fitting(each * plan.gpus, memory, cores // per_trial, why)


def measured_runs(runs: Sequence[RunDir]) -> list[RunDir]:
    """Those of a sweep's runs that have said what memory they took."""
    found = []
    for run in runs:
        result = run.read_result() if run.path.exists() else None
        if result is not None and result.measured is not None and result.measured.total:
            found.append(run)
    return found


def _need(plan: Plan, measured: Sequence[RunDir]) -> tuple[int, str]:
    """Bytes of one rank, and where that is known from."""
    estimate = plan.memory.total
    ratios = []
    for run in measured:
        result, planned = run.read_result(), run.read_plan().memory.total
        if result is not None and result.measured is not None and result.measured.total and planned:
            # What torch counts on a GPU leaves out what the process needs beside.
            beside = (plan.memory.other or 0) if plan.device == "cuda" else 0
            ratios.append((result.measured.total + beside) / planned)
    if estimate is None:
        raise _unknown("the model's shape, and so its memory")
    if not ratios:
        return int(estimate * DOUBT), "by the estimate of memory, which nothing was measured against yet"
    return int(
        estimate * max(ratios)
    ), f"by the estimate of memory x {max(ratios):.2f}, as trials have measured"


def _fitting(need: int, memory: int, cores: int | None, why: str) -> Packing:
    by_memory = int(memory * MARGIN // need)
    each = max(1, min(by_memory, MOST if cores is None else cores, MOST))
    if cores is not None and cores < by_memory:
        return Packing(each, f"by the cores of a node ({cores} trials)")
    room = f"{human_bytes(need)} each, of {human_bytes(memory)}"
    return Packing(each, f"{why} ({room})", by_memory=True)


def _by_request(plan: Plan, executor: Executor, fitting: Packing) -> Packing:
    """The same, or as many as a node has the main memory for that the profile asks for each trial."""
    asked = _requested(plan)
    _, memory = executor.node_capacity(plan.cluster.partition) if asked else (None, None)
    if asked is None or memory is None or fitting.each * asked <= memory:
        return fitting
    reason = f"by the memory that the profile asks for each ({plan.cluster.memory})"
    return Packing(max(1, memory // asked), reason, by_memory=True)


def _requested(plan: Plan) -> int | None:
    """Bytes of main memory that a job asks for each trial; None where it asks for none."""
    amount = re.fullmatch(r"([0-9]+)([KMGT]?)", (plan.request and plan.request.memory) or "")
    return None if amount is None else int(amount[1]) << UNITS[amount[2]] or None


def _refuse_unpackable(plan: Plan) -> None:
    if plan.nodes > 1 or (plan.device == "cuda" and plan.world_size > 1):
        remedy = "leave --pack out, or nodes=1 gpus=1"
        raise UserError("a trial on several GPUs or nodes shares none of them", field="--pack", remedy=remedy)
    container = plan.cluster.container
    if container is not None and container.runtime == "pyxis":
        raise UserError("a pyxis container is started for one run", field="--pack", remedy="leave it out")
    if plan.device == "cuda" and plan.recipe.batch.tokens == "auto":
        remedy = "give batch.tokens=N: auto takes all memory that there is, and what it finds would differ"
        raise UserError("doesn't go with batch.tokens=auto", field="--pack", remedy=remedy)


def _refuse_too_many(plan: Plan, executor: Executor, asked: int) -> None:
    """Raises UserError where no node has the cores, or the memory, that a job of a scheduler's would ask for."""
    if plan.request is None:
        return
    cores, memory = executor.node_capacity(plan.cluster.partition, largest=True)
    each, size = plan.request.cpus_per_task, _requested(plan)
    if plan.device != "cuda" and cores is not None and cores < asked * each:
        needed = f"{asked} trials of {quantity(each, 'core')} in a job want {asked * each}"
        raise _too_many(f"{needed}, and no node has more than {cores}", asked, cores // each)
    if size is not None and memory is not None and memory < asked * size:
        needed = f"{asked} trials of {human_bytes(size)} in a job want {human_bytes(asked * size)}"
        raise _too_many(f"{needed}, and no node has more than {human_bytes(memory)}", asked, memory // size)


def _too_many(message: str, asked: int, most: int) -> UserError:
    remedy = f"--pack {most}, or auto" if most > 1 else "leave --pack out"
    return UserError(message, None, "--pack", str(asked), remedy)


def _unknown(what: str) -> UserError:
    remedy = "say how many trials share a job: --pack 4"
    return UserError(f"isn't known here: {what}", field="--pack", value="auto", remedy=remedy)
