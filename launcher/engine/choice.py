"""The fastest way that is right, and why: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from launcher.engine.findings import Dropout, Finding, Kernels, Layout, Part, Taken, Timing

LEAST_PASSES = 1000
"""A training of fewer micro-batches a rank isn't held up by a probe: what it could save is less than what it costs.

Nor do times that another training's probe has found decide about it: they differ from probe to probe, and its numbers
would depend on what else has run on the machine.
"""
WORTH = 0.9
"""Another way than the planned one is taken where its whole time is at most this share: less may be noise."""
COMPILE_TRIAL_S = 60.0
COMPILE_SHARE = 0.02
"""torch.compile is tried for a training that takes so much longer than the trial."""


@dataclass(frozen=True)
class Wish:
    """What a recipe lets a probe decide, and what would be done without one."""

    layout: Layout
    kernels: Kernels
    passes: int
    """Micro-batches that a rank still has to compute."""
    may_compile: bool = True
    """Whether `train.compile` leaves the kernels open."""
    by_time: bool = True
    """Whether times may decide; not where the same recipe must give the same numbers each time."""
    zero_stage: int = 0
    """Of DeepSpeed, which wraps the model that is tried, and takes steps of its own."""


def choose(finding: Finding, wish: Wish, device: str) -> Taken:
    """What a training does after a probe: whatever is wrong is left, then the fastest of what is right is taken."""
    layout, kernels, dropout, faults = _sound(finding, wish)
    planned = finding.timing(layout, kernels)
    best = planned
    decides = wish.by_time and is_worth_probing(wish.passes)
    if decides and planned is not None and not list(finding.wrong("times")):
        rivals = [t for t in finding.timings if _is_allowed(finding, wish, t)]
        best = min((planned, *rivals), key=lambda timing: _seconds(timing, wish.passes))
        if _seconds(best, wish.passes) > WORTH * _seconds(planned, wish.passes):
            best = planned
    if best is not None:
        layout, kernels = best.layout, best.kernels
    return Taken(
        layout, kernels, dropout, _why(finding, wish, best, faults), device, is_fallback=bool(faults)
    )


def _sound(finding: Finding, wish: Wish) -> tuple[Layout, Kernels, Dropout, list[Part]]:
    """The planned way without its parts that are wrong, and these parts."""
    layout, kernels = wish.layout, wish.kernels
    faults: list[Part] = []
    if layout == "packed" and (wrong := list(finding.wrong("packed"))):
        layout, faults = "padded", faults + wrong
    if kernels == "graph" and layout == "padded":
        kernels = "none"  # graphs are of filled-up rows
    if kernels != "none" and (wrong := list(finding.wrong(kernels))):
        kernels, faults = "none", faults + wrong
    wrong = list(finding.wrong("dropout"))
    # What is wrong with padding, or with the figures, has no way beside it: it is only said.
    said = list(finding.wrong("padded", "times"))
    return layout, kernels, "stock" if wrong else "cheap", faults + wrong + said


def _is_allowed(finding: Finding, wish: Wish, timing: Timing) -> bool:
    if timing.kernels != wish.kernels and not wish.may_compile:
        return False
    if timing.layout == "packed" and wish.layout == "padded":
        return False
    return not any(finding.wrong(timing.layout)) and not (
        timing.kernels != "none" and any(finding.wrong(timing.kernels))
    )


def _seconds(timing: Timing, passes: int) -> float:
    return timing.start_s + passes * timing.pass_s


def pays_after(start_s: float, saved_s: float) -> int | None:
    """Passes after which what costs so much once has paid; None for never."""
    return math.ceil(start_s / saved_s) if saved_s > 0 else None


def _why(finding: Finding, wish: Wish, best: Timing | None, faults: list[Part]) -> str:
    """One line: what is taken, and what it was chosen over."""
    if faults:
        named = "; ".join(f"{part.name}: {part.text}" for part in faults)
        return f"falls back, since something is wrong here: {named}"
    tried = sum(part.state == "right" for part in finding.parts)
    right = f"{tried} checks passed"
    if wish.zero_stage:
        right += f" on the model before ZeRO-{wish.zero_stage} takes it, whose own step is not tried"
    if best is None:
        return f"as planned: {right}, no times"
    told = [_compared(timing, best, wish) for timing in finding.timings if timing != best]
    return ", ".join([f"{way_name(best.layout, best.kernels)} takes {_ms(best.pass_s)}", *told, right])


def _compared(timing: Timing, best: Timing, wish: Wish) -> str:
    name = way_name(timing.layout, timing.kernels)
    text = f"{name} {_ms(timing.pass_s)}"
    if timing.kernels == "none":
        return text
    after = pays_after(timing.start_s - best.start_s, best.pass_s - timing.pass_s)
    when = "never pays" if after is None else f"would pay after {after:,} steps"
    return f"{text} ({when}; {wish.passes:,} are left)"


def way_name(layout: Layout, kernels: Kernels) -> str:
    """A way in words."""
    return layout + {"none": "", "graph": " as a CUDA graph", "inductor": " through torch.compile"}[kernels]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def is_worth_probing(passes: int) -> bool:
    """Whether a training is long enough for a probe to pay."""
    return passes >= LEAST_PASSES


def is_worth_compiling(passes: int, pass_s: float) -> bool:
    """Whether a training is long enough to find out what torch.compile makes of it."""
    return COMPILE_SHARE * passes * pass_s >= COMPILE_TRIAL_S
