"""Where a rank stands, read by another process as exactly as the rank itself knows it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.health.beats import KEPT_STEPS, Beats, BeatsOf
from launcher.health.records import (
    NodeHealth,
    RankHealth,
    read_nodes,
    write_member,
    write_node,
)
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Member
from launcher.train.process.heartbeat import Heartbeat


def test_each_mark_is_progress_and_says_where_the_rank_is() -> None:
    beats = Beats.shared()
    assert beats.descriptor is not None
    seen, heartbeat = BeatsOf(os.getpid(), beats.descriptor), Heartbeat(beats)
    told = []

    def look() -> None:
        beat = seen.beat()
        told.append((beat.step, beat.phase, beat.part))

    heartbeat.phase("loading data")
    look()
    for step in range(3):
        heartbeat.begin_step(step)
        heartbeat.forward()
        heartbeat.backward()
        look()
        heartbeat.end_step()
    heartbeat.phase("evaluating")
    look()
    before = seen.beat().beats
    heartbeat.phase("evaluating")  # some more of it is done
    assert seen.beat().beats == before + 1
    assert told == [
        (0, "loading", ""),
        (0, "first step", "backward"),
        (1, "first step", "backward"),
        (2, "step", "backward"),
        (3, "evaluation", ""),
    ]
    assert len(seen.step_seconds()) == 2


def test_waiting_for_others_is_told_but_within_a_step_where_its_parts_say_so() -> None:
    beats = Beats.shared()
    assert beats.descriptor is not None
    seen, heartbeat = BeatsOf(os.getpid(), beats.descriptor), Heartbeat(beats)
    told = []

    def look() -> None:
        told.append((seen.beat().phase, seen.beat().part))

    heartbeat.phase("loading data")
    heartbeat.waits("tokenising")
    look()
    heartbeat.phase("evaluating")
    with heartbeat.waiting():
        look()
    look()
    heartbeat.begin_step(7)
    heartbeat.gradients()
    with heartbeat.waiting():
        look()
    look()
    assert told == [
        ("tokenising", "others"),
        ("evaluation", "others"),
        ("evaluation", ""),
        ("first step", "gradients"),
        ("first step", "gradients"),
    ]


def test_the_newest_steps_are_kept() -> None:
    beats = Beats.shared()
    assert beats.descriptor is not None
    for step in range(KEPT_STEPS + 10):
        beats.add_step(float(step))
    assert sorted(BeatsOf(os.getpid(), beats.descriptor).step_seconds()) == [
        float(step) for step in range(10, KEPT_STEPS + 10)
    ]


def test_a_halted_process_can_be_read_and_its_memory_outlives_it() -> None:
    beats = Beats.shared()
    assert beats.descriptor is not None
    beats.write(5, 7, 8, 3)
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(child, signal.SIGSTOP)
    seen = BeatsOf(child, beats.descriptor)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    beat = seen.beat()
    assert (beat.beats, beat.step, beat.phase, beat.part) == (5, 7, "step", "backward")


def test_files_of_nodes_shrink_and_grow_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    attempt = AttemptDir(tmp_path)
    ranks = tuple(RankHealth(rank, "step", "data", 1, 0.0, 60.0, "R") for rank in range(64))
    for count in (64, 1, 8):
        write_node(attempt, NodeHealth(0, "node1", 1.0, ranks[:count], {"save": 2.0}))
        assert [len(node.ranks) for node in read_nodes(attempt)] == [count]
    (attempt.health / "node_1.json").write_text('{"node": 1, "ho')
    (attempt.health / "node_2.json").write_text('{"node": 2, "host": 3, "at": 1, "ranks": []}')
    (attempt.health / "node_3.json").symlink_to(attempt.health / "node_0.json")
    assert [node.node for node in read_nodes(attempt)] == [0]


def test_a_rank_is_found_by_what_it_wrote_of_itself(tmp_path: Path) -> None:
    attempt, member = AttemptDir(tmp_path / "1"), Member(3, 1, 4711, 99, 5, 4700, 98)
    attempt.path.mkdir()
    (attempt.path / "attempt.json").write_text('{"number": 1, "hosts": ["gpu9", "gpu10"]}')
    write_member(attempt, member)
    (attempt.health / "rank_4.json").write_text('{"rank": "four"}')
    assert attempt.members() == [member]
    write_member(attempt, replace(member, rank=5, node=-1))
    assert attempt.hosts_of_ranks() == {3: "gpu10"}


def test_memory_that_isn_t_there_is_refused() -> None:
    with pytest.raises(OSError, match="No such file"):
        BeatsOf(os.getpid(), 999)
