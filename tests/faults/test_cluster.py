"""A cluster that fails beneath a training: its daemons, its nodes, its network; and what it does on purpose, preemption."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.faulted_jobs import STEPS, FaultedJob
from support.launched import training_processes
from support.slurm_cluster import Cluster, FlatCluster, NetnsCluster, processes_of, require_slurm
from support.training import losses
from support.waiting import wait_until

from launcher.runs.directory import RunDir
from launcher.train.step.checkpoints import MOST_BEHIND

TWO_NODES = {"nodes": 2}
PARTITIONS = "\n".join(
    f"PartitionName={mode.lower()}{grace} Nodes=ALL PriorityTier=1 PreemptMode={mode} GraceTime={grace}"
    for mode in ("REQUEUE", "CANCEL")
    for grace in (0, 30)
)

Make = Callable[..., FaultedJob]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetnsCluster]:
    """Three nodes, each with a network of its own."""
    require_slurm(netns=True)
    with NetnsCluster(tmp_path_factory.mktemp("machines"), nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, machines: NetnsCluster) -> list[float]:
    """Losses of the training on two nodes that nothing happens to."""
    job = FaultedJob(machines, tmp_path_factory.mktemp("whole") / "runs" / "whole", TWO_NODES)
    job.submit()
    job.wait_for_end()
    assert len(losses(job.complete())) == STEPS
    return job.losses()


@pytest.fixture
def job(machines: NetnsCluster, tmp_path: Path) -> Iterator[FaultedJob]:
    """A training on two of the nodes that has done 30 steps; the nodes are whole again when it is over."""
    made = FaultedJob(machines, tmp_path / "runs" / "r", TWO_NODES)
    made.submit()
    made.wait_for_step(30)
    yield made
    machines.run(["scancel", made.job], check=False)
    wait_until(lambda: idle(machines), "all nodes to be idle", timeout_s=120)


def idle(machines: NetnsCluster) -> bool:
    """Whether all nodes are; one that Slurm had given up is taken back."""
    names = machines.run(
        ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T"], check=False
    ).stdout
    states = dict(line.split() for line in names.splitlines())
    for name, state in states.items():
        if state.startswith(("down", "drain")):
            machines.run(["scontrol", "update", f"nodename={name}", "state=resume"], check=False)
    return len(states) == machines.nodes and all(state == "idle" for state in states.values())


def second_node(job: FaultedJob) -> int:
    """Number of the node with rank 1."""
    return int(job.run.attempt(1).read().hosts[1].removeprefix("node"))


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(31)
def test_a_node_loses_its_power(
    machines: NetnsCluster, undisturbed: list[float], job: FaultedJob, happened: Seen
) -> None:
    node = second_node(job)
    job.strike()
    machines.kill_node(node)
    try:
        job.wait_for_end(hurry=True)
        assert losses(job.complete()) == undisturbed
    finally:
        machines.start_node(node)
    happened("a node of two lost its power: the run went on on another", **job.seen())


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(27, 31)
def test_a_run_on_two_or_three_nodes_goes_on_with_those_that_are_left(
    machines: NetnsCluster, tmp_path: Path, happened: Seen
) -> None:
    still = {"model": {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}, "zero": {"stage": 2}}
    whole = FaultedJob(machines, tmp_path / "runs" / "whole", {"nodes": 3, **still})
    whole.submit()
    whole.wait_for_end()
    job = FaultedJob(machines, tmp_path / "runs" / "r", {"nodes": "2..3", **still})
    job.submit()
    job.wait_for_step(30)
    assert job.run.attempt(1).read().hosts == ("node1", "node2", "node3")
    job.strike()
    machines.kill_node(3)
    try:
        assert job.wait_for_end(hurry=True) == "COMPLETED", job.report()
    finally:
        machines.start_node(3)
        wait_until(lambda: idle(machines), "all nodes to be idle", timeout_s=120)
    last = job.run.last_attempt()
    assert last is not None
    assert last.read().hosts == ("node1", "node2")
    assert len(job.losses()) == STEPS
    off = max(abs(here - there) for here, there in zip(job.losses(), whole.losses(), strict=True))
    assert off < 1e-4
    text = f"nodes=2..3, ZeRO-2, one of three lost its power: the run went on on two; losses at most {off:.0e} off"
    happened(text, **job.seen())


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(12)
def test_a_whole_node_is_halted(
    machines: NetnsCluster, undisturbed: list[float], job: FaultedJob, happened: Seen
) -> None:
    """Its training, its watchers and Slurm's own daemons stand still, but none of them is gone."""
    node = second_node(job)
    job.strike()
    machines.halt_node(node)
    try:
        job.wait_for_end(hurry=True)
        assert losses(job.complete()) == undisturbed
    finally:
        machines.continue_node(node)
    happened("every process of a node of two halted: the run went on on another", **job.seen())


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(32)
@pytest.mark.parametrize("seconds", [3, 30, None])
def test_the_network_of_a_node_is_cut(
    machines: NetnsCluster, undisturbed: list[float], job: FaultedJob, seconds: int | None, happened: Seen
) -> None:
    node = second_node(job)
    job.strike()
    machines.cut_network(node)
    try:
        if seconds is not None:
            time.sleep(seconds)
            machines.restore_network(node)
        job.wait_for_end(hurry=True)
        assert losses(job.complete()) == undisturbed
    finally:
        machines.restore_network(node)
    attempts = len(job.run.attempt_numbers())
    cut = "for good" if seconds is None else f"for {seconds} s"
    happened(f"cut {cut}: the same losses in {attempts} attempt{'s' * (attempts > 1)}", **job.seen())


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(5, 26)
@pytest.mark.parametrize("daemon", ["slurmd", "slurmctld"])
def test_a_daemon_dies_beneath_a_job_and_comes_back(tmp_path: Path, daemon: str, happened: Seen) -> None:
    require_slurm()
    with FlatCluster(tmp_path / "cluster", nodes=1) as cluster:
        job = FaultedJob(cluster, tmp_path / "runs" / "r", {})
        job.submit()
        job.wait_for_step(10)
        [found] = [pid for pid in processes_of(cluster.directory) if name_of(pid) == daemon]
        os.kill(found, signal.SIGKILL)
        assert daemon == "slurmd" or job.state() == ""
        time.sleep(20)
        if daemon == "slurmd":
            cluster.start_node(1)
        else:
            cluster.start_controller()
        wait_until(lambda: job.state() != "", "the controller to answer", timeout_s=60)
        assert job.wait_for_end() == "COMPLETED", job.report()
        assert len(job.losses()) == STEPS
        assert job.run.attempt_numbers() == [1]
    happened(f"{daemon} away for 20 s under a running job: one attempt, nothing lost", steps_lost=0)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(26)
@pytest.mark.parametrize("needed", ["requeue", "again"])
def test_a_job_that_needs_slurm_waits_for_its_controller(tmp_path: Path, needed: str, happened: Seen) -> None:
    """To be put back after a stop, or to start its ranks anew after one was killed: asked in vain, it would end there."""
    require_slurm()
    with FlatCluster(tmp_path / "cluster", nodes=1) as cluster:
        job = FaultedJob(cluster, tmp_path / "runs" / "r", {})
        job.submit()
        job.wait_for_step(21)
        [controller] = [pid for pid in processes_of(cluster.directory) if name_of(pid) == "slurmctld"]
        os.kill(controller, signal.SIGKILL)
        job.strike()
        if needed == "requeue":
            job.run.stop.write_text("signal")
        else:
            [rank] = [pid for pid, _ in training_processes(job.run)]
            os.kill(rank, signal.SIGKILL)
        wait_until(lambda: job.run.attempt(1).read().next is not None, "the attempt to end")
        assert job.run.attempt(1).read().next == needed
        wait_until(lambda: "it is waited for" in job.run.job_log(job.job).read_text(), "the job to wait")
        cluster.start_controller()
        wait_until(lambda: job.state() != "", "the controller to answer", timeout_s=60)
        assert job.wait_for_end(hurry=True) == "COMPLETED", job.report()
        assert len(job.losses()) == STEPS
        assert job.run.attempt_numbers() == [1, 2]
    what = {"requeue": "a job was stopped and put back", "again": "a rank was killed and started anew"}[
        needed
    ]
    happened(f"slurmctld away while {what}: waited for, then it went on by itself", **job.seen())


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(5)
def test_the_step_daemon_of_the_second_node_dies(tmp_path: Path, happened: Seen) -> None:
    require_slurm()
    with FlatCluster(tmp_path / "cluster", nodes=2) as cluster:
        whole = FaultedJob(cluster, tmp_path / "runs" / "whole", TWO_NODES)
        whole.submit()
        assert whole.wait_for_end() == "COMPLETED", whole.report()
        job = FaultedJob(cluster, tmp_path / "runs" / "r", TWO_NODES)
        job.submit()
        job.wait_for_step(30)
        job.strike()
        os.kill(step_daemon_of(job, rank=1), signal.SIGKILL)
        assert job.wait_for_end(hurry=True) == "COMPLETED", job.report()
        assert job.losses() == whole.losses()
    happened("the step daemon of the second of two nodes killed: the job went on by itself", **job.seen())


def step_daemon_of(job: FaultedJob, rank: int) -> int:
    """Process of the step daemon above that rank."""
    pid = next(pid for pid, seen in training_processes(job.run) if seen.get("RANK") == str(rank))
    while name_of(pid) != "slurmstepd":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(6)
def test_a_time_limit_is_used_until_a_save_just_fits(tmp_path: Path, happened: Seen) -> None:
    """Slurm warns two minutes before the limit, as the plan asked it to: what was measured needs less."""
    require_slurm()
    endless = {"train": {"max_steps": 1_000_000}, "eval": {"every": None}, "time": "20"}
    with FlatCluster(tmp_path / "cluster", nodes=1) as cluster:
        job = FaultedJob(cluster, tmp_path / "runs" / "r", endless)
        job.submit()
        job.wait_for_step(50)
        began = job.run.attempt(1).read().started_at or 0.0
        limit = (time.time() - began + 130) // 60 + 1
        cluster.run(["scontrol", "update", f"jobid={job.job}", f"TimeLimit={limit:.0f}"])
        wait_until(lambda: job.run.attempt(1).read().ended_at is not None, "the end", timeout_s=300)
        record = job.run.attempt(1).read()
        cluster.run(["scancel", job.job])
    assert (record.stop, record.exit_code, record.saved_step) == ("time-limit", 75, record.last_step), (
        job.report()
    )
    left = began + 60 * limit - (record.ended_at or 0.0)
    happened(
        f"a limit that was moved while the job ran: saved and ended {left:.0f} s before it", steps_lost=0
    )


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.fault(8)
@pytest.mark.parametrize("grace", [0, 30])
@pytest.mark.parametrize("mode", ["requeue", "cancel"])
def test_a_job_is_preempted(
    preemptive: Cluster, alone: list[float], tmp_path: Path, mode: str, grace: int, happened: Seen
) -> None:
    job = FaultedJob(preemptive, tmp_path / "runs" / "r", {}, partition=f"{mode}{grace}")
    job.submit()
    job.wait_for_step(30)
    job.strike()
    rival = [
        "sbatch",
        "--parsable",
        "--partition=high",
        "--exclusive",
        "--wrap=sleep 1",
        f"--output={tmp_path}/rival",
    ]
    preemptive.run(rival)
    job.wait_for_end(hurry=True)
    if mode == "requeue":
        assert losses(job.run) == alone, job.report()
        said = "went on by itself"
    else:
        assert losses(job.complete()) == alone
        said = "resumed"
    seen = job.seen()
    assert seen["steps_lost"] <= (0 if grace else 20 + 20 // MOST_BEHIND)
    happened(f"{mode.upper()}, grace {grace} s: {seen['steps_lost']} steps done again, {said}", **seen)


@pytest.fixture(scope="module")
def preemptive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node whose jobs have to give way."""
    require_slurm()
    with FlatCluster(tmp_path_factory.mktemp("preemptive"), nodes=1, extra_conf=PARTITIONS) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, preemptive: Cluster) -> list[float]:
    """Losses of the training that nobody preempts."""
    job = FaultedJob(preemptive, tmp_path_factory.mktemp("alone") / "runs" / "alone", {})
    job.submit()
    job.wait_for_end()
    run: RunDir = job.complete()
    return losses(run)
