"""The command line against a real Slurm: submit, watch, stop, resume and follow to the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster
from support.stand_ins import stand_in
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.runs.directory import RunDir
from launcher.runs.events import Step, read_events
from launcher.runs.records import read_json

TINY = (*SMALLEST, "gpus=1", "eval.every=null", "checkpoint.every=null", "tracking.wandb.mode=disabled")


def env(cluster: Cluster) -> dict[str, str]:
    return {**os.environ, **cluster.env}


@pytest.mark.long  # test_slurm_training.py stops and resumes, cli/test_logs.py follows
def test_submit_stop_resume_and_follow(
    on_slurm: Launch, cluster: Cluster, slow_steps: tuple[str, str], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "runs" / "r")
    words = (*TINY, *slow_steps, "nodes=2", "train.max_steps=100000", "run_id=r", "--follow")
    with launching(cluster, tmp_path, *words) as watcher:
        wait_until(lambda: steps_of(run, 1) > 0, "the first step", 240)
        watcher.send_signal(signal.SIGINT)
        out, err = watcher.communicate(timeout=300)
    assert (watcher.returncode, out) == (130, "r\n"), err
    assert "r goes on without you" in err

    now = state(on_slurm)
    assert now["status"] == "running"
    assert len(cluster.run(["scontrol", "show", "hostnames", now["job"]["nodes"]]).stdout.split()) == 2
    assert "already has a job" in on_slurm("resume", "r", code=2).stderr
    on_slurm("stop", "r", "--wait")
    assert state(on_slurm)["status"] == "stopped"

    with launching(cluster, tmp_path, "resume", "r", "--follow") as follower:
        wait_until(lambda: steps_of(run, 2) > 0, "the first step after resuming", 240)
        on_slurm("stop", "r")
        out, err = follower.communicate(timeout=240)
    assert (follower.returncode, out) == (75, "r\n"), err
    assert re.search(r"running on node\S", err)
    assert "r has saved its state and stopped after step" in err
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, state(on_slurm)["step"] + 1))
    sources = {entry["source"] for entry in json.loads(on_slurm("logs", "r", "--json").stdout)}
    assert sources <= {"run", "rank 0", "rank 1", *(f"job {job}" for job in run.jobs.read_text().split())}


def test_submitting_says_how_to_watch(on_slurm: Launch) -> None:
    submitted = on_slurm(*TINY, "nodes=2", "run_id=r", "time=1", "--json")
    document = json.loads(submitted.stdout)
    assert (document["run_id"], document["executor"]) == ("r", "slurm")
    assert f"submitted as job {document['job_id']}; watch it: launch status r" in submitted.stderr
    on_slurm("cancel", "r")
    assert state(on_slurm)["status"] == "cancelled"


@pytest.mark.long
def test_of_two_that_resume_a_run_at_once_one_does(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_slurm(*TINY, "run_id=r")
    on_slurm("cancel", "r")
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin" / "sbatch", f'sleep 2\nexec {shutil.which("sbatch")} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    with (
        launching(cluster, tmp_path, "resume", "r") as one,
        launching(cluster, tmp_path, "resume", "r") as two,
    ):
        said = "".join(process.communicate(timeout=300)[1] for process in (one, two))
    assert sorted((one.returncode, two.returncode)) == [0, 2], said
    assert "run=r: already has a job: " in said
    assert len(RunDir(tmp_path / "runs" / "r").jobs.read_text().split()) == 2
    on_slurm("cancel", "r")


@pytest.mark.long
def test_a_job_that_slurm_has_put_back_is_not_called_stopped(
    on_slurm: Launch, cluster: Cluster, slow_steps: tuple[str, str], tmp_path: Path
) -> None:
    on_slurm(*TINY, *slow_steps, "run_id=r", "train.max_steps=100000")
    run = RunDir(tmp_path / "runs" / "r")
    wait_until(lambda: steps_of(run, 1) > 0, "the first step", 240)
    cluster.run(["scancel", "--signal=USR1", "--batch", str(run.last_job())])
    wait_until(lambda: (read_json(run.result) or {}).get("status") == "stopped", "the training to stop", 120)
    wait_until(lambda: state(on_slurm)["status"] == "pending", "the job to wait in the queue again")
    for age_s in (0, 3600):  # of old results, which a list may have many of, the queue alone is asked
        for file in (run.jobs, run.result):
            os.utime(file, (time.time() - age_s,) * 2)
        text = on_slurm("status", "r").stdout
        assert "launch cancel r" in text
        assert "launch resume r" not in text
    on_slurm("cancel", "r")


@pytest.mark.fault(26)
def test_a_slurm_that_does_not_answer_is_waited_for(
    on_slurm: Launch, launch: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    """Nothing is said to have ended, or started again, while nobody can tell."""
    on_slurm(*TINY, "run_id=r", "train.max_steps=100000")
    run = RunDir(tmp_path / "runs" / "r")
    conf = tmp_path / "slurm.conf"
    conf.write_text(Path(cluster.env["SLURM_CONF"]).read_text() + "\nSlurmctldPort=1\nMessageTimeout=1\n")
    cut_off = {**env(cluster), "SLURM_CONF": str(conf)}

    assert "r: unreachable (Slurm does not answer: " in launch("status", "r", env=cut_off).stdout
    assert "asked to save and stop (Slurm does not answer" in launch("stop", "r", env=cut_off).stderr
    assert run.stop.read_text() == "user"
    assert "Slurm does not answer" in launch("resume", "r", code=1, env=cut_off).stderr
    # It still holds, if the training hasn't obeyed meanwhile.
    assert run.stop.exists() or run.attempt(1).exit_code.exists()
    assert "nothing was killed" in launch("cancel", "r", code=1, env=cut_off).stderr
    assert not run.cancel.exists()
    on_slurm("cancel", "r", code=None)


def test_a_script_that_dies_before_the_training_is_quoted(on_slurm: Launch, tmp_path: Path) -> None:
    profile = tmp_path / "site.yaml"
    profile.write_text("setup: [module load nonexistent-thing]\n")
    followed = on_slurm(*TINY, "run_id=r", f"cluster={profile}", "--follow", code=1)
    for text in (followed.stderr, on_slurm("status", "r").stdout):
        assert "launch: the script of job" in text
        assert "ended with code 127 before the training began" in text
        assert "module: command not found" in text
        assert "killed" not in text


def test_a_request_that_slurm_refuses_leaves_nothing(on_slurm: Launch, tmp_path: Path) -> None:
    profile = tmp_path / "site.yaml"
    profile.write_text("partition: nowhere\n")
    result = on_slurm(*TINY, "nodes=2", f"cluster={profile}", code=2)
    assert "nowhere" in result.stderr
    assert list(tmp_path.iterdir()) == [profile]


def launching(cluster: Cluster, directory: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "launcher", *args]
    return subprocess.Popen(command, cwd=directory, env=env(cluster), text=True, stdout=PIPE, stderr=PIPE)


def state(on_slurm: Launch) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(on_slurm("status", "r", "--json").stdout)
    return document


def steps_of(run: RunDir, attempt: int) -> int:
    return sum(event.attempt == attempt for event in read_events(run.events, Step))
