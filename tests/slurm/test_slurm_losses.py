"""Several nodes compute what one rank computes, and a stopped run what one that was never stopped computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import log, losses, make_run, metrics, recipe, result, train_here, write_data
from support.waiting import wait_until
from transformers import BertConfig, BertModel

from launcher.executors.shared.base import Executor
from launcher.recipe.model import Scratch
from launcher.runs.directory import RunDir
from launcher.train.tokens.tokenizer import train_tokenizer

pytestmark = pytest.mark.slow

STEPS = 20
NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}
LAYOUTS = [[(2, 2)], pytest.param([(1, 1), (1, 2), (2, 1)], marks=pytest.mark.long)]
"""Nodes and ranks on each."""

Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the run directory of that name for a tiny recipe on Slurm; all share their data."""
    data = write_data(tmp_path / "data")

    def _make(name: str, executor: str = "slurm", **changes: Any) -> RunDir:
        quiet: dict[str, Any] = {"eval": {"every": None}, "checkpoint": {"every": None}}
        return make_run(tmp_path / "runs" / name, recipe(data, executor=executor, **(quiet | changes)))

    return _make


def ended(executor: Executor, *runs: RunDir) -> list[str]:
    """How the jobs of these runs have ended, when they all have."""
    wait_until(lambda: not any(executor.state(run).active for run in runs), "the jobs to end", timeout_s=300)
    return [str(result(run)["status"]) for run in runs]


@pytest.mark.parametrize("layouts", LAYOUTS)
def test_losses_are_those_of_one_rank_on_any_nodes(
    slurm: Executor, make: Make, layouts: list[tuple[int, int]]
) -> None:
    """97 examples in batches of 16: the last batch of an epoch is a single example, for one of the ranks."""
    wanted = {"model": NO_DROPOUT, "train": {"max_steps": STEPS, "lr": 3e-3}}
    runs = [make(f"on-{nodes}x{gpus}", nodes=nodes, gpus=gpus, **wanted) for nodes, gpus in layouts]
    for run in runs:
        slurm.start(run)
    alone = make("alone", executor="local", **wanted)
    train_here(alone, "none")
    assert ended(slurm, *runs) == ["completed"] * len(runs), "\n".join(map(log, runs))
    expected, evaluated = losses(alone), metrics(alone, "validation")[-1]["eval/loss"]
    assert len(expected) == STEPS
    assert max(expected) - min(expected) > 0.01, "it has learnt nothing: any layout would agree"
    for run in runs:
        assert losses(run) == pytest.approx(expected, abs=1e-4), run.run_id
        assert metrics(run, "validation")[-1]["eval/loss"] == pytest.approx(evaluated, abs=1e-4)


@pytest.mark.long  # tests/train/test_resume.py has adapters under ZeRO-3, and stops and resumes them
def test_adapters_under_zero_3_are_stopped_and_resumed_to_the_same_losses(
    slurm: Executor, make: Make, tmp_path: Path
) -> None:
    wanted = {
        "nodes": 2,
        "tuning": "lora",
        "zero": {"stage": 3},
        "model": {"init": "pretrained", "name": str(pretrained(tmp_path / "encoder"))},
        "train": {"max_steps": 40, "lr": 3e-3},
    }
    expected, run = make("never-stopped", **wanted), make("stopped", **wanted)
    slurm.start(expected)
    slurm.start(run)
    wait_until(lambda: run.metrics.exists() and len(losses(run)) >= 3, "the third step", timeout_s=300)
    slurm.stop(run)
    assert ended(slurm, run) == ["stopped"], log(run)
    assert 3 <= len(losses(run)) < 40
    slurm.start(run)
    assert ended(slurm, run, expected) == ["completed", "completed"], log(run)
    assert result(run)["attempts"] == 2
    assert len(losses(expected)) == 40
    assert losses(run) == losses(expected)


def pretrained(directory: Path) -> Path:
    """The bare encoder of a tiny BERT with its tokenizer, as one has it from the hub."""
    tokenizer = train_tokenizer(["a good day", "a bad night"], Scratch(vocab=100))
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
