"""Final states are compared to the last bit, and the first tensor that differs is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.training import RankServer, make_run, recipe

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir
from launcher.train.step.checkpoints import verify
from launcher.train.step.state_difference import compare_states, plant_difference


@pytest.fixture
def copy(tiny_run: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(tiny_run.path, tmp_path / "copy")
    return RunDir(tmp_path / "copy")


def test_a_copy_is_the_same(tiny_run: RunDir, copy: RunDir) -> None:
    found = compare_states(tiny_run, copy)
    assert found.same == found.count > 100
    assert (found.first, found.largest) == (None, 0.0)


def test_one_bit_of_the_model_is_named(tiny_run: RunDir, copy: RunDir) -> None:
    path = copy.model / "model.safetensors"
    weights = load_file(path)
    changed = sorted(weights)[5]
    weights[changed].flatten().view(torch.int32)[7] ^= 1
    save_file(weights, path, {"format": "pt"})
    found = compare_states(tiny_run, copy)
    assert found.count - found.same == 1
    assert found.first is not None
    assert (found.first.file, found.first.tensor) == ("model/model.safetensors", changed)
    assert (found.first.elements, found.first.at) == (1, 7)
    assert found.first.expected != found.first.found


def test_a_planted_bit_is_found_in_a_checkpoint_that_is_whole(tiny_run: RunDir, copy: RunDir) -> None:
    planted = plant_difference(copy)
    assert verify(copy.checkpoints / "step_60") is None
    found = compare_states(tiny_run, copy)
    assert found.count - found.same == 1
    assert found.first is not None
    assert found.first.file == "checkpoints/step_60/model.pt"
    assert planted.startswith(
        f"one bit of element {found.first.at} of {found.first.tensor} in {found.first.file}"
    )


@pytest.mark.parametrize("stage", [2, 3])
def test_the_states_of_zero_are_compared_too(
    tmp_path: Path, tiny_data: Path, ranks: RankServer, stage: int
) -> None:
    wanted = recipe(tiny_data, zero={"stage": stage}, gpus=2, train={"max_steps": 2}, eval={"every": None})
    run = ranks.complete(make_run(tmp_path / "run", wanted), ranks=2)
    shutil.copytree(run.path, tmp_path / "other")
    other = RunDir(tmp_path / "other")
    assert compare_states(run, other).first is None
    planted = plant_difference(other)
    found = compare_states(run, other)
    assert found.count - found.same == 1
    assert found.first is not None
    assert f"{found.first.tensor} in {found.first.file}" in planted


def test_a_checkpoint_that_is_not_whole_is_not_read(tiny_run: RunDir, copy: RunDir) -> None:
    (copy.checkpoints / "step_60" / "model.pt").write_bytes(b"x")
    with pytest.raises(RunFailed, match=r"not whole: model\.pt has 1 bytes"):
        compare_states(tiny_run, copy)
