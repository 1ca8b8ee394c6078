"""What is learnt of a device for the next plan: from a probe its rates, from a run that has ended its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist

from launcher import control_groups
from launcher.engine.findings import Finding
from launcher.engine.machine import asked_threads, cores_of_rank
from launcher.engine.speeds import Rates, keep_point, keep_rates
from launcher.errors import UserError
from launcher.families import shape_from_config
from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import Setup
from launcher.planning.measured_speed import label
from launcher.planning.measured_steps import LEAST_STEPS, measured_point, setup_of_plan
from launcher.planning.plan import Plan
from launcher.planning.step_time import step_flops
from launcher.train.probe.agreement import device_name
from launcher.train.probe.kernels import pass_over
from launcher.train.probe.subject import Subject, leaving_no_trace
from launcher.train.probe.timing import median_seconds, seconds_of
from launcher.train.process.core_waits import core_time, share_waited
from launcher.train.process.ranks import Ranks

COPIED = {"cpu": 2**24, "cuda": 2**27}
"""Elements of float32 that a copy is timed on: more than caches hold."""
SUMMED = 2**20
"""Elements of float32 that a sum over the ranks is timed on."""
REPEATS = 3
MOST_WAITED = 0.1
"""Times on a CPU teach nothing where other work held its cores for a larger share: they are no device's, but of that hour."""


def shape_of(base: Any) -> ModelShape | None:
    """The shape of a transformers model."""
    try:
        return shape_from_config(base.config.to_dict(), "the model")
    except UserError:
        return None


def measure_rates(plan: Plan, subject: Subject, finding: Finding, ranks: Ranks) -> None:
    """Measure what the finding leaves open, and keep it unless other work disturbs it; every rank must call it."""
    before = core_time()
    latency_s, link = _link(ranks)
    shape = shape_of(subject.base)
    if shape is None or not finding.timings:
        return
    whole = finding.timings[0]
    layout = whole.layout
    one = replace(subject, split=subject.first(1).split)
    with leaving_no_trace(subject.model, subject.device):
        pass_over(one, layout)
        one_s = median_seconds(lambda: pass_over(one, layout), subject.device)
    setup = setup_of_plan(plan)
    rate, fixed_s = _fitted(_flops(shape, setup, subject), whole.pass_s, _flops(shape, setup, one), one_s)
    ranks_beside = plan.gpus if plan.device == "cpu" else 1
    found = Rates(
        label(device_name(subject.device)),
        plan.precision,
        ranks_beside,
        shape.hidden,
        rate,
        fixed_s / shape.layers,
        _bandwidth(subject.device),
        latency_s,
        link,
    )
    waited = share_waited(before, core_time(), ranks_beside / control_groups.cores())
    if ranks.is_main and not _is_disturbed(subject.device, waited):
        keep_rates(found)


def _is_disturbed(device: torch.device, waited: float | None) -> bool:
    return device.type == "cpu" and (waited or 0.0) > MOST_WAITED


def _flops(shape: ModelShape, setup: Setup, subject: Subject) -> float:
    lengths = subject.split.lengths.astype(float)
    mean = float((lengths**2).sum() / lengths.sum())
    return step_flops(shape, setup, tokens=int(lengths.sum()), mean_length=mean)


def _fitted(flops: float, seconds: float, few_flops: float, few_s: float) -> tuple[float, float]:
    """Rate, and seconds that don't shrink with the work, of a large and a small pass."""
    if flops < 2 * few_flops or seconds <= few_s:
        return flops / seconds, 0.0
    rate = (flops - few_flops) / (seconds - few_s)
    return rate, max(0.0, few_s - few_flops / rate)


def _bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes, the best of some."""
    source = torch.ones(COPIED[device.type], device=device)
    target = torch.empty_like(source)
    best = min(seconds_of(lambda: target.copy_(source), device) for _ in range(REPEATS))
    return 2.0 * source.numel() * source.element_size() / best


def _link(ranks: Ranks) -> tuple[float | None, float | None]:
    """Seconds of a small sum over all ranks and bytes a second of a large one, by what a rank sends."""
    if ranks.world_size == 1:
        return None, None
    small, large = (torch.ones(n, device=ranks.device) for n in (1, SUMMED))
    small_s, large_s = (
        median_seconds(lambda tensor=tensor: dist.all_reduce(tensor), ranks.device)  # type: ignore[misc]
        for tensor in (small, large)
    )
    sent = 2.0 * large.numel() * large.element_size() * (ranks.world_size - 1) / ranks.world_size
    hops = 2 * (ranks.world_size - 1).bit_length()
    return small_s / hops, sent / max(large_s - small_s, 1e-6)


@dataclass(frozen=True)
class MeasuredSteps:
    """The steps of a run that has ended."""

    tokens: float
    """Mean length of an example."""
    seconds: list[float]
    """Of each step but the first."""
    waited: float | None = None
    """Share of the time that other work held the cores; None where nobody counted."""


def keep_steps(plan: Plan, base: Any, device: torch.device, seen: MeasuredSteps) -> None:
    """Keep the median step of a run that has ended, where there were enough and other work didn't lengthen them."""
    shape = shape_of(base)
    if shape is None or len(seen.seconds) < LEAST_STEPS or _is_disturbed(device, seen.waited):
        return
    cores = cores_of_rank(control_groups.cores(), plan.gpus, asked_threads())
    median = sorted(seen.seconds)[len(seen.seconds) // 2]
    found = measured_point(plan, shape, device_name(device), cores=cores, tokens=seen.tokens, seconds=median)
    if found is not None:
        keep_point(*found)
