"""`launch sweep` on a real Slurm: one array, some elements at a time, interrupted and taken up again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines

TINY = (*SMALLEST, "gpus=1", "eval.every=null", "tracking.wandb.mode=disabled")


def losses(run: RunDir) -> list[float]:
    return [row["train/loss"] for row in read_json_lines(run.metrics) if "split" not in row]


def steps(run: RunDir) -> int:
    return len(losses(run)) if run.metrics.exists() else 0


def statuses(on_slurm: Launch, name: str) -> list[str]:
    document = json.loads(on_slurm("status", name, "--json").stdout)
    return [trial["status"] for trial in document["trials"]]


def wait_for_reason(on_slurm: Launch, run: RunDir, reason: str) -> None:
    """Wait until `launch status` says why the run waits: Slurm has no reason before its scheduler looked at the job."""
    said = f"pending ({reason})"
    wait_until(lambda: said in on_slurm("status", run.run_id).stdout, f"the run to be {said}")


@pytest.mark.slow
@pytest.mark.long
def test_a_grid_is_an_array_that_loses_nothing_and_does_nothing_twice(
    on_slurm: Launch, tmp_path: Path
) -> None:
    words = (*TINY, "train.max_steps=400", "checkpoint.every=20")
    grid = ("sweep", *words, "train.lr=1e-3,1e-2", "seed=1,2", "--parallel", 2, "--json")
    first = json.loads(on_slurm(*grid).stdout)
    name, (array,) = first["sweep"], first["jobs"]
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    assert [run.last_job() for run in runs] == [f"{array}_{index}" for index in range(4)]
    assert statuses(on_slurm, name)[2:] == ["pending", "pending"]
    wait_for_reason(on_slurm, runs[3], "JobArrayTaskLimit")

    again = on_slurm(*grid)
    assert json.loads(again.stdout)["jobs"] == []
    assert "nothing is missing" in again.stderr
    assert "already has a job" in on_slurm("resume", runs[3].run_id, code=2).stderr

    wait_until(lambda: steps(runs[0]) > 30 and steps(runs[1]) > 0, "two trials to train", 240)
    assert not runs[2].metrics.exists()
    on_slurm("cancel", runs[0].run_id)
    on_slurm("stop", runs[3].run_id)
    found = statuses(on_slurm, name)
    assert (found[0], found[3]) == ("cancelled", "stopped")
    assert found[1] in ("running", "completing", "completed")
    assert found[2] in ("pending", "running")

    third = json.loads(on_slurm(*grid).stdout)
    assert len(third["jobs"]) == 1
    assert [third["trials"][run.run_id] for run in (runs[0], runs[3])] == ["pending", "pending"]
    wait_until(lambda: set(statuses(on_slurm, name)) == {"completed"}, "all trials to be completed", 400)
    assert [steps(run) for run in runs] == [400] * 4
    assert [len(run.all_jobs()) for run in runs] == [2, 1, 1, 2]
    assert [len(run.attempt_numbers()) for run in runs] == [2, 1, 1, 1]
    assert "nothing is missing" in on_slurm(*grid).stderr

    on_slurm("run", *words, "train.lr=1e-3", "seed=1", "run_id=alone", "--follow")
    assert losses(RunDir(tmp_path / "runs" / "alone")) == losses(runs[0])
    assert "alone" in on_slurm("status").stdout


@pytest.mark.long  # cli/test_sweep.py does it on this machine
def test_a_sweep_is_stopped_resumed_and_cancelled_whole(
    on_slurm: Launch, slow_steps: tuple[str, str], tmp_path: Path
) -> None:
    words = (*TINY, *slow_steps, "train.max_steps=100000", "checkpoint.every=null")
    first = json.loads(on_slurm("sweep", *words, "seed=1,2", "--parallel", 1, "--json").stdout)
    name = first["sweep"]
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    wait_until(lambda: steps(runs[0]) > 0, "a trial to train", 240)
    on_slurm("stop", name, "--wait")
    assert statuses(on_slurm, name) == ["stopped"] * 2
    assert not runs[1].metrics.exists()
    assert "has no trial that is running" in on_slurm("stop", name, code=2).stderr

    done = steps(runs[0])
    resumed = on_slurm("resume", name)
    assert "2 submitted as job" in resumed.stderr
    wait_until(lambda: steps(runs[0]) > done, "a trial to go on", 240)
    assert statuses(on_slurm, name)[1] == "pending"
    on_slurm("cancel", name)
    assert statuses(on_slurm, name) == ["cancelled"] * 2


@pytest.mark.slow
def test_trials_with_different_requests_are_arrays_that_follow_one_another(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    words = (*TINY, "train.max_steps=100000", "checkpoint.every=null", "nodes=1,2", "seed=1,2")
    first = json.loads(on_slurm("sweep", *words, "--parallel", 1, "--json").stdout)
    assert len(first["jobs"]) == 2
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    assert [run.last_job() for run in runs] == [f"{job}_{index}" for job in first["jobs"] for index in (0, 1)]
    wait_for_reason(on_slurm, runs[2], "Dependency")
    on_slurm("cancel", first["sweep"])
    assert cluster.run(["squeue", "--noheader"]).stdout == ""


@pytest.mark.long
def test_an_element_that_is_signalled_is_requeued_alone(
    on_slurm: Launch, cluster: Cluster, slow_steps: tuple[str, str], tmp_path: Path
) -> None:
    """The element that starts last has the id of the whole array, which must never be named to Slurm."""
    words = (*TINY, *slow_steps, "train.max_steps=100000", "checkpoint.every=null")
    first = json.loads(on_slurm("sweep", *words, "seed=1,2", "--json").stdout)
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    wait_until(lambda: all(steps(run) > 0 for run in runs), "two trials to train", 240)
    ids = cluster.run(["squeue", "--noheader", "--format=%i %A"]).stdout.split()
    shared = ids[ids.index(first["jobs"][0]) - 1]
    index = int(shared.partition("_")[2])
    cluster.run(["scancel", "--signal=USR1", "--batch", shared])
    wait_until(lambda: statuses(on_slurm, first["sweep"])[index] == "pending", "it to wait again", 120)
    assert statuses(on_slurm, first["sweep"])[1 - index] == "running"
    cluster.run(["sleep", "2.1"])
    cluster.run(["scontrol", "update", f"jobid={shared}", "StartTime=now"])
    wait_until(lambda: len(runs[index].attempt_numbers()) == 2, "its second attempt", 120)
    assert runs[index].all_jobs() == [shared]
    on_slurm("cancel", first["sweep"])


def test_a_request_that_slurm_refuses_leaves_nothing(on_slurm: Launch, tmp_path: Path) -> None:
    profile = tmp_path / "site.yaml"
    profile.write_text("partition: nowhere\n")
    result = on_slurm("sweep", *TINY, f"cluster={profile}", "seed=1,2", code=2)
    assert "nowhere" in result.stderr
    packed = on_slurm("sweep", *TINY, f"cluster={profile}", "seed=1,2", "--pack", 8, code=2)
    assert "asks for 2 times that in cores and memory" in packed.stderr
    assert list(tmp_path.iterdir()) == [profile]


@pytest.mark.long
@pytest.mark.slow
def test_packed_trials_share_a_job_and_keep_their_losses(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    words = (*TINY, "checkpoint.every=20", "train.max_steps=100")
    plan = json.loads(on_slurm("sweep", *words, "seed=1..3", "--pack", "auto", "--plan", "--json").stdout)
    assert (plan["packed"]["each"], plan["packed"]["jobs"]) == (4, 1)
    assert "--pack 4" in on_slurm("sweep", *words, "seed=1..5", "--pack", 5, "--plan", code=2).stderr
    first = json.loads(on_slurm("sweep", *words, "seed=1..3", "--pack", 3, "--json").stdout)
    (array,) = first["jobs"]
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    assert [run.last_job() for run in runs] == [f"{array}_0.{member}" for member in range(3)]
    asked = cluster.run(["scontrol", "-o", "show", "job", f"{array}_0"]).stdout
    assert "CPUs/Task=6" in asked
    wait_until(lambda: set(statuses(on_slurm, first["sweep"])) == {"completed"}, "all to be completed", 400)
    assert [steps(run) for run in runs] == [100] * 3
    assert "nothing is missing" in on_slurm("sweep", *words, "seed=1..3", "--pack", 3).stderr

    on_slurm("run", *words, "seed=2", "run_id=alone", "--follow")
    assert losses(RunDir(tmp_path / "runs" / "alone")) == losses(runs[1])
    again = json.loads(on_slurm("sweep", *words, "seed=1..3", "--pack", "auto", "--plan", "--json").stdout)
    assert "trials have measured" in again["packed"]["reason"] or "cores" in again["packed"]["reason"]


@pytest.mark.slow
@pytest.mark.long
def test_a_search_that_learns_asks_for_the_trials_of_a_job_together(on_slurm: Launch, tmp_path: Path) -> None:
    words = (*TINY, "train.max_steps=10", "train.lr=1e-4..1e-1:log", "--search", "tpe", "--trials", 3)
    command = ("sweep", *words, "--pack", 2, "--parallel", 2, "--name", "s")
    plan = json.loads(on_slurm(*command, "--plan", "--json").stdout)
    assert (plan["packed"], plan["to_come"]) == ({"each": 2, "jobs": 2, "reason": "as asked"}, 3)
    done = json.loads(on_slurm(*command, "--json").stdout)
    assert list(done["trials"].values()) == ["completed"] * 3
    first, second, third = (RunDir(tmp_path / "runs" / run_id).last_job() for run_id in done["trials"])
    assert first is not None
    array = first.partition("_")[0]
    assert (first, second, third) == (f"{array}_0.0", f"{array}_0.1", f"{int(array) + 1}_0")
    assert "started" not in on_slurm("resume", "s").stderr
    auto = json.loads(on_slurm("sweep", *words, "--name", "s", "--pack", "auto", "--plan", "--json").stdout)
    assert auto["packed"]["each"] == 4, "the cores of a node"


@pytest.mark.slow
@pytest.mark.long
def test_halving_stops_packed_trials_and_leaves_the_others_of_their_job(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    words = [word for word in TINY if not word.startswith("eval.every")]
    words += ["eval.every=20", "eval.metric=loss", "train.max_steps=100000", "checkpoint.every=null"]
    search = ("train.lr=1e-5..1e-1:log", "--search", "halving", "--trials", "4", "--pack", "4", "--name", "s")
    command = [sys.executable, "-m", "launcher", "sweep", *words, *search]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **cluster.env}) as watching:
        try:
            early = tmp_path / "runs" / "s" / "halving.jsonl"
            wait_until(
                lambda: "stopped early" in statuses(on_slurm, "s") if early.exists() else False, "a stop", 400
            )
            assert "running" in statuses(on_slurm, "s")
            assert len({str(run.last_job()).partition(".")[0] for run in trials(tmp_path)}) == 1
            on_slurm("cancel", "s")
            assert watching.wait(120) == 75
        finally:
            watching.kill()


def trials(directory: Path) -> list[RunDir]:
    return [RunDir(path) for path in directory.glob("runs/s.*")]


@pytest.mark.slow
@pytest.mark.long
def test_one_of_packed_trials_ends_alone_and_a_requeue_starts_the_others(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    words = (*TINY, "checkpoint.every=null", "train.max_steps=100000")
    first = json.loads(on_slurm("sweep", *words, "seed=1..4", "--pack", 4, "--json").stdout)
    name, job = first["sweep"], f"{first['jobs'][0]}_0"
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    wait_until(lambda: all(steps(run) > 0 for run in runs), "four trials to train", 300)
    on_slurm("cancel", runs[0].run_id)
    on_slurm("stop", runs[1].run_id, "--wait")
    assert statuses(on_slurm, name) == ["cancelled", "stopped", "running", "running"]

    cluster.run(["scancel", "--signal=USR1", "--batch", job])
    wait_until(lambda: statuses(on_slurm, name)[2:] == ["pending"] * 2, "both to wait again", 120)
    cluster.run(["sleep", "2.1"])
    cluster.run(["scontrol", "update", f"jobid={job}", "StartTime=now"])
    done = [steps(run) for run in runs]
    wait_until(lambda: all(steps(run) > done[2] for run in runs[2:]), "both to go on", 300)
    assert [len(run.attempt_numbers()) for run in runs] == [1, 1, 2, 2]
    assert statuses(on_slurm, name)[:2] == ["cancelled", "stopped"]
    on_slurm("cancel", name)
    wait_until(lambda: cluster.run(["squeue", "--noheader"]).stdout == "", "the job to be gone", 60)
    assert statuses(on_slurm, name) == ["cancelled", "stopped", "cancelled", "cancelled"]


@pytest.mark.slow
@pytest.mark.long
def test_where_slurm_puts_no_packed_job_back_another_takes_its_place(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    words = (*TINY, "checkpoint.every=null", "train.max_steps=1000")
    first = json.loads(on_slurm("sweep", *words, "seed=1..3", "--pack", 3, "--json").stdout)
    name, job = first["sweep"], f"{first['jobs'][0]}_0"
    runs = [RunDir(tmp_path / "runs" / run_id) for run_id in first["trials"]]
    wait_until(lambda: all(steps(run) > 0 for run in runs), "three trials to train", 300)
    on_slurm("stop", runs[1].run_id, "--wait")
    cluster.run(["scontrol", "update", f"jobid={job}", "Requeue=0"])
    cluster.run(["scancel", "--signal=USR1", "--batch", job])

    wait_until(lambda: all(len(runs[at].all_jobs()) == 2 for at in (0, 2)), "a job in its place", 300)
    wait_until(lambda: statuses(on_slurm, name) == ["completed", "stopped", "completed"], "the end", 400)
    assert [steps(run) for run in (runs[0], runs[2])] == [1000] * 2
    assert [len(run.attempt_numbers()) for run in runs] == [2, 1, 2]
    one, two = (runs[2].attempt(number).read() for number in (1, 2))
    assert (one.next, one.chain, two.chain, two.job_id) == (
        "requeue",
        None,
        f"{job}.2",
        runs[2].last_job(),
    )
    on_slurm("resume", name)
    wait_until(lambda: statuses(on_slurm, name) == ["completed"] * 3, "the trial that was stopped", 400)


@pytest.mark.slow
def test_packed_trials_that_wait_leave_the_queue_with_the_last_of_them(
    on_slurm: Launch, cluster: Cluster
) -> None:
    cluster.run(["scontrol", "update", "partitionname=main", "state=down"])
    try:
        first = json.loads(on_slurm("sweep", *TINY, "seed=1..4", "--pack", 2, "--json").stdout)
        assert statuses(on_slurm, first["sweep"]) == ["pending"] * 4
        names = list(first["trials"])
        on_slurm("cancel", names[0])
        assert statuses(on_slurm, first["sweep"]) == ["cancelled", "pending", "pending", "pending"]
        on_slurm("stop", first["sweep"])
        assert statuses(on_slurm, first["sweep"]) == ["cancelled", "stopped", "stopped", "stopped"]
        assert cluster.run(["squeue", "--noheader"]).stdout == ""
    finally:
        cluster.run(["scontrol", "update", "partitionname=main", "state=up"])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, pytest.param(6, marks=pytest.mark.long)])
def test_trials_killed_extended_pruned_compared_and_reported(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path, seeds: int
) -> None:
    words = (*TINY, "train.max_steps=40", "checkpoint.every=10", "train.lr=1e-3,1e-2")
    command = ("sweep", *words, f"seed=1..{seeds}", "--pack", 2, "--json")
    first = json.loads(on_slurm(*command, "--parallel", 1).stdout)
    name, runs_dir = first["sweep"], tmp_path / "runs"
    assert len(first["trials"]) == 2 * seeds
    wait_until(lambda: any(steps(RunDir(runs_dir / trial)) for trial in first["trials"]), "one to train", 240)
    cluster.run(["scancel", "--signal=KILL", "--full", first["jobs"][0]], check=False)
    cluster.run(["scancel", first["jobs"][0]], check=False)
    wait_until(lambda: cluster.run(["squeue", "--noheader"]).stdout == "", "an empty queue", 120)
    assert statuses(on_slurm, name).count("completed") < 2 * seeds

    on_slurm(*command)
    more = ("sweep", *words, f"seed=1..{seeds + 1}", "--pack", 2, "--json")
    assert len(json.loads(on_slurm(*more).stdout)["jobs"]) == 1
    every = 2 * (seeds + 1)
    wait_until(lambda: statuses(on_slurm, name) == ["completed"] * every, "all to be completed", 500)
    assert "nothing is missing" in on_slurm(*more).stderr
    on_slurm("sweep", *words, f"seed=2..{seeds + 1}", "--pack", 2, "--prune")
    assert statuses(on_slurm, name) == ["completed"] * (2 * seeds)

    assert [steps(RunDir(path)) for path in runs_dir.glob(f"{name}.*")] == [40] * every
    rows = json.loads(on_slurm("compare", name, "--json").stdout)["rows"]
    assert [row["seeds"] for row in rows] == [list(range(2, seeds + 2))] * 2
    assert rows[1]["against_best"]["seeds"] == seeds
    on_slurm("report", name)
    assert name in (tmp_path / "report.html").read_text()
