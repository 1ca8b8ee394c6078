"""`launch init --cluster` on a real Slurm: the profile that it writes is one that jobs run with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.slurm_cluster import Cluster, wait_until

TINY = (
    "recipe=smoke",
    "device=cpu",
    "model.scratch.hidden=16",
    "model.scratch.layers=1",
    "model.scratch.vocab=200",
    "data.max_length=16",
    "data.limit=64",
    "batch.global=8",
    "train.max_steps=3",
    "tracking.wandb.mode=disabled",
)


@pytest.mark.slow
def test_a_profile_is_asked_for_tried_and_trained_with(
    launch: Callable[..., Any], cluster: Cluster, tmp_path: Path
) -> None:
    environment = {**os.environ, **cluster.env}
    done = launch("init", "--cluster", "--json", env=environment)
    found = json.loads(done.stdout)
    values = {key: said["value"] for key, said in found["keys"].items()}
    assert (found["path"], found["trouble"]) == ("slurm/dev.yaml", None)
    assert (values["partition"], values["gpus_per_node"], values["limits.nodes"]) == ("main", 0, 4)
    assert found["tried_on"]
    launch(*TINY, "nodes=2", "cluster=dev", "run_id=first", env=environment)
    result = tmp_path / "runs" / "first" / "result.json"
    wait_until(result.exists, "the end of the run", timeout_s=240)
    assert json.loads(result.read_text())["status"] == "completed"


def test_without_a_scheduler_nothing_is_made(launch: Callable[..., Any], tmp_path: Path) -> None:
    refused = launch("init", "--cluster", env={**os.environ, "PATH": str(tmp_path)}, code=2)
    assert "there is no scheduler on this machine" in refused.stderr
    assert list(tmp_path.iterdir()) == []
