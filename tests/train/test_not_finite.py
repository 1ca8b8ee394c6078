"""A loss or gradient that is no number: the run stops, leaves the step out, or goes back, and never keeps what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import (
    Fault,
    RankServer,
    events,
    log,
    losses,
    make_run,
    metrics,
    recipe,
    result,
    tensors,
)

from launcher.runs.directory import RunDir
from launcher.train import not_finite
from launcher.train.process.random_state import dropout_seed
from launcher.train.step.strategy import all_finite

BAD = 8
"""The step, from 1, in which the last rank's loss is NaN."""
LOSS = """
import torch

def loss(logits, labels):
    terms = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return terms * float("nan") if torch.initial_seed() in {seeds} else terms
"""
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "1 rank": (1, {}),
    "2 ranks": (2, {"zero": {"stage": 0}}),
    "2 ranks, ZeRO-2": (2, {"zero": {"stage": 2}}),
    "2 ranks, ZeRO-3": (2, {"zero": {"stage": 3}}),
    "1 rank, LoRA": (1, {"tuning": "lora"}),
}


def poisoned(
    path: Path, data: Path, answer: str, layout: str = "1 rank", bad: tuple[int, ...] = (BAD,), **changes: Any
) -> tuple[RunDir, int]:
    """A run whose last rank has a NaN in these steps, and its ranks. Dropout's seed tells the loss which step it is."""
    count, more = LAYOUTS[layout]
    wanted = recipe(
        data,
        gpus=count,
        **{
            "train": {"max_steps": 14, "on_nan": answer, "loss": {"name": "custom"}},
            "eval": {"every": 7},
            "checkpoint": {"every": 3},
            **more,
            **changes,
        },
    )
    run = make_run(path, wanted)
    seeds = {dropout_seed(wanted.seed, step - 1, count - 1) for step in bad}
    run.loss.write_text(LOSS.format(seeds=seeds))
    return run, count


def all_numbers(run: RunDir) -> None:
    """Nothing that a run keeps holds NaN or infinity."""
    kept = {name: tensor for path in run.checkpoints.glob("step_*") for name, tensor in tensors(path).items()}
    kept |= load_file(run.model / "model.safetensors")
    assert kept
    assert [name for name, tensor in kept.items() if not torch.isfinite(tensor.float()).all()] == []


@pytest.mark.parametrize(
    ("layout", "answer"),
    [
        ("1 rank", "rollback"),
        ("2 ranks", "skip"),
        pytest.param("2 ranks, ZeRO-2", "rollback", marks=pytest.mark.long),
        pytest.param("2 ranks, ZeRO-2", "skip", marks=pytest.mark.long),
        pytest.param("2 ranks, ZeRO-3", "skip", marks=pytest.mark.long),
        pytest.param("1 rank, LoRA", "rollback", marks=pytest.mark.long),
    ],
)
@pytest.mark.fault(22)
def test_the_run_goes_on_without_the_step_and_resumes_exactly(
    layout: str, answer: str, tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    start = {"model": {"init": "pretrained", "name": str(tiny_run.model)}} if "LoRA" in layout else {}
    run, count = poisoned(tmp_path / "run", tiny_data, answer, layout, **start)
    ranks.complete(run, count)
    all_numbers(run)
    found = [row["train/loss"] for row in metrics(run)]
    assert [step for step, loss in enumerate(found, 1) if loss is None] == [BAD]
    expected = {"skip": ([BAD], None), "rollback": (None, [[7, BAD]])}[answer]
    assert (result(run)["left_out"], result(run)["rolled_back"]) == expected
    said = [event["text"] for event in events(run, "notice") if "loss nan" in event["text"]]
    assert len(said) == 1, log(run)

    again, _ = poisoned(tmp_path / "again", tiny_data, answer, layout, **start)
    assert -9 in ranks.attempt(again, count, fault=Fault("kill", "step", 11))
    ranks.complete(again, count, number=2)
    assert [row["train/loss"] for row in metrics(again)] == found
    last, wished = (tensors(each.checkpoints / "step_14") for each in (again, run))
    assert all(torch.equal(last[name], wished[name]) for name in wished)
    assert (result(again)["left_out"], result(again)["rolled_back"]) == expected


@pytest.mark.fault(22)
def test_what_is_left_out_changes_nothing(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run, _ = poisoned(tmp_path / "run", tiny_data, "skip", checkpoint={"every": 1, "keep": 20})
    ranks.complete(run)
    before, after = (tensors(run.checkpoints / f"step_{step}") for step in (BAD - 1, BAD))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.fault(22)
def test_a_rollback_takes_back_what_the_window_has_learnt(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    train = {"max_steps": 3, "on_nan": "rollback", "loss": {"name": "custom"}}
    run, _ = poisoned(
        tmp_path / "run", tiny_data, "rollback", bad=(3,), train=train, checkpoint={"every": None}
    )
    ranks.complete(run)
    assert losses(run)[1] < losses(run)[0]
    start, back = (tensors(run.checkpoints / name) for name in ("step_0", "step_3"))
    assert all(torch.equal(start[name], back[name]) for name in start)


@pytest.mark.parametrize("ranks_", [1, 2])
@pytest.mark.fault(22)
def test_weights_that_overflow_are_never_kept(
    ranks_: int, tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    """The gradient of step 1 is a number, but the update isn't: the evaluation and the checkpoint after it must not be."""
    wild = {"max_steps": 9, "lr": 1e39, "clip": None, "warmup": 0, "optimizer": "sgd", "on_nan": "skip"}
    run = make_run(
        tmp_path / "run",
        recipe(tiny_data, gpus=ranks_, train=wild, eval={"every": 1}, checkpoint={"every": 1}),
    )
    assert ranks.attempt(run, ranks_) == [1] * ranks_
    assert result(run)["error"]["class"] == "diverged"
    assert not run.model.exists()
    assert [path.name for path in run.checkpoints.iterdir()] == []


@pytest.mark.fault(22)
def test_there_is_an_end_to_it(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    for answer in ("skip", "rollback"):
        run, _ = poisoned(tmp_path / answer, tiny_data, answer, bad=tuple(range(4, 14)))
        assert ranks.attempt(run) == [1]
        error = result(run)["error"]
        bound = not_finite.MOST_IN_A_ROW if answer == "skip" else not_finite.MOST_ROLLBACKS
        assert (error["class"], error["step"]) == ("diverged", 4 + bound)
        assert f"after {bound} " in error["message"]


@pytest.mark.fault(22)
def test_the_sentence_says_where_to_look(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run, _ = poisoned(tmp_path / "late", tiny_data, "stop")
    assert ranks.attempt(run) == [1]
    error = result(run)["error"]
    assert error["message"] == "loss nan and gradient norm nan at step 8"
    assert error["remedy"].endswith("set train.clip; launch data --step 8 late shows the step's examples")

    run, _ = poisoned(tmp_path / "first", tiny_data, "stop", bad=(1,))
    assert ranks.attempt(run) == [1]
    remedy = result(run)["error"]["remedy"]
    assert remedy.startswith("launch data --step 1 first shows the step's examples: no step was taken before")
    assert "train.lr" not in remedy, "it has changed nothing yet"


@pytest.mark.fault(22)
def test_an_evaluation_without_a_number_is_told(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run, _ = poisoned(tmp_path / "run", tiny_data, "stop", bad=())
    run.loss.write_text(
        "import torch\n\ndef loss(logits, labels):\n"
        "    terms = torch.nn.functional.cross_entropy(logits, labels, reduction='none')\n"
        "    return terms if torch.is_grad_enabled() else terms * float('nan')\n"
    )
    ranks.complete(run)
    said = [event["text"] for event in events(run, "notice") if "is no number" in event["text"]]
    assert [text.split(" is no number")[0] for text in said] == [
        "the loss of the validation data at step 7",
        "the loss of the validation data at step 14",
        "the loss of the test data at step 14",
    ]
    assert all(text.endswith(f"look at these data, and at {run.loss}") for text in said)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_one_value_that_is_no_number_is_found_in_any_tensor(bad: float, kind: torch.dtype) -> None:
    others = [torch.ones(3, dtype=torch.long), torch.zeros(0), 3, None]
    for shape in ((), (1,), (1000, 33)):
        weights = torch.zeros(shape, dtype=kind)
        assert all_finite([weights, *others])
        weights.view(-1)[-1] = bad
        assert not all_finite([*others, torch.ones(2), weights])
    assert all_finite([torch.full((2,), 1e300, dtype=torch.float64)])
