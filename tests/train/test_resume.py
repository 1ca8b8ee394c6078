"""Whatever ends an attempt, the run goes on as if nothing had happened: every loss and every weight, bit for bit.

Dropout is on. A run is evaluated every 4 steps and saved every 5; signals come at moments that the test names.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.cases import quick
from support.training import Fault, RankServer, log, losses, make_run, metrics, recipe, result, tensors

from launcher.runs.directory import RunDir

STEPS = 18
IN_EVALUATION = "evaluating"

KILL = Fault("kill", "step", 8)
KILL_WHILE_SAVING = Fault("kill", "checkpoint", 15)
STOP_FILE = Fault("stop", "step", 11)
TERM = Fault("term", "step", 9)
TERM_IN_EVALUATION = Fault("term", IN_EVALUATION, 12)

CASES: dict[str, tuple[int, dict[str, Any], list[Fault]]] = {
    "1 rank": (1, {}, [KILL, STOP_FILE, TERM_IN_EVALUATION, KILL_WHILE_SAVING]),
    "1 rank, bf16": (1, {"precision": "bf16"}, [KILL, TERM_IN_EVALUATION]),
    "2 ranks": (2, {}, [Fault("kill", "step", 8, rank=1), TERM, Fault("term", IN_EVALUATION, 12, rank=1)]),
    "4 ranks": (4, {}, [Fault("kill", "step", 8, rank=3), Fault("stop", "step", 11, rank=2)]),
    "2 ranks, ZeRO-2": (2, {"zero": {"stage": 2}}, [KILL, Fault("term", IN_EVALUATION, 12, rank=1)]),
    "2 ranks, ZeRO-3": (2, {"zero": {"stage": 3}}, [Fault("kill", "step", 8, rank=1), STOP_FILE]),
    "1 rank, LoRA": (1, {"tuning": "lora"}, [KILL, STOP_FILE]),
    "2 ranks, LoRA, ZeRO-2": (2, {"tuning": "lora", "zero": {"stage": 2}}, [KILL, TERM]),
    "2 ranks, LoRA, ZeRO-3": (2, {"tuning": "lora", "zero": {"stage": 3}}, [KILL, TERM]),
}


@pytest.mark.parametrize("case", quick(CASES, ["1 rank", "2 ranks, LoRA, ZeRO-3"]))
@pytest.mark.fault(9, 10)
def test_resumed_run_is_bitwise_the_uninterrupted_one(
    case: str, tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    count, changes, faults = CASES[case]
    if changes.get("tuning") == "lora":
        changes = changes | {"model": {"init": "pretrained", "name": str(tiny_run.model)}}
    wanted = recipe(
        tiny_data,
        gpus=count,
        train={"max_steps": STEPS},
        eval={"every": 4},
        checkpoint={"every": 5},
        debug={"samples": True},
        **changes,
    )
    expected = ranks.complete(make_run(tmp_path / "expected", wanted), count)
    run = make_run(tmp_path / "run", wanted)
    for number, fault in enumerate(faults, start=1):
        codes = ranks.attempt(run, count, number, fault)
        if fault.action == "kill":
            assert codes[fault.rank] == -9
            assert not run.attempt(number).exit_code.exists() or count > 1
        else:
            assert codes == [0] * count, log(run)
            assert run.attempt(number).exit_code.read_text() == "75\n"
            assert result(run)["status"] == "stopped"
    ranks.complete(run, count, len(faults) + 1)
    assert_same(run, expected, count)


def assert_same(run: RunDir, expected: RunDir, ranks: int) -> None:
    assert len(losses(expected)) == STEPS
    assert losses(run) == losses(expected)
    assert metrics(run, "validation") == metrics(expected, "validation")
    assert metrics(run, "test") == metrics(expected, "test")
    assert len({json.dumps([row["step"], row.get("split")]) for row in _rows(run)}) == len(_rows(run))
    assert {key: result(run)[key] for key in ("best", "test", "steps", "epochs")} == {
        key: result(expected)[key] for key in ("best", "test", "steps", "epochs")
    }
    found, wished = (tensors(each.checkpoints / f"step_{STEPS}") for each in (run, expected))
    assert wished
    assert found.keys() == wished.keys()
    assert [name for name in wished if not torch.equal(found[name], wished[name])] == []
    found, wished = (load_file(each.model / "model.safetensors") for each in (run, expected))
    assert all(torch.equal(found[name], wished[name]) for name in wished)
    for rank in range(ranks):
        assert run.rank_samples(rank).read_text() == expected.rank_samples(rank).read_text()


def _rows(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_resuming_a_completed_run_changes_nothing(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 6}, eval={"every": 3}, checkpoint={"every": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    before = (run.metrics.read_bytes(), (run.model / "model.safetensors").read_bytes(), result(run)["best"])
    ranks.complete(run, number=2)
    after = (run.metrics.read_bytes(), (run.model / "model.safetensors").read_bytes(), result(run)["best"])
    assert after == before
    assert result(run)["attempts"] == 2


@pytest.mark.fault(28)
def test_other_data_are_not_trained_on(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """Neither fewer rows nor others; the same ones are, whenever their file was written."""
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        shutil.copy(tiny_data / f"{split}.csv", data)
    train = data / "train.csv"
    wanted = recipe(data, train={"max_steps": 12}, eval={"every": 6}, checkpoint={"every": 5})
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("kill", "step", 8)) == [-9]
    whole = train.read_bytes()
    changed = {
        "97 rows then, 58 now": b"".join(whole.splitlines(keepends=True)[:59]),
        "97 rows, but not the same ones or not read alike": whole.replace(b" the ", b" a "),
    }
    for number, (said, text) in enumerate(changed.items(), start=2):
        train.write_bytes(text)
        assert ranks.attempt(run, number=number) == [1]
        error = result(run)["error"]
        assert (error["class"], error["message"]) == ("data", f"the data changed since step 5: {said}")
        assert error["remedy"] == "restore the file, or start a new run"
    train.write_bytes(whole)
    ranks.complete(run, number=4)
    assert len(losses(run)) == 12


def test_early_stopping_counts_over_attempts(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """The learning rate is too small to improve on the first evaluation by min_delta: 3 more, and training ends."""
    patience = {"metric": "loss", "patience": 3, "min_delta": 0.5}
    wanted = recipe(
        tiny_data,
        train={"max_steps": STEPS, "lr": 1e-7, "early_stopping": patience},
        eval={"every": 2},
        checkpoint={"every": None},
    )
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("term", "step", 5)) == [0]
    ranks.complete(run, number=2)
    assert result(run)["steps"] == 8
    assert [row["step"] for row in metrics(run, "validation")] == [2, 4, 6, 8]


def test_a_metric_that_does_not_exist_yet_is_null(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """All validation scores are the same: there is no correlation, in the metrics, the checkpoint or the result.

    Nor is there an improvement: after the first evaluation two more, and the training ends.
    """
    data = tmp_path / "scores"
    data.mkdir()
    for split in ("train", "validation", "test"):
        lines = (tiny_data / f"{split}.csv").read_text().splitlines()[1:]
        texts = [line.rpartition(",")[0] for line in lines]
        score = (lambda index: index % 5) if split == "train" else (lambda _: 3)
        rows = [f"{text},{score(index)}" for index, text in enumerate(texts)]
        (data / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    train = {"max_steps": STEPS, "early_stopping": {"patience": 2}}
    wanted = recipe(data, task="regression", train=train, eval={"every": 2}, checkpoint={"every": 2})
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("kill", "step", 5)) == [-9]
    ranks.complete(run, number=2)
    assert [row["eval/pearson"] for row in metrics(run, "validation")] == [None] * 3
    assert result(run)["best"] == {"metric": "pearson", "value": None, "step": 6}
    assert result(run)["test"]["spearman"] is None
