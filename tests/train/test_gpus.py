"""Whole trainings on GPUs: resumed to the last bit, in half precision, and on two of them as on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.gpu import needs_gpu, needs_two_gpus
from support.training import log, losses, make_run, recipe, torchrun, train_here

from launcher.recipe.recipe import Recipe

NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0}}


def on_gpus(data: Path, /, **changes: Any) -> Recipe:
    """The tiny recipe on GPUs, with a learning rate that doesn't depend on when the training is to end."""
    train = {"schedule": "constant", "max_steps": 12, **changes.pop("train", {})}
    return recipe(data, device="cuda", train=train, **changes)


@needs_gpu
@pytest.mark.parametrize("compiled", ["none", "graph"])
def test_a_deterministic_training_is_resumed_to_the_last_bit(
    tmp_path: Path, tiny_data: Path, request: pytest.FixtureRequest, compiled: str
) -> None:
    """With dropout; a graph that was captured before is not there after."""
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
    wanted = on_gpus(tiny_data, precision="bf16", deterministic=True, checkpoint={"every": 6})
    whole, resumed = make_run(tmp_path / "whole", wanted), make_run(tmp_path / "resumed", wanted)
    train_here(whole, compiled, max_steps=12, device="cuda")
    for steps in (6, 12):
        train_here(resumed, compiled, max_steps=steps, device="cuda")
    assert losses(resumed) == losses(whole)


@needs_gpu
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "muon"])
def test_half_precision_trains_as_whole_precision_does(
    tmp_path: Path, tiny_data: Path, optimizer: str
) -> None:
    train = {"optimizer": optimizer}
    whole, half = (
        make_run(tmp_path / name, on_gpus(tiny_data, precision=name, model=NO_DROPOUT, train=train))
        for name in ("fp32", "fp16")
    )
    for run in (whole, half):
        train_here(run, "none", device="cuda")
    assert losses(half) == pytest.approx(losses(whole), rel=0.01)


@needs_two_gpus
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_losses_of_two_gpus_are_those_of_one(tmp_path: Path, tiny_data: Path, stage: int) -> None:
    same = {"precision": "bf16", "model": NO_DROPOUT, "train": {"compile": "none"}}
    one, two = on_gpus(tiny_data, **same), on_gpus(tiny_data, **same, gpus=2, zero={"stage": stage})
    alone, together = make_run(tmp_path / "one", one), make_run(tmp_path / "two", two)
    train_here(alone, "none", device="cuda")
    process = torchrun(together, 2)
    said, _ = process.communicate()
    assert process.returncode == 0, f"{said}\n{log(together)}"
    assert losses(together) == pytest.approx(losses(alone), rel=0.01)
