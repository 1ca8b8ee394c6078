"""What the probe measures of the device itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from launcher.errors import RunStopped
from launcher.train.probe import probe
from launcher.train.probe.families import tiny_subject
from launcher.train.probe.subject import exact_products
from launcher.train.probe.timing import seconds_of


def test_what_others_take_of_a_cpu_lowers_no_best_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a pass would be told to be faster than its arithmetic, and packing be given up, wherever other work runs."""

    def interrupted(action: Callable[[], object], device: torch.device) -> float:
        return seconds_of(action, device) + 1.0

    monkeypatch.setattr(probe, "seconds_of", interrupted)
    assert probe.peak_rate(torch.device("cpu"), "fp32") > 2 * 512**3


def test_what_is_compared_in_fp32_on_a_gpu_is_not_rounded_before() -> None:
    """Convolutions by default, products as soon as a training in half precision has begun."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    with exact_products(torch.device("cuda")):
        assert (products.allow_tf32, convolutions.allow_tf32) == (False, False)
    assert (products.allow_tf32, convolutions.allow_tf32) == before


@pytest.mark.parametrize("computations", [0, 1, 10, 20])
def test_a_stop_is_heard_between_two_computations(computations: int) -> None:
    """Wherever it comes: neither what raises nor what is timed may swallow it."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > computations

    subject = replace(tiny_subject("bert", "fp32", torch.device("cpu")), stop=stop)
    with pytest.raises(RunStopped):
        probe.probe(subject, {})
    assert asked == computations + 1
