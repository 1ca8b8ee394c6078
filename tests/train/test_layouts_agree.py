"""The global batch is the contract: ranks, ZeRO stages and micro-batches change nothing but where things are computed.

97 examples in batches of 16: the last batch of each epoch is a single example, which leaves all ranks but one idle.
Runs on several nodes are compared in tests/slurm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cases import quick
from support.training import EXAMPLES, RankServer, losses, make_run, metrics, recipe, result

from launcher.runs.directory import RunDir

STEPS = 20
NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "1 rank": (1, {}),
    "1 rank, micro-batches of 5": (1, {"batch": {"global": 16, "micro": 5}}),
    "2 ranks": (2, {}),
    "2 ranks, at most 100 tokens": (2, {"batch": {"global": 16, "tokens": 100}}),
    "3 ranks": (3, {}),
    "1 rank, ZeRO-2": (1, {"zero": {"stage": 2}}),
    "2 ranks, ZeRO-1": (2, {"zero": {"stage": 1}}),
    "2 ranks, ZeRO-2, micro-batches of 3": (2, {"zero": {"stage": 2}, "batch": {"global": 16, "micro": 3}}),
    "2 ranks, ZeRO-3, micro-batches of 3": (2, {"zero": {"stage": 3}, "batch": {"global": 16, "micro": 3}}),
}
REFERENCE = "1 rank"
QUICK = ("3 ranks", "2 ranks, at most 100 tokens", "2 ranks, ZeRO-2, micro-batches of 3")

Train = Callable[[str], RunDir]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, ranks: RankServer) -> Train:
    """The run of a layout, trained when it is first asked for."""
    directory = tmp_path_factory.mktemp("layouts")
    done: dict[str, RunDir] = {}

    def train(name: str) -> RunDir:
        if name not in done:
            count, changes = LAYOUTS[name]
            wanted = recipe(
                tiny_data,
                gpus=count,
                model=NO_DROPOUT,
                train={"max_steps": STEPS, "lr": 3e-3},
                eval={"every": None},
                checkpoint={"every": None},
                debug={"samples": True},
                **changes,
            )
            path = directory / f"layout-{len(done)}"
            done[name] = ranks.complete(make_run(path, wanted), count)
        return done[name]

    return train


@pytest.mark.parametrize("layout", quick([name for name in LAYOUTS if name != REFERENCE], QUICK))
def test_losses_are_those_of_one_rank(trained: Train, layout: str) -> None:
    expected, run = trained(REFERENCE), trained(layout)
    assert len(losses(run)) == STEPS
    assert losses(run) == pytest.approx(losses(expected), abs=1e-4)
    norms = [[row["train/grad_norm"] for row in metrics(each)] for each in (run, expected)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    last, expected_last = metrics(run, "validation")[-1], metrics(expected, "validation")[-1]
    assert last["eval/loss"] == pytest.approx(expected_last["eval/loss"], abs=1e-4)
    assert result(run)["test"]["loss"] == pytest.approx(result(expected)["test"]["loss"], abs=1e-4)


@pytest.mark.parametrize("layout", quick(LAYOUTS, (REFERENCE, *QUICK)))
def test_every_epoch_sees_each_example_once(trained: Train, layout: str) -> None:
    by_step: dict[int, list[int]] = {}
    for path in sorted(trained(layout).samples.glob("rank_*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            by_step.setdefault(row["step"], []).extend(row["examples"])
    assert sorted(by_step) == list(range(1, STEPS + 1))
    assert len(list(trained(layout).samples.iterdir())) == LAYOUTS[layout][0]
    first_epoch = [example for step in range(1, 8) for example in by_step[step]]
    second_epoch = [example for step in range(8, 15) for example in by_step[step]]
    assert [len(by_step[step]) for step in range(1, 8)] == [16] * 6 + [1]
    assert sorted(first_epoch) == sorted(second_epoch) == list(range(EXAMPLES["train"]))
    assert first_epoch != second_epoch


@pytest.mark.long  # two ranks that start DeepSpeed: half a minute
def test_padding_of_shards_is_zero_and_not_what_lay_in_memory(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    """Of a vector of two numbers the third rank has padding alone, which torch fills with NaN with deterministic=true."""
    wanted = recipe(
        tiny_data, gpus=3, deterministic=True, zero={"stage": 3}, train={"max_steps": 2}, eval={"every": None}
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted), 3)
    (shard,) = run.path.glob("checkpoints/step_2/engine/zero_pp_rank_2_*_optim_states.pt")
    groups = torch.load(shard, weights_only=False)["optimizer_state_dict"]["fp32_flat_groups"]
    assert all(group.isfinite().all() for group in groups)
