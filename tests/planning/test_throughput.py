"""Predicted speed: what it says, when it says nothing, and what its advice is worth."""

from __future__ import annotations

import dataclasses

import pytest

from launcher.families import known_shape
from launcher.planning.estimate import DEVICES, Setup
from launcher.planning.throughput import Facts, Throughput, predict

BASE = known_shape("FacebookAI/roberta-base")
assert BASE is not None
FACTS = Facts(
    examples=32,
    micro_batch_size=32,
    max_length=512,
    mean_chars=60.0,
    nodes=2,
    gpus=8,
    gpu_model="H100",
    cores=1,
)


def speed(setup: Setup = Setup(), **changes: object) -> Throughput:  # noqa: B008  (frozen)
    return predict(BASE, setup, dataclasses.replace(FACTS, **changes))


def test_the_step_of_the_planned_nodes_is_among_those_shown() -> None:
    found = speed()
    assert found.step_s is not None
    assert found.examples_per_s == pytest.approx(32 / found.step_s)
    assert dict(found.by_nodes)[2] == found.examples_per_s
    assert [nodes for nodes, _ in found.by_nodes] == [1, 2, 4, 8]
    assert found.tokens_per_example == pytest.approx(60 / 4.3 + 2)


def test_nothing_is_said_where_model_texts_or_device_are_unknown() -> None:
    assert predict(None, Setup(), FACTS) == Throughput()
    assert speed(mean_chars=None) == Throughput()
    assert speed(gpu_model=None) == Throughput()
    assert speed(gpu_model="Quantum 9000") == Throughput()


def test_long_texts_are_counted_as_cut() -> None:
    assert speed(mean_chars=9000.0).tokens_per_example == 512


def test_advice_names_what_makes_more_nodes_pay() -> None:
    found = speed(examples=256)
    assert found.stops_paying is not None
    larger, adapters = found.advice
    assert "batch.global=1024" in larger
    assert "tuning=lora" in adapters
    assert not any("lora" in text for text in speed(Setup(tuning="lora"), examples=256).advice)
    assert not any("lora" in text for text in speed(examples=256, pretrained=False).advice)


def test_a_cpu_is_counted_by_its_cores() -> None:
    one, four = (speed(Setup(device="cpu", precision="fp32"), gpus=1, nodes=1, cores=n) for n in (1, 4))
    assert one.step_s is not None
    launching = BASE.layers * DEVICES["CPU"].layer_launch_s  # which more cores don't make shorter
    assert four.step_s - launching == pytest.approx((one.step_s - launching) / 4)


def test_a_graph_saves_the_launches_of_a_small_step() -> None:
    small = {"gpus": 1, "nodes": 1, "examples": 2, "micro_batch_size": 2}
    graphed, ordinary = (speed(Setup(graphed=graph), **small) for graph in (True, False))
    assert ordinary.step_s == pytest.approx(BASE.layers * DEVICES["H100"].layer_launch_s)
    assert graphed.step_s is not None
    assert graphed.step_s < ordinary.step_s / 4
