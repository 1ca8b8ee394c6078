"""`launch init --cluster` on a real Slurm: the profile that it writes is one that jobs run with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.slurm_cluster import Cluster
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.errors import RunFailed, UserError
from launcher.executors.shared import slurm_site

TINY = (*SMALLEST, "train.max_steps=3", "tracking.wandb.mode=disabled")


@pytest.mark.long
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


def test_a_job_that_does_not_start_is_taken_out_of_the_queue_and_that_is_said(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm_site, "PROBE_S", 2.0)
    with pytest.raises(RunFailed, match="did not start within 2 s"):
        slurm_site.run_on_a_node({"begin": "now+1hour"}, "true")
    wait_until(lambda: not cluster.run(["squeue", "--noheader"]).stdout.strip(), "an empty queue")


def test_a_job_that_is_refused_is_told_in_the_schedulers_words(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"the job of a minute failed: .*nvalid partition"):
        slurm_site.run_on_a_node({"partition": "nowhere"}, "true")


def test_without_a_scheduler_nothing_is_made(launch: Callable[..., Any], tmp_path: Path) -> None:
    refused = launch("init", "--cluster", env={**os.environ, "PATH": str(tmp_path)}, code=2)
    assert "there is no scheduler on this machine" in refused.stderr
    assert list(tmp_path.iterdir()) == []
