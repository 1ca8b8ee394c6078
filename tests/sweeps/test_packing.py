"""How many trials share a job."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of

from launcher import control_groups, host_memory
from launcher.errors import UserError
from launcher.executors.local import LocalExecutor
from launcher.executors.shared.allocation import allocated
from launcher.planning.plan import Memory, Plan
from launcher.runs.directory import RunDir
from launcher.runs.jobs import Job
from launcher.runs.results import Measured, Result
from launcher.sweeps.packing import measured_runs, packing

GIB = 2**30


class Node(LocalExecutor):
    """A node with 16 cores and 64 GiB."""

    def node_capacity(self, partition: str | None, *, largest: bool = False) -> tuple[int | None, int | None]:
        del partition
        return 24 if largest else 16, 64 * GIB


def planned(gib: float, *, device: str = "cpu", capacity: float | None = None, **recipe: Any) -> Plan:
    """A plan of which a rank is estimated to take `gib`."""
    plan = plan_of({"executor": "local", "device": "cpu", **recipe})
    size = None if capacity is None else int(capacity * GIB)
    memory = Memory(total=int(gib * GIB), other=GIB, capacity=size)
    return plan.model_copy(update={"memory": memory, "device": device})


def measured(tmp_path: Path, estimate: float, took: float) -> RunDir:
    plan = planned(estimate).model_copy(update={"run_dir": str(tmp_path / "r"), "run_id": "r"})
    run = new_run(plan)
    run.write_result(Result("completed", measured=Measured(total=int(took * GIB))))
    return run


def each(plan: Plan, *runs: RunDir, asked: int | None = None) -> int:
    return packing(plan, Node(), runs, asked).each


def test_as_many_as_nine_tenths_of_the_memory_hold_by_the_estimate_and_a_fifth_more() -> None:
    assert each(planned(6)) == 8  # 57.6 / 7.2
    assert each(planned(0.5)) == 16, "the cores of the node"
    assert each(planned(100)) == 1
    assert each(planned(6), asked=3) == 3
    assert each(planned(10, device="cuda", capacity=80)) == 6


def test_what_was_asked_for_is_held_against_the_memory() -> None:
    reason = packing(planned(6), Node(), [], 12).reason
    assert reason.startswith("as asked, though 8 fit by the estimate of memory"), reason
    assert "(7.2 GiB each, of 64.0 GiB)" in reason
    assert packing(planned(0.5), Node(), [], 20).reason == "as asked", "cores are shared"


def test_no_more_than_a_node_has_the_memory_for_that_the_profile_asks_for() -> None:
    small = planned(0.5).memory
    plan = plan_of({"executor": "slurm", "device": "cpu"}, {"memory": "20G"})
    plan = plan.model_copy(update={"memory": small})
    assert (each(plan), each(plan, asked=3)) == (3, 3)
    with pytest.raises(UserError, match=r"4 trials of 20.0 GiB in a job want 80.0 GiB, and no node has more"):
        each(plan, asked=4)


def test_this_machine_has_no_more_memory_than_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup").write_text("0::/job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.max").write_text(f"{2 * GIB}\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemAvailable: {32 << 20} kB\n")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory, "MEMINFO", tmp_path / "meminfo")
    assert LocalExecutor().node_capacity(None)[1] == 2 * GIB


@pytest.mark.parametrize(
    ("job", "capacity"),
    [
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "64"}, (1, 64 << 20)),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_CPU": "32"}, (1, 32 << 20)),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "0"}, (1, None)),
        ({"SLURM_CPUS_ON_NODE": "", "SLURM_MEM_PER_NODE": "4G"}, (None, None)),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURMD_NODENAME": "another"}, (None, None)),
    ],
)
def test_a_job_around_has_what_was_allocated_to_it(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, str], capacity: tuple[int | None, int | None]
) -> None:
    monkeypatch.delenv("SLURM_MEM_PER_CPU", raising=False)
    for name, value in ({"SLURMD_NODENAME": platform.node().partition(".")[0]} | job).items():
        monkeypatch.setenv(name, value)
    assert allocated() == capacity
    cores, memory = LocalExecutor().node_capacity(None)
    assert cores is not None
    assert cores <= (capacity[0] or cores)
    assert capacity[1] is None or memory == capacity[1]


def test_what_a_trial_measured_corrects_the_estimate(tmp_path: Path) -> None:
    run = measured(tmp_path, estimate=6, took=12)
    assert measured_runs([run, RunDir(tmp_path / "gone")]) == [run]
    found = packing(planned(6), Node(), [run], None)
    reason = "by the estimate of memory x 2.00, as trials have measured (12.0 GiB each, of 64.0 GiB)"
    assert (found.each, found.reason) == (4, reason)
    assert each(planned(10, device="cuda", capacity=80), run) == 3  # and what a process takes beside torch


def test_what_can_not_be_known_or_shared_is_refused() -> None:
    with pytest.raises(UserError, match="gpu_memory_gib"):
        each(planned(6, device="cuda"))
    with pytest.raises(UserError, match="tokens=auto"):
        each(planned(6, device="cuda", capacity=80, batch={"tokens": "auto"}), asked=2)
    several = planned(6).model_copy(update={"nodes": 2})
    with pytest.raises(UserError, match="several GPUs or nodes"):
        each(several, asked=2)
    on_cluster = plan_of({"executor": "slurm", "device": "cpu"}, {"cpus_per_task": 4})
    assert each(on_cluster, asked=6) == 6
    told = "7 trials of 4 cores in a job want 28, and no node has more than 24"
    with pytest.raises(UserError, match=told) as refused:
        each(on_cluster, asked=7)
    assert refused.value.problems[0].remedy == "--pack 6, or auto"
    unknown = planned(6).model_copy(update={"memory": Memory()})
    with pytest.raises(UserError, match="the model's shape"):
        each(unknown)


@pytest.mark.parametrize("line", ["7", "7_3", "7_3.12", "local 7"])
def test_a_job_is_read_as_it_is_written(line: str) -> None:
    job = Job.parse(line)
    assert job is not None
    assert str(job) == line
    assert job.asked == line.removeprefix("local ").partition(".")[0]


@pytest.mark.parametrize("line", ["7.1", "7_3.", "local 7.1", "7_.1"])
def test_what_is_no_job(line: str) -> None:
    assert Job.parse(line) is None
