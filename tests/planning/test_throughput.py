"""Predicted speed: what it says, when it says nothing, and what its advice is worth."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from launcher.families import known_shape
from launcher.planning.estimate import Setup, trainable_parameters
from launcher.planning.hardware import DEVICES
from launcher.planning.step_time import Planned, step_flops
from launcher.planning.throughput import Facts, Throughput, Variant, predict

BASE = known_shape("FacebookAI/roberta-base")
assert BASE is not None
FACTS = Facts(
    examples=32,
    max_length=512,
    mean_chars=60.0,
    nodes=2,
    gpus=8,
    gpu_model="H100",
    cores=1,
)


def speed(setup: Setup = Setup(), micro_batch_size: int = 32, **changes: Any) -> Throughput:  # noqa: B008  (frozen)
    def plan_of(variant: Variant) -> Planned:
        return Planned(dataclasses.replace(setup, tuning=variant.tuning), micro_batch_size)

    return predict(BASE, dataclasses.replace(FACTS, **changes), setup.tuning, plan_of)


def test_the_step_of_the_planned_nodes_is_among_those_shown() -> None:
    found = speed()
    assert found.step_s is not None
    assert found.examples_per_s == pytest.approx(32 / found.step_s)
    assert dict(found.by_nodes)[2] == found.examples_per_s
    assert [nodes for nodes, _ in found.by_nodes] == [1, 2, 4, 8]
    assert found.tokens_per_example == pytest.approx(60 / 4.3 + 2)


def test_nothing_is_said_where_model_texts_or_device_are_unknown() -> None:
    assert predict(None, FACTS, "full", lambda _: Planned(Setup(), 32)) == Throughput()
    assert speed(mean_chars=None) == Throughput()
    assert speed(gpu_model=None) == Throughput()
    assert speed(gpu_model="Quantum 9000") == Throughput()


def test_long_texts_are_counted_as_cut() -> None:
    assert speed(mean_chars=9000.0).tokens_per_example == 512


def test_long_texts_that_are_read_in_windows_are_counted_whole_and_what_windows_share_twice() -> None:
    """9,000 characters are 2,095 tokens, in windows of 512 that share 128: some five."""
    cpu: dict[str, Any] = {"setup": Setup(device="cpu", precision="fp32"), "nodes": 1, "gpus": 1}
    cut, whole = (speed(**cpu, mean_chars=9000.0, shared=shared) for shared in (None, 128))
    assert whole.tokens_per_example == pytest.approx(2095 + (2095 - 512) / 382 * 130, rel=0.001)
    assert whole.step_s is not None
    assert cut.step_s is not None
    assert 4 < whole.step_s / cut.step_s < 6
    assert speed(mean_chars=900.0, shared=128) == speed(mean_chars=900.0)


def test_advice_names_what_makes_more_nodes_pay() -> None:
    found = speed(examples=4096)
    assert found.stops_paying is not None
    larger, adapters = found.advice
    assert "batch.global=16384" in larger
    assert "tuning=lora" in adapters
    assert not any("lora" in text for text in speed(Setup(tuning="lora"), examples=4096).advice)
    assert not any("lora" in text for text in speed(examples=4096, pretrained=False).advice)


def test_a_cpu_is_counted_by_its_cores() -> None:
    one, four = (speed(Setup(device="cpu", precision="fp32"), gpus=1, nodes=1, cores=n) for n in (1, 4))
    assert one.step_s is not None
    launching = BASE.layers * DEVICES["CPU"].layer_launch_s  # which more cores don't make shorter
    assert four.step_s - launching == pytest.approx((one.step_s - launching) / 4)


def test_a_cpu_is_as_fast_as_the_units_that_it_names() -> None:
    wide, plain = (
        speed(Setup(device="cpu", precision="fp32"), gpus=1, nodes=1, cpu=name)
        for name in ("AMD EPYC, avx512f", "AMD EPYC, avx2")
    )
    assert wide.step_s is not None
    assert 1.4 * wide.step_s < plain.step_s < 2.5 * wide.step_s
    assert (wide.measured_on, plain.measured_on) == (
        "server cores with AVX512-BF16",
        "server cores with AVX2",
    )


def test_a_graph_saves_the_launches_of_a_small_step() -> None:
    small = {"gpus": 1, "nodes": 1, "examples": 2, "micro_batch_size": 2}
    graphed, ordinary = (speed(Setup(graphed=graph), **small) for graph in (True, False))
    assert ordinary.step_s is not None
    assert graphed.step_s is not None
    assert ordinary.step_s > BASE.layers * DEVICES["H100"].layer_launch_s
    assert graphed.step_s < ordinary.step_s / 4


LARGE = known_shape("FacebookAI/roberta-large")


@pytest.mark.parametrize("shape", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("examples", [1, 32, 4096])
@pytest.mark.parametrize("gpu", sorted(DEVICES.keys() - {"CPU"}))
def test_no_prediction_is_faster_than_physics_allow(
    gpu: str, examples: int, precision: Any, shape: Any
) -> None:
    """AdamW reads a gradient, and reads and writes 12 bytes a parameter; arithmetic at the peak; the network's latency."""
    device = DEVICES[gpu]
    for graphed, nodes, gpus in ((True, 1, 1), (False, 1, 1), (False, 4, 8)):
        setup = Setup(precision=precision, graphed=graphed)
        facts = dataclasses.replace(FACTS, examples=examples, gpu_model=gpu, nodes=nodes, gpus=gpus)
        found = predict(shape, facts, "full", lambda _, setup=setup: Planned(setup, 32))
        assert found.fastest_step_s is not None
        update = 28 * trainable_parameters(shape, setup) / device.bytes_per_s
        half = precision == "fp16" or (precision == "bf16" and device.has_bf16)
        length = 60 / 4.3 + 2
        flops = step_flops(shape, setup, tokens=round(examples * length), mean_length=length)
        arithmetic = flops / nodes / gpus / (device.half_flops if half else device.fp32_flops)
        latency = 0 if nodes == 1 else 2 * 5 * 10e-6
        assert found.fastest_step_s >= update + arithmetic + latency
        assert found.fastest_step_s < found.step_s < found.slowest_step_s
        assert found.measured_on is None


def test_a_graphed_step_of_roberta_on_an_h100_takes_more_than_two_milliseconds() -> None:
    found = speed(Setup(graphed=True), gpus=1, nodes=1)
    assert found.fastest_step_s is not None
    assert found.fastest_step_s > 125e6 * 28 / 3.35e12
    assert 2e-3 < found.step_s < 5e-3


def test_rows_of_the_table_have_the_plan_of_their_own_number_of_nodes() -> None:
    """Sixteen examples fit at a time: one node takes four micro-batches, four nodes take one each."""

    def plan_of(variant: Variant) -> Planned:
        return Planned(Setup(zero_stage=0 if variant.nodes == 1 else 2), min(16, 64 // variant.nodes))

    facts = dataclasses.replace(FACTS, examples=64, gpus=1)
    rows = {
        planned: dict(predict(BASE, dataclasses.replace(facts, nodes=planned), "full", plan_of).by_nodes)
        for planned in (1, 4)
    }
    assert all(rows[1][nodes] == rows[4][nodes] for nodes in (1, 2, 4, 8))
