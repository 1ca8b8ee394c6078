"""What each way of sharding costs stands in the plan, and what a recipe pays for without need is said first."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.planning.plan import Plan
from launcher.planning.prepare import prepare

Planned = Callable[..., Plan]

RECIPE = (
    "recipe=roberta-cls",
    "data.source=null",
    "data.train=a.csv",
    "data.validation=a.csv",
    "data.text=t",
    "data.label=l",
)


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    (tmp_path / "a.csv").write_text("t,l\n" + "a good film that nobody saw,1\na bad one,0\n" * 20)

    def plan(*words: str, nodes: int = 4, gpus: int = 8, memory: int = 80) -> Plan:
        profile = f"gpus_per_node: {gpus}\ngpu_memory_gib: {memory}\ngpu_model: H100\n"
        (tmp_path / "site.yaml").write_text(profile)
        given = (*RECIPE, f"nodes={nodes}", "cluster=site.yaml", *words)
        last = {word.partition("=")[0]: word for word in given if not word.endswith("=")}
        return prepare(tuple(last.values()), {}, tmp_path, submits=False).plan

    return plan


def test_every_way_stands_side_by_side_and_agrees_with_the_plan(planned: Planned) -> None:
    plan = planned("zero.stage=2")
    assert [(way.zero_stage, way.offload) for way in plan.sharding] == [
        (0, "none"),
        (1, "none"),
        (2, "none"),
        (3, "none"),
        (3, "cpu"),
    ]
    (own,) = [way for way in plan.sharding if way.planned]
    assert (own.zero_stage, own.memory, own.bytes_per_step) == (
        2,
        plan.memory.total,
        plan.traffic.bytes_per_step,
    )
    assert own.step_s == pytest.approx(plan.throughput.step_s)
    memory = [way.memory for way in plan.sharding]
    assert memory == sorted(memory, reverse=True)
    sent = [way.bytes_per_step for way in plan.sharding]
    assert sent[3] == pytest.approx(1.5 * sent[0], rel=0.01)  # ZeRO paper, section 7


def test_a_pair_of_texts_to_embed_is_two_sequences_in_every_way(planned: Planned) -> None:
    plan = planned(
        "recipe=bert-embedding", "data.text=[t,l]", "data.label=", "data.negatives=null", "zero.stage=2"
    )
    (own,) = [way for way in plan.sharding if way.planned]
    assert own.memory == plan.memory.total


@pytest.mark.parametrize(("stage", "said"), [(0, False), (2, True), (3, True)])
def test_sharding_that_saves_nothing_scarce_is_said(planned: Planned, stage: int, said: bool) -> None:
    advice = " ".join(planned(f"zero.stage={stage}", "batch.global=512").advice)
    assert ("zero.stage=0, plain PyTorch, needs" in advice) == said
    assert ("1.5 times as much" in advice) == (stage == 3)


def test_what_lora_pays_for_sharding_is_told_in_plain_numbers(planned: Planned) -> None:
    """Weights are gathered twice and summed never, adapters alone are summed: 330 times as much, not 3.3e+02."""
    advice = " ".join(planned("zero.stage=3", "batch.global=512", "tuning=lora").advice)
    assert re.search(r"sends \d\d0 times as much", advice)


@pytest.mark.parametrize(("stage", "where"), [(2, "cpu"), (3, "cpu"), (3, "nvme")])
def test_offloading_takes_its_time(planned: Planned, stage: int, where: str) -> None:
    """Of 125M weights main memory moves 28 bytes each in an update, and a disk 24: their state, read and written.

    In stage 2 the updated weights go back to the GPU; in stage 3 both passes wait for weights longer than for launches.
    """
    words = (f"zero.stage={stage}", "batch.global=8")
    place = (f"zero.offload={where}", *(["zero.nvme_path=/scratch"] if where == "nvme" else []))
    kept, offloaded = (planned(*words, *more, nodes=1, gpus=1).throughput for more in ((), place))
    assert kept.step_s is not None
    assert offloaded.step_s is not None
    assert offloaded.fastest_step_s is not None
    assert offloaded.slowest_step_s is not None
    moved = 28 * 124.6e6
    assert moved / 920e9 < offloaded.fastest_step_s < offloaded.step_s < offloaded.slowest_step_s
    disk = 24 * 124.6e6 / 3e9 if where == "nvme" else 0.0
    bus = 4 * 124.6e6 / 25e9
    rest = kept.step_s + bus if stage == 2 else 2 * bus
    assert offloaded.step_s == pytest.approx(rest + moved / 120e9 + disk, rel=0.05)


def test_sharding_that_is_needed_is_not_advised_against(planned: Planned) -> None:
    assert planned("zero.stage=3", "batch.global=512", memory=2).advice == ()


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", "train.lr=5.66e-05"), ("sgd", "train.lr=0.00016")])
def test_a_batch_too_small_for_its_ranks_comes_with_its_learning_rate(
    planned: Planned, optimizer: str, rate: str
) -> None:
    (sentence,) = planned("zero.stage=0", f"train.optimizer={optimizer}", "train.beta2=0.999").advice
    assert "batch.global=32 leaves a rank 1 of its examples or fewer" in sentence
    assert f"batch.global=256 with {rate}" in sentence
    assert "or use 4 ranks" in sentence


def test_ways_that_contradict_the_recipe_are_left_out(planned: Planned) -> None:
    plan = planned("zero.stage=0", "train.optimizer=adafactor")
    assert [way.zero_stage for way in plan.sharding] == [0]


def test_one_rank_that_is_enough_takes_about_as_long(planned: Planned) -> None:
    (sentence,) = planned("zero.stage=0", "batch.global=8", nodes=1).advice
    assert sentence.endswith("or use 1 rank, which takes about as long")


@pytest.mark.parametrize("word", ["train.optimizer=muon", "train.ema=0.99"])
def test_null_is_plain_pytorch_where_shards_allow_nothing_else(planned: Planned, word: str) -> None:
    """roberta-cls leaves the stage to the plan; what looks at whole parameters decides it, and the plan says so."""
    plan = planned(word)
    assert (plan.zero_stage, plan.strategy) == (0, "plain")
    key = word.partition("=")[0]
    assert f"zero.stage is null: plain PyTorch on 32 ranks, since {key} doesn't work on shards" in plan.notes
    with pytest.raises(UserError, match=re.escape(f"{key}=")):
        planned(word, "zero.stage=2")
    with pytest.raises(UserError, match=re.escape(f"{key}=")):
        planned(word, "zero.offload=cpu")


def test_one_rank_has_nothing_to_shard(planned: Planned) -> None:
    plan = planned("zero.stage=0", nodes=1, gpus=1)
    assert (plan.sharding, plan.advice) == ((), ())


def test_what_is_advised_does_not_change_what_the_plan_is(planned: Planned) -> None:
    plan = planned()
    assert plan.advice
    assert planned().plan_id == plan.plan_id
