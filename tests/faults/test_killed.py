"""Processes that are killed, and what they leave half-written: the run goes on from the newest whole checkpoint."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE, STEPS, Training, error_of, training_processes
from support.system_calls import require_strace, slowed
from support.training import losses
from support.waiting import wait_until

from launcher.executors import executor_for
from launcher.runs.directory import RunDir

LEAVES = """
import os
import torch

calls = 0

def loss(logits, labels):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and calls == 8:
        os._exit({code})
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""
Start = Callable[..., Training]
Undisturbed = Callable[[int], list[float]]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.fault(1)
def test_one_of_two_ranks_is_killed(start: Start, undisturbed: Undisturbed, rank: int) -> None:
    training = start(*RECIPE, "gpus=2", "run_id=r")
    training.wait_for_step(40)
    training.kill(rank, signal.SIGKILL)
    said = training.end(code=1)
    error = error_of(training.run)
    assert (error["class"], error["rank"]) == ("killed", rank), error
    assert f"rank {rank} was killed by SIGKILL: not for want of memory" in said
    assert "launch resume r" in said

    resumed = start("resume", "r").end(code=0)
    assert "resuming from step_" in resumed
    assert losses(training.run) == undisturbed(2)


@pytest.mark.fault(13)
def test_native_code_of_a_rank_crashes(start: Start) -> None:
    training = start(*RECIPE, "gpus=2", "run_id=r")
    training.wait_for_step(10)
    training.kill(1, signal.SIGSEGV)
    said = training.end(code=1)
    error = error_of(training.run)
    assert (error["class"], error["rank"]) == ("crashed", 1), error
    assert error["step"] >= 10
    assert error["message"].startswith("rank 1 was killed by SIGSEGV: native code touched memory")
    frames = error["message"].splitlines()[1:]
    assert frames[0].startswith(("  in ", "  while the main thread was in ")), frames
    assert all(frame.startswith("  from ") for frame in frames[1:]), frames
    assert "LAUNCH_COMPAT=off launch resume r" in error["remedy"]
    assert frames[0] in said
    assert "Fatal Python error: Segmentation fault" in training.run.rank_log(1).read_text()
    assert f"rank 1 on {error['host']} step {error['step']}" in training.run.job_log("local").read_text()


@pytest.mark.parametrize("code", [0, 7])
@pytest.mark.long
@pytest.mark.fault(13)
def test_a_rank_leaves_without_a_word(start: Start, tmp_path: Path, code: int) -> None:
    """The other only loses its connection, and that is no network's fault."""
    (tmp_path / "leaving.py").write_text(LEAVES.format(code=code))
    training = start(*RECIPE, "gpus=2", "run_id=r", "--loss-file", "leaving.py")
    training.end(code=1)
    error = error_of(training.run)
    assert (error["class"], error["rank"]) == ("crashed", 1), error
    assert f"rank 1 ended with code {code}" in error["message"]


@pytest.mark.fault(4)
def test_no_rank_outlives_torchrun(start: Start) -> None:
    training = start(*RECIPE, "gpus=2", "run_id=r")
    training.wait_for_step(5)
    os.kill(training.torchrun(), signal.SIGKILL)
    assert "torchrun was killed by SIGKILL" in training.end(code=1)
    wait_until(lambda: not list(training_processes(training.run)), "the ranks to be gone", timeout_s=5)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.fault(4)
def test_no_rank_outlives_the_script(start: Start, ranks: int) -> None:
    """Whoever resumes the run then is its only writer."""
    training = start(*RECIPE, f"gpus={ranks}", "run_id=r")
    training.wait_for_step(5)
    os.kill(training.script(), signal.SIGKILL)
    training.end(code=1)
    wait_until(lambda: not list(training_processes(training.run)), "the ranks to be gone", timeout_s=5)


@pytest.mark.fault(1)
def test_killed_while_it_writes_checkpoints(start: Start, undisturbed: Undisturbed) -> None:
    """The writer is killed at three moments of its work; what it leaves is never taken for a checkpoint."""
    training = start(*RECIPE, "gpus=1", "run_id=r")
    run = training.run
    left: list[Path] = []
    for delay_s, first in ((0.0, 20), (0.002, 60), (0.004, 100)):
        training.wait_for_step(first)
        victim = training.process_of(0)
        while not unfinished(run):
            assert Path(f"/proc/{victim}").exists(), "it has ended before"
        time.sleep(delay_s)
        os.kill(victim, signal.SIGKILL)
        training.end(code=1)
        left += unfinished(run)
        training = start("resume", "r")
    training.end(code=0)
    assert left, "no kill has met an unfinished checkpoint"
    assert unfinished(run) == []
    assert losses(run) == undisturbed(1)


@pytest.mark.fault(1)
def test_killed_at_the_worst_moment_it_loses_one_save_interval(
    start: Start, undisturbed: Undisturbed, happened: Seen
) -> None:
    """A disk so slow that the next save would be due before the last is written: training waits instead of running ahead."""
    require_strace()
    words = [word for word in RECIPE if not word.startswith("checkpoint.every")]
    training = start(*words, "gpus=1", "run_id=r", "checkpoint.every=20")
    training.wait_until((training.run.checkpoints / "step_20" / "manifest.json").exists, "a checkpoint")
    with slowed(training.process_of(0), "fsync", 10.0):
        training.wait_until(lambda: bool(unfinished(training.run)), "a save that takes long")
        wait_until(partial(stands_still, training), "training to wait", timeout_s=120)
        done, [kept] = (
            training.steps(),
            sorted(map(step_of, training.run.checkpoints.glob("step_*")))[-1:],
        )
        training.kill(0, signal.SIGKILL)
    training.end(code=1)
    lost = done - kept
    assert 20 <= lost <= 22

    assert f"resuming from step_{kept}" in start("resume", "r").end(code=0)
    assert losses(training.run) == undisturbed(1)
    happened(
        f"killed while a checkpoint was written to a slow disk, with checkpoint.every=20: {lost} steps lost",
        steps_lost=lost,
    )


@pytest.mark.fault(11)
def test_a_save_takes_longer_than_the_grace(start: Start, undisturbed: Undisturbed, happened: Seen) -> None:
    """Asked to stop, it saves, which takes its time; it is killed before that is done, as Slurm does when the grace is over."""
    require_strace()
    words = [word for word in RECIPE if not word.startswith("checkpoint.every")]
    training = start(*words, "gpus=1", "run_id=r", "checkpoint.every=20")
    training.wait_for_step(21)
    training.wait_until(partial(halted_between_saves, training), "a moment without a save")
    with slowed(training.process_of(0), "fsync", 10.0):  # which may take longer than the rest of the training
        stop(training)
        training.kill(0, signal.SIGCONT)
        training.wait_until(lambda: bool(unfinished(training.run)), "the save to begin")
        time.sleep(1)
        kept, done = max(map(step_of, training.run.checkpoints.glob("step_*"))), training.steps()
        training.kill(0, signal.SIGKILL)
    training.end(code=1)
    [torn] = unfinished(training.run)
    assert not (torn / "manifest.json").exists()

    assert f"resuming from step_{kept}" in start("resume", "r").end(code=0)
    assert losses(training.run) == undisturbed(1)
    happened(
        "the torn save was no checkpoint; resumed from the one before, bit for bit", steps_lost=done - kept
    )


def stop(training: Training) -> None:
    """As `launch stop`, without the time that it takes to start."""
    executor_for("local").stop(training.run)


def halted_between_saves(training: Training) -> bool:
    """Halt the rank, and let it go on where it is in the middle of a save."""
    training.kill(0, signal.SIGSTOP)
    status = Path(f"/proc/{training.process_of(0)}/stat")
    wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", "the rank to be halted")
    if not unfinished(training.run):
        return True
    training.kill(0, signal.SIGCONT)
    time.sleep(0.05)
    return False


def stands_still(training: Training) -> bool:
    """Whether it has done no step in the last two seconds."""
    before = training.steps()
    time.sleep(2)
    return training.steps() == before


def unfinished(run: RunDir) -> list[Path]:
    return list(run.checkpoints.glob(".step_*.new"))


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.fault(16)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    start: Start, undisturbed: Undisturbed, stage: int
) -> None:
    training = start(*RECIPE, "gpus=2", "run_id=r", f"zero.stage={stage}")
    training.wait_for_step(40)
    stop(training)
    training.end(code=75)
    newest, before = sorted(training.run.checkpoints.iterdir(), key=step_of)[:-3:-1]
    largest = max(
        (path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)

    said = start("resume", "r").end(code=0)
    assert f"{newest.name} is not used: {largest.relative_to(newest)} is damaged" in said
    assert f"resuming from {before.name}" in said
    assert losses(training.run) == pytest.approx(undisturbed(2), abs=1e-4)
    assert len(losses(training.run)) == STEPS


def step_of(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "manifest.json").read_text())["step"])
