"""A pickle that would execute something, planted in a checkpoint whose manifest agrees with it: named, and never executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cases import quick
from support.training import Fault, RankServer, log, make_run, recipe, result

from launcher.errors import RunFailed
from launcher.train.compat.plain_values import OF_DEEPSPEED, read_values
from launcher.train.compat.zero_shards import whole_state
from launcher.train.step.checkpoints import verify
from launcher.train.step.state_difference import sign_again

STRATEGIES: dict[str, tuple[int, str]] = {
    "plain, optimizer": (0, "optimizer.pt"),
    "ZeRO-1, optimizer": (1, "*optim_states.pt"),
    "ZeRO-3, weights": (3, "*model_states.pt"),
}


class Command:
    """Unpickling it executes a command of the shell."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def plant(path: Path, marker: Path) -> None:
    """Put a command into a file of torch.save, which does what it is meant to where it is unpickled."""
    content = read_values(path) if path.exists() else {}
    torch.save({**content, "planted": Command(marker)}, path)
    torch.load(path, weights_only=False)
    marker.unlink()


@pytest.mark.parametrize("strategy", quick(STRATEGIES, ["plain, optimizer", "ZeRO-3, weights"]))
@pytest.mark.fault(34)
def test_a_planted_pickle_is_never_executed(
    strategy: str, tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    stage, pattern = STRATEGIES[strategy]
    run = make_run(tmp_path / "run", recipe(tiny_data, zero={"stage": stage}, train={"max_steps": 6}))
    assert ranks.attempt(run, fault=Fault("stop", "step", 2)) == [0]
    [checkpoint] = run.checkpoints.iterdir()
    [file] = checkpoint.rglob(pattern)
    marker = tmp_path / "executed"
    plant(file, marker)
    sign_again(checkpoint, file)
    assert verify(checkpoint) is None

    assert ranks.attempt(run, number=2) == [1]
    assert not marker.exists()
    error = result(run)["error"]
    assert error["class"] == "checkpoint", log(run)
    place = f"{file.parent.name}/{file.name}"
    said = f"{place} holds more than weights and plain values (posix.system): nothing of it is executed"
    assert error["message"] == said


def test_a_shard_that_other_ranks_take_up_is_no_exception(tmp_path: Path) -> None:
    shard = tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    plant(shard, tmp_path / "executed")
    with pytest.raises(RunFailed, match=r"posix\.system"):
        whole_state([shard])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"cposix\nsystem\n(S'true'\ntR.", b"PK\x03\x04" + b"\0" * 40])
def test_what_torch_did_not_save_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(
        RunFailed, match="holds more than weights and plain values: nothing of it is executed"
    ):
        read_values(tmp_path / "model.pt")


def test_what_is_allowed_are_classes_of_deepspeed_that_hold_numbers() -> None:
    assert all(name.startswith("deepspeed.") for name in OF_DEEPSPEED)
