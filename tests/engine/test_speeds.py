"""What runs and probes teach the cache, and what a plan makes of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from launcher.engine.cache import directory
from launcher.engine.machine import cpu_name
from launcher.engine.speeds import Known, Point, Rates, Steps, keep_point, keep_rates, read_known
from launcher.families import known_shape
from launcher.planning.estimate import Setup
from launcher.planning.hardware import DEVICES
from launcher.planning.measured_speed import label, seen_seconds
from launcher.planning.step_time import Planned
from launcher.planning.throughput import Facts, Throughput, planned_point, predict, training_kind

BASE, LARGE = known_shape("roberta-base"), known_shape("roberta-large")
assert BASE is not None
assert LARGE is not None
MINILM = dataclasses.replace(BASE, layers=6, hidden=384, embedding_size=384, intermediate=1536)
SHAPES = {"minilm": MINILM, "base": BASE, "large": LARGE}
CPU = Setup(device="cpu", precision="fp32")
HERE = Facts(
    examples=32, max_length=128, mean_chars=60.0, nodes=1, gpus=1, gpu_model=None, cores=1, cpu="a CPU"
)


def predicted(setup: Setup = CPU, shape: Any = MINILM, **facts: Any) -> Throughput:
    return predict(shape, dataclasses.replace(HERE, **facts), setup.tuning, lambda _: Planned(setup, 512))


def seen(seconds: dict[int, float], setup: Setup = CPU, shape: Any = MINILM, **facts: Any) -> Known:
    """Runs of these batches that took so many seconds a step."""
    points = []
    for examples, each in seconds.items():
        of_run = dataclasses.replace(HERE, **facts, examples=examples)
        points.append(planned_point(shape, of_run, Planned(setup, 512), each))
    kind = training_kind(shape, dataclasses.replace(HERE, **facts), setup)
    assert kind is not None
    return Known((Steps(kind, tuple(points)),))


def test_a_run_like_one_that_was_seen_takes_as_long() -> None:
    found = predicted(known=seen({32: 0.3}))
    assert found.step_s == pytest.approx(0.3)
    assert (found.fastest_step_s, found.slowest_step_s) == pytest.approx((0.3 / 1.15, 0.3 * 1.15))
    assert found.measured_on == "such a device, in 1 run of this model"
    assert dict(found.by_nodes)[1] == pytest.approx(32 / 0.3)


def test_batches_between_those_seen_lie_on_their_line() -> None:
    """0.1 s a step and 5 ms an example, whatever the table assumes."""
    known = seen({16: 0.18, 64: 0.42})
    assert predicted(known=known).step_s == pytest.approx(0.26, rel=0.01)
    assert predicted(known=known, examples=128).step_s == pytest.approx(0.74, rel=0.01)


def test_one_that_was_seen_says_how_far_off_the_table_is_for_others() -> None:
    twice = 2 * (predicted().step_s or 0)
    known = seen({32: twice})
    assert predicted(known=known, examples=64).step_s == pytest.approx(
        2 * (predicted(examples=64).step_s or 0), rel=0.01
    )


@pytest.mark.parametrize(
    "other",
    [
        {"setup": dataclasses.replace(CPU, tuning="lora")},
        {"setup": dataclasses.replace(CPU, precision="bf16")},
        {"shape": BASE},
        {"gpus": 2},
        {"cpu": "another CPU"},
        {"cores": 4},
    ],
)
def test_what_is_otherwise_is_not_compared(other: dict[str, Any]) -> None:
    known = seen({32: 123.0})
    assert predicted(**other, known=known) == predicted(**other)


def test_of_noise_the_median_counts() -> None:
    points = [Point(1e9, seconds) for seconds in (0.1, 0.11, 5.0)]
    assert seen_seconds(points, 1e9, lambda flops: flops / 1e10) == pytest.approx(0.11)
    assert seen_seconds([], 1e9, lambda flops: flops) is None


def test_newer_steps_count_more_than_older_ones() -> None:
    """Three runs on a busy machine, then three on a quiet one."""
    points = [Point(1e9, seconds) for seconds in (0.156, 0.145, 0.207, 0.011, 0.019, 0.015)]
    assert seen_seconds(points, 1e9, lambda flops: flops / 1e10) == pytest.approx(0.015)
    larger = [Point(2e9, 0.03)]
    assert seen_seconds(points + larger, 2e9, lambda flops: flops / 1e10) == pytest.approx(0.03, rel=0.2)


def test_a_probe_replaces_the_table() -> None:
    rates = Rates("a CPU", "fp32", 1, 384, 50e9, 1e-3, 10e9)
    found = predicted(known=Known(rates=(rates,)))
    assert found.measured_on == "such a device, by a probe of its engine"
    double = predicted(known=Known(rates=(dataclasses.replace(rates, flops_per_s=25e9),)))
    assert (double.step_s or 0) > 1.5 * (found.step_s or 0)
    assert (found.fastest_step_s or 0) < (found.step_s or 0) < (found.slowest_step_s or 0)
    wide = dataclasses.replace(rates, hidden=1024)
    assert predicted(known=Known(rates=(wide,))) == predicted()


def test_ranks_that_share_cores_are_slower() -> None:
    crowded = predicted(gpus=4, crowded=2.0)
    assert (crowded.step_s or 0) > 1.5 * (predicted(gpus=4).step_s or 0)


@pytest.mark.parametrize("gpu", sorted(DEVICES.keys() - {"CPU"}))
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", SHAPES)
def test_nothing_that_was_seen_makes_a_gpu_faster_than_physics(gpu: str, precision: Any, name: str) -> None:
    """A clock that lied, in runs or in a probe: memory, arithmetic, launches and latency bound the prediction all the same."""
    shape = SHAPES[name]
    for graphed, gpus, nodes in ((True, 1, 1), (False, 1, 1), (False, 8, 4)):
        setup = Setup(precision=precision, graphed=graphed)
        facts = {"gpu_model": gpu, "gpus": gpus, "nodes": nodes, "cpu": None}
        honest = predicted(setup, shape, **facts)
        lying = Rates(label(gpu), precision, 1, shape.hidden, 1e18, 0.0, 1e18, 0.0, 1e18)
        for known in (seen({32: 1e-7}, setup, shape, **facts), Known(rates=(lying,))):
            found = predicted(setup, shape, **facts, known=known)
            floor = 28 * shape.body_parameters / DEVICES[gpu].bytes_per_s
            assert found.step_s is not None
            assert found.fastest_step_s is not None
            assert floor <= found.fastest_step_s <= found.step_s
            assert found.step_s <= (honest.step_s or 0)


def test_a_gpu_outside_the_table_is_known_once_it_was_seen() -> None:
    setup, facts = Setup(), {"gpu_model": "Quantum 9000", "cpu": None}
    assert predicted(setup, BASE, **facts).step_s is None
    found = predicted(setup, BASE, **facts, known=seen({32: 0.02}, setup, BASE, **facts))
    assert found.step_s == pytest.approx(0.02)
    assert label("NVIDIA H100 80GB HBM3") == "H100"
    assert label("Intel(R) Xeon(R) CPU E5-2680, avx2") == "Intel(R) Xeon(R) CPU E5-2680, avx2"


def test_what_is_taught_is_read_again_and_what_is_damaged_is_not() -> None:
    kind = {"device": cpu_name(), "model": "m"}
    for number in range(15):
        assert keep_point(kind, Point(1e9 + number, 0.1))
    assert keep_rates(Rates("a CPU", "fp32", 1, 384, 50e9, 1e-3, 10e9))
    known = read_known()
    assert len(known.points(kind)) == 12
    assert known.rates_of("a CPU", "fp32", 1, 384) is not None
    place = directory()
    assert place is not None
    (place / "steps-0.json").write_text(json.dumps({"kind": kind, "points": [{"flops": -1, "seconds": "x"}]}))
    (place / "rates-0.json").write_text("{")
    assert len(read_known().steps) == 1
