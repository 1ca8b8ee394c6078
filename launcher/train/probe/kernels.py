"""Compiled and captured steps against ordinary ones: the same values for each micro-batch, and none of another."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from launcher.engine.findings import Changed, Layout, Part, Timing
from launcher.planning.plan import Plan
from launcher.train.model.precision import autocast
from launcher.train.packed.packing import PackedCollate
from launcher.train.probe.subject import Computed, Subject, compute, distance
from launcher.train.probe.timing import median_seconds
from launcher.train.process.ranks import Ranks
from launcher.train.step.captured_steps import USES_BEFORE_CAPTURE, GraphedSteps, Recorder
from launcher.train.step.plain import Plain
from launcher.train.step.torch_compile import compile_layers

SAME_LOSS = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 2e-2}
"""Most that a loss may differ, of itself."""
SAME_GRADIENT = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 5e-2}
REPEATS = 3

Compiler = Callable[[object], object]


@dataclass(frozen=True)
class Tried:
    """What came of one kind of kernels."""

    parts: tuple[Part, ...]
    timing: Timing | None


def other_texts(subject: Subject) -> Subject:
    """The same examples with each text backwards, and with each other's labels: as many tokens, other values."""
    split = subject.split
    ids = np.concatenate([part[::-1] for part in np.split(split.ids, split.offsets[1:-1])])
    labels = None if split.labels is None else np.roll(split.labels, 1, axis=0)
    return replace(subject, split=replace(split, ids=ids, labels=labels))


def try_compiled(subject: Subject, layout: Layout, compiler: Compiler = compile_layers) -> Tried:
    """torch.compile on a copy of the model: what its steps give, how long it takes once and each time."""
    copied = copy.deepcopy(subject.model)
    base = getattr(copied, "get_base_model", lambda: copied)()
    changed = replace(subject, model=copied, base=base)
    started = time.perf_counter()
    compiler(base)
    pass_over(changed, layout)
    took = time.perf_counter() - started
    parts = tuple(_compared("inductor", subject, changed, layout))
    pass_s = median_seconds(lambda: pass_over(changed, layout), subject.device)
    timing = Timing(layout, "inductor", pass_s, max(0.0, took - pass_s))
    return Tried(parts, timing)


def pass_over(subject: Subject, layout: Layout) -> None:
    """Forward and backward over the examples as in training."""
    subject.model.train()
    batch = subject.batch(layout)
    with autocast(subject.precision, subject.device):
        output = subject.model(**batch.inputs)
    subject.task.loss_sum(output, batch).backward()  # type: ignore[no-untyped-call]
    subject.model.zero_grad(set_to_none=True)


def _compared(kernels: Changed, subject: Subject, changed: Subject, layout: Layout) -> Iterator[Part]:
    """Two micro-batches of the same size, one after the other, each beside an ordinary pass."""
    others = other_texts(subject)
    changed_others = replace(changed, split=others.split)
    ordinary = [compute(each, each.batch(layout), subject.precision) for each in (subject, others)]
    found = [compute(each, each.batch(layout), subject.precision) for each in (changed, changed_others)]
    yield _values(kernels, subject.precision, [each.loss for each in found], [each.loss for each in ordinary])
    yield _gradient(kernels, subject.precision, found[1], ordinary[1])


def _values(kernels: Changed, precision: str, found: list[float], ordinary: list[float]) -> Part:
    """Losses of two micro-batches beside those of ordinary steps."""
    name, limit = f"steps ({kernels})", SAME_LOSS[precision]
    if all(_same(one, other, limit) for one, other in zip(found, ordinary, strict=True)):
        return Part(
            name,
            kernels,
            "right",
            f"two micro-batches give {found[0]:.4g} and {found[1]:.4g}, as ordinary steps do",
        )
    if _same(found[1], ordinary[0], limit) and not _same(ordinary[0], ordinary[1], limit):
        return Part(name, kernels, "wrong", "a step gives the values of the micro-batch before it")
    told = " and ".join(
        f"{one:.4g} instead of {other:.4g}" for one, other in zip(found, ordinary, strict=True)
    )
    return Part(name, kernels, "wrong", f"losses are {told}")


def _same(one: float, other: float, limit: float) -> bool:
    return abs(one - other) <= limit * max(abs(other), 1e-6)


def _gradient(kernels: Changed, precision: str, found: Computed, ordinary: Computed) -> Part:
    apart = distance(found.gradients, ordinary.gradients)
    is_right = apart <= SAME_GRADIENT[precision]
    text = f"{apart:.1e} from an ordinary step"
    return Part(f"gradients ({kernels})", kernels, "right" if is_right else "wrong", text)


def try_captured(subject: Subject, plan: Plan, ranks: Ranks, recorder: Recorder) -> Tried:
    """Whole steps as graphs, on a copy of the model and with a learning rate of 0, so that its weights stay as they are."""
    assert isinstance(subject.packed, PackedCollate)
    others = other_texts(subject)
    ordinary = [compute(each, each.batch("packed"), subject.precision).loss for each in (subject, others)]
    units = float(len(subject.split))
    told: list[str] = []
    strategy = Plain(plan, ranks, copy.deepcopy(subject.model))
    graphs = GraphedSteps(subject.task, strategy, subject.packed, recorder, told.append)
    strategy.train_mode(False)

    def step(of: Subject) -> float | None:
        done = graphs.step(of.split, of.examples, -1, units, 0.0)
        return None if done is None else float(done.loss) * units

    started = time.perf_counter()
    for _ in range(USES_BEFORE_CAPTURE + 1):
        step(subject)
    found = [step(subject), step(others)]
    took = time.perf_counter() - started
    losses = [value for value in found if value is not None]
    if len(losses) < 2:
        text = told[0] if told else "a step could not be captured"
        return Tried((Part("steps (graph)", "graph", "wrong", text),), None)
    part = _values("graph", subject.precision, losses, ordinary)
    pass_s = median_seconds(lambda: step(subject), subject.device)
    return Tried((part,), Timing("packed", "graph", pass_s, max(0.0, took - 2 * pass_s)))
