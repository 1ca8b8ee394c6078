"""Time on a real Slurm: when a job will start, what its partition gives it to save, and a limit that is moved."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.health.records import read_pace
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines

WORDS = ("recipe=smoke", "device=cpu", "gpus=1", "time=10", "executor=slurm")
PLANNED = (*WORDS, "nodes=2")
TRAINED = (
    *(*SMALLEST, "gpus=1", "executor=slurm", "tracking.wandb.mode=disabled"),
    *("eval.every=null", "checkpoint.every=50", "train.max_steps=1000000"),
)
LARGE = ("model.scratch.hidden=2048", "model.scratch.layers=24", "model.scratch.heads=16")


@pytest.fixture
def full(cluster: Cluster) -> Iterator[float]:
    """All nodes are taken for half an hour; yields when that began."""
    began = time.time()
    everything = [
        "sbatch",
        "--parsable",
        f"--nodes={cluster.nodes}",
        "--exclusive",
        "--time=30",
        "--output=/dev/null",
    ]
    job = cluster.run([*everything, "--wrap=sleep 1800"]).stdout.strip()
    show = ["scontrol", "-o", "show", "job", job]
    wait_until(lambda: "JobState=RUNNING" in cluster.run(show).stdout, "the cluster to be full")
    yield began
    cluster.run(["scancel", job])


def start_of(plan: Any) -> str:
    return next(line for line in plan.stdout.splitlines() if line.startswith("  start"))


def test_a_plan_says_when_its_job_would_start(on_slurm: Launch) -> None:
    assert start_of(on_slurm("plan", *PLANNED)).split(maxsplit=1)[1] == "now, as the scheduler sees it"
    assert json.loads(on_slurm("plan", *PLANNED, "--json").stdout)["predicted_start"] is not None


def test_a_plan_says_that_its_job_would_be_refused(on_slurm: Launch) -> None:
    said = start_of(on_slurm("plan", *WORDS, "nodes=9"))
    assert "would be refused: Requested node configuration is not available" in said


@pytest.mark.slow
def test_a_job_that_waits_knows_when_it_will_start(on_slurm: Launch, full: float) -> None:
    plan = on_slurm("plan", *PLANNED)
    assert ", in " in start_of(plan), plan.stdout
    on_slurm(*PLANNED, "run_id=r", "tracking.wandb.mode=disabled")

    def starts_at() -> float | None:
        found: float | None = json.loads(on_slurm("status", "r", "--json").stdout)["job"]["started_at"]
        return found

    wait_until(lambda: starts_at() is not None, "Slurm to work out when it starts", timeout_s=120)
    assert full + 29 * 60 < (starts_at() or 0) < full + 60 * 60
    assert "  starts      20" in on_slurm("status", "r").stdout
    assert "starts 20" in on_slurm("status").stdout
    on_slurm("cancel", "r")


def test_a_plan_says_what_a_partition_that_gives_way_has_no_time_for(
    on_slurm: Launch, tmp_path: Path
) -> None:
    (tmp_path / "low.yaml").write_text("partition: low\n")
    (tmp_path / "high.yaml").write_text("partition: high\n")
    low = on_slurm("plan", *PLANNED, *LARGE, f"cluster={tmp_path / 'low.yaml'}")
    assert "a job of this partition is given 13 s when it must give way to another" in low.stdout
    high = on_slurm("plan", *PLANNED, *LARGE, f"cluster={tmp_path / 'high.yaml'}")
    assert "must give way" not in high.stdout


def test_without_slurm_nothing_is_said(launch: Launch) -> None:
    plan = launch("plan", *PLANNED, env={**os.environ, "PATH": "/nowhere"})
    assert "\n  start " not in plan.stdout


@pytest.mark.slow
@pytest.mark.long
def test_a_training_goes_on_until_a_save_just_fits_into_its_limit_which_is_moved_both_ways(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    on_slurm(*TRAINED, "time=4", "run_id=r")
    run = RunDir(tmp_path / "runs" / "r")
    attempt = run.attempt(1)
    wait_until(lambda: read_pace(attempt) is not None, "the first save", timeout_s=300)
    log = run.job_log(run.last_job() or "")

    move_limit(cluster, run, left_s=30 * 60)
    move_limit(cluster, run, left_s=80)
    cluster.run(["scancel", "--signal=USR1", "--batch", run.last_job() or ""])  # as Slurm itself warns
    wait_until(
        lambda: "goes on for as long as a save still fits" in log.read_text(), "the script", timeout_s=120
    )
    assert not run.stop.exists()

    move_limit(cluster, run, left_s=0)
    wait_until(lambda: attempt.read().ended_at is not None, "the end of the attempt", timeout_s=300)
    record = attempt.read()
    assert record.stop in ("time-limit", "signal"), (
        record
    )  # the watcher or Slurm, whichever is first to see it
    assert (record.exit_code, record.next) == (75, "requeue"), record
    assert (record.saved_step or 0) >= (record.last_step or 0) > 0
    on_slurm("cancel", "r")


def move_limit(cluster: Cluster, run: RunDir, left_s: float) -> None:
    """Let the job's time limit be up in so many seconds, or up to a minute later: Slurm counts in minutes."""
    began = run.attempt(1).read().started_at or 0.0
    minutes = (time.time() - began + left_s) // 60 + 1
    cluster.run(["scontrol", "update", f"jobid={run.last_job()}", f"TimeLimit={minutes:.0f}"])


@pytest.mark.slow
@pytest.mark.long
def test_where_slurm_puts_no_job_back_another_takes_its_place(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    on_slurm(*(word for word in TRAINED if "max_steps" not in word), "train.max_steps=400", "run_id=r")
    run = RunDir(tmp_path / "runs" / "r")
    first = run.last_job() or ""
    wait_until(lambda: read_pace(run.attempt(1)) is not None, "the first save", timeout_s=300)
    cluster.run(["scontrol", "update", f"jobid={first}", "Requeue=0"])
    cluster.run(["scancel", "--signal=USR1", "--batch", first])
    wait_until(lambda: len(run.all_jobs()) == 2, "the job that takes its place", timeout_s=300)
    on_slurm("status", "r")
    wait_until(lambda: getattr(run.read_result(), "status", "") == "completed", "the end", timeout_s=300)
    one, two = (run.attempt(number).read() for number in (1, 2))
    assert (one.next, one.chain, two.chain, two.job_id) == ("requeue", None, first, run.last_job())
    steps = [line["step"] for line in read_json_lines(run.metrics) if "train/loss" in line]
    assert steps == list(range(1, 401))
