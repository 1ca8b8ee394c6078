"""One probe: everything that is tried of a model where it is about to train, as a finding."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from launcher.engine.findings import Changed, Finding, Layout, Of, Part, Timing
from launcher.errors import RunStopped
from launcher.train.probe.kernels import Tried, pass_over
from launcher.train.probe.layouts import layout_parts
from launcher.train.probe.masks import dropout_parts
from launcher.train.probe.subject import DTYPES, Subject, leaving_no_trace
from launcher.train.probe.timing import Clocked, honesty, seconds_of, take_turns

TRIED_EXAMPLES = 6
"""Examples of the micro-batch that values are compared on; more are timed."""
PEAK_SIZE = {"cpu": 512, "cuda": 4096}
"""Width of the square matrices whose product tells a device's best rate."""

Trial = Callable[[Subject], Tried]
"""Tries one kind of kernels."""


@dataclass(frozen=True)
class Plans:
    """What else is tried besides the ordinary ways."""

    kernels: Changed = "inductor"
    trial: Trial | None = None
    is_worth_it: Callable[[float], bool] = lambda _pass_s: True
    """Whether to try the kernels, given the seconds of an ordinary pass."""


def probe(subject: Subject, key: Mapping[str, str], plans: Plans = Plans()) -> Finding:
    """Try every part, and time each way that is right. Nothing of the model, its generators or gradients changes.

    Raises RunStopped as soon as the subject is to stop.
    """
    started = time.perf_counter()
    with leaving_no_trace(subject.model, subject.device):
        few = subject.first(TRIED_EXAMPLES)
        parts = list(_guarded("layouts", subject.layout, lambda: layout_parts(few)))
        parts += _guarded("dropout", "dropout", lambda: dropout_parts(few))
        timed, timings = _times(subject)
        parts += timed
        if plans.trial is not None and timings and plans.is_worth_it(timings[0].pass_s):
            tried, timing = _kernels(subject, plans.kernels, plans.trial)
            parts += tried
            timings += timing
    took = time.perf_counter() - started
    return Finding(dict(key), tuple(parts), tuple(timings), round(took, 3), round(time.time(), 1))


def _guarded(name: str, of: Of, parts: Callable[[], Iterator[Part]]) -> Iterator[Part]:
    """The parts, and in place of what raises, that it does."""
    try:
        yield from parts()
    except RunStopped:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, a training would meet it too)
        lines = str(error).splitlines() or [""]
        yield Part(name, of, "wrong", f"raises {type(error).__name__}: {lines[0][:200]}")


def _kernels(subject: Subject, kernels: Changed, trial: Trial) -> tuple[list[Part], list[Timing]]:
    try:
        tried = trial(subject)
    except RunStopped:
        raise
    except Exception as error:  # noqa: BLE001  as above
        lines = str(error).splitlines() or [""]
        text = f"raises {type(error).__name__}: {lines[0][:200]}"
        return [Part(f"steps ({kernels})", kernels, "wrong", text)], []
    return list(tried.parts), [tried.timing] if tried.timing else []


def _times(subject: Subject) -> tuple[list[Part], list[Timing]]:
    """Each way over the same examples."""
    layouts: Sequence[Layout] = ("padded",) if subject.packed is None else ("packed", "padded")
    try:
        found = take_turns({name: partial(pass_over, subject, name) for name in layouts}, subject.device)
    except RunStopped:
        raise
    except Exception as error:  # noqa: BLE001  as above
        return [Part("times", "times", "wrong", f"raises {type(error).__name__}")], []
    parts = list(honesty(found, least_seconds(subject)))
    return parts, [Timing(name, "none", _pass_s(found, name, layouts[0], subject.device)) for name in layouts]


def _pass_s(found: Mapping[str, Clocked], name: str, first: str, device: torch.device) -> float:
    """Seconds of a pass; on a CPU ways are held against the first by processor time, which others' work doesn't change."""
    if device.type != "cpu" or name == first or not min(found[first].cpu):
        return found[name].median_s
    return found[first].median_s * statistics.median(found[name].cpu) / statistics.median(found[first].cpu)


def least_seconds(subject: Subject) -> float:
    """What forward and backward passes take at least: the arithmetic of all layers but the last, at the best rate seen."""
    layers = subject.base.base_model.get_submodule(_layers(subject))
    each = [
        sum(m.weight.numel() for m in layer.modules() if isinstance(m, torch.nn.Linear)) for layer in layers
    ]
    flops = 4.0 * sum(each[:-1]) * int(subject.split.lengths.sum())
    return flops / peak_rate(subject.device, subject.precision)


def _layers(subject: Subject) -> str:
    from launcher.train.model.family import family_of

    return family_of(subject.base.config).modules.layers


def peak_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a product of two large matrices, the best of some.

    On a CPU by processor time: beside other work a product takes longer than a time slice, so that each is interrupted.
    """
    size = PEAK_SIZE[device.type]
    left, right = (torch.ones(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))

    def seconds() -> float:
        used = time.process_time()
        took = seconds_of(lambda: left @ right, device)
        used = (time.process_time() - used) / torch.get_num_threads()
        return min(took, used) if device.type == "cpu" else took

    return float(2 * size**3 / min(seconds() for _ in range(4)))
