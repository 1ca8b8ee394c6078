"""A rank that the kernel kills for want of memory is told from one that somebody kills."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.waiting import wait_until

from launcher import control_groups, host_memory
from launcher.health import records
from launcher.health.processes import Process
from launcher.health.watch import Watcher
from launcher.runs.directory import RunDir

RANK = """
import os, sys, time
from pathlib import Path
from launcher.runs.directory import RunDir
from launcher.train.process.heartbeat import show_signs_of_life
heartbeat = show_signs_of_life(RunDir(Path(sys.argv[1])).attempt(1))
heartbeat.begin_step(7)
held = bytearray(b"x") * (64 << 20)
if sys.argv[2] == "ends":
    heartbeat.ended()
Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def watched(run: RunDir, how: str = "stays") -> subprocess.Popen[str]:
    """A process that shows signs of life like a rank in a step."""
    rank = subprocess.Popen([sys.executable, "-c", RANK, str(run.path), how])
    wait_until((run.path / "ready").exists, "the rank to be in its step")
    return rank


def watcher(run: RunDir, rank: subprocess.Popen[str]) -> Watcher:
    return Watcher(run, run.attempt(1), 0, (1, 1), Process.of(rank.pid), None)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    run.attempt(1).path.mkdir()
    return run


@pytest.mark.parametrize(("counted", "for_memory"), [("7", True), ("6", False), ("", None)])
@pytest.mark.fault(23)
def test_a_kill_that_the_kernel_counts_was_for_memory(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: str, for_memory: bool | None
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 12\noom_kill 6\n" if counted else "nr_free_pages 12\n")
    monkeypatch.setattr(host_memory, "VMSTAT", vmstat)
    rank = watched(run)

    def killed(*_: object) -> None:
        if rank.returncode is None:
            vmstat.write_text(f"nr_free_pages 12\noom_kill {counted}\n" if counted else "")
            rank.send_signal(signal.SIGKILL)
            rank.wait()

    monkeypatch.setattr(records, "write_node", killed)  # after its first look
    watcher(run, rank).watch()
    gone = run.attempt(1).read_gone()
    assert gone is not None
    assert (gone.rank, gone.node, gone.phase, gone.for_memory) == (0, 0, "first step", for_memory)
    assert gone.held is not None
    assert gone.held > 64 << 20
    assert gone.allowed is not None
    assert gone.allowed > gone.held


def test_a_rank_that_has_ended_is_not_gone(run: RunDir) -> None:
    rank = watched(run, "ends")
    rank.kill()
    rank.wait()
    watcher(run, rank).watch()
    assert not run.attempt(1).gone.exists()


def test_the_first_rank_to_be_gone_is_kept(run: RunDir) -> None:
    first = watched(run)
    watching = subprocess.Popen(
        [sys.executable, "-m", "launcher.node", "watch", str(run.path), "1", "0", "1", "1", str(first.pid)]
    )
    wait_until(lambda: bool(records.read_nodes(run.attempt(1))), "the watcher to look")
    first.kill()
    first.wait()
    assert watching.wait(60) == 0
    gone = run.attempt(1).read_gone()
    assert gone is not None
    assert gone.rank == 0
    with pytest.raises(FileExistsError):
        run.attempt(1).write_gone(gone)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/job/step\n", {"job/memory.max": "1000", "job/step/memory.max": "max"}, 1000),
        ("4:memory:/job\n3:cpu:/job\n", {"memory/job/memory.limit_in_bytes": "2000"}, 2000),
        ("0::/\n", {}, 1024 << 10),
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], expected: int
) -> None:
    """In both versions of control groups, those above included."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "meminfo").write_text("MemTotal:  1024 kB\nMemAvailable:  512 kB\n")
    (tmp_path / "cgroup").write_text(groups)
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(host_memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "cgroup")
    assert host_memory.allowed() == expected
    assert host_memory.available() == 512 << 10
