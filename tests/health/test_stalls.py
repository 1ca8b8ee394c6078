"""Who is behind in a training that makes no progress, and in which words that is told."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.health.beats import Phase
from launcher.health.records import NodeHealth, RankHealth, write_node
from launcher.health.stalls import STALE_S, places_of, seen_from_outside, stall_of
from launcher.runs.attempt_directory import AttemptDir

WAITS = RankHealth(0, "step", "gradients", 7, silent_s=95.0, bound_s=60.0, state="S")


def node(number: int, *ranks: RankHealth, at: float = 1000.0) -> NodeHealth:
    return NodeHealth(number, f"node{number + 1}", at, ranks)


def sentence(*nodes: NodeHealth) -> str:
    stall = stall_of(places_of(nodes))
    assert stall is not None
    return stall.sentence


def test_the_rank_that_the_others_wait_for_is_named_with_its_host() -> None:
    stuck = RankHealth(1, "step", "backward", 7, 95.2, 60.0, "S")
    stall = stall_of(places_of([node(0, WAITS), node(2, stuck)]))
    assert stall is not None
    assert stall.sentence == "no step for 95 s: rank 1 on node3 is in backward"
    assert stall.behind is not None
    assert (stall.behind.rank, stall.behind.host, stall.is_hang) == (1, "node3", True)


def test_fewest_steps_come_before_parts_of_a_step_and_a_save_before_the_step_after_it() -> None:
    late = RankHealth(1, "step", "results", 6, 95.0, 60.0, "S")
    saving = RankHealth(1, "save", "", 7, 95.0, 60.0, "S")
    assert (
        sentence(node(0, WAITS, late))
        == "no step for 95 s: rank 1 on node1 waits for the results of the step"
    )
    assert sentence(node(0, WAITS, saving)) == "no progress for 95 s: rank 1 on node1 is saving"


def test_a_halted_rank_is_behind_others_at_the_same_place() -> None:
    halted = replace(WAITS, rank=1, state="T")
    told = "rank 1 on node1 waits for the gradients of others, halted by a signal"
    assert sentence(node(0, WAITS, halted)) == f"no step for 95 s: {told}"


def test_a_node_that_tells_nothing_any_more_is_behind_others_at_the_same_place() -> None:
    there, lost = node(0, WAITS), node(1, replace(WAITS, rank=1, silent_s=1.0), at=1000.0 - STALE_S - 80)
    told = "rank 1 on node2 waits for the gradients of others, and its node tells nothing any more"
    assert sentence(there, lost) == f"no step for 95 s: {told}"


def test_a_node_that_tells_nothing_is_judged_by_the_bound_of_those_that_tell() -> None:
    """It was halted before it told that it trains: what it may take while it compiles is no longer of weight."""
    compiling = RankHealth(1, "compiling", "", 0, silent_s=1.0, bound_s=1800.0, state="S")
    stall = stall_of(places_of([node(0, WAITS), node(1, compiling, at=1000.0 - STALE_S - 80)]))
    assert stall is not None
    assert (stall.bound_s, stall.is_hang, stall.behind and stall.behind.rank) == (60.0, True, 1)
    stall = stall_of(places_of([node(0, WAITS), node(1, compiling)]))
    assert stall is not None
    assert (stall.bound_s, stall.is_hang) == (1800.0, False)


def test_nobody_is_named_where_all_stand_at_the_same_place() -> None:
    two = node(0, WAITS, replace(WAITS, rank=1))
    assert sentence(two) == "no step for 95 s: every rank waits for the gradients of others"
    stall = stall_of(places_of([two]))
    assert stall is not None
    assert stall.behind is None


def test_it_is_no_hang_while_one_rank_makes_progress_or_may_take_longer() -> None:
    busy = RankHealth(1, "tokenising", "", 0, 0.5, 1800.0, "R")
    writes = RankHealth(1, "save", "", 7, 95.0, 600.0, "D")
    unwatched = replace(WAITS, rank=1, bound_s=None)
    for other in (busy, writes, unwatched):
        stall = stall_of(places_of([node(0, WAITS, other)]))
        assert stall is not None
        assert not stall.is_hang


def test_ranks_that_have_ended_wait_for_nobody() -> None:
    ended = replace(WAITS, rank=1, phase="ended", part="", silent_s=5000.0)
    assert stall_of(places_of([node(0, ended)])) is None
    stall = stall_of(places_of([node(0, ended, replace(WAITS, silent_s=1.0))]))
    assert stall is not None
    assert stall.silent_s == 1.0


@pytest.mark.parametrize("host", [socket.gethostname(), "another"])
def test_a_run_whose_watchers_are_halted_too_is_seen_by_the_clock_of_their_machine(
    tmp_path: Path, host: str
) -> None:
    """As after Ctrl-Z or `docker pause`. The clock of another machine may be wrong by any time."""
    attempt = AttemptDir(tmp_path / "1")
    attempt.path.mkdir()
    write_node(attempt, NodeHealth(0, host, time.time() - 90, (replace(WAITS, silent_s=0.0),)))
    seen = seen_from_outside(attempt)
    if host == "another":
        assert seen is None
    else:
        assert seen is not None
        assert seen.silent_s >= 90
        assert seen.sentence.endswith(
            "waits for the gradients of others, and its node tells nothing any more"
        )


def test_a_halted_rank_is_behind_wherever_the_others_stand() -> None:
    """It prepares data for the others, which have come less far."""
    waits = RankHealth(1, "loading", "", 0, 61.0, bound_s=1800.0, state="S")
    halted = RankHealth(0, "tokenising", "", 0, 61.0, bound_s=60.0, state="T")
    stall = stall_of(places_of([node(0, halted, waits)]))
    assert stall is not None
    assert stall.sentence == "no progress for 61 s: rank 0 on node1 is tokenising, halted by a signal"
    assert stall.is_hang, "by the bound of the rank that is halted"


@pytest.mark.parametrize("phase", ["tokenising", "evaluation", "save"])
def test_a_rank_that_waits_for_the_others_is_not_behind_them(phase: Phase) -> None:
    waits = RankHealth(0, phase, "others", 7, 95.0, 1800.0, "S")
    works = RankHealth(1, phase, "", 7, 95.0, 1800.0, "D")
    stall = stall_of(places_of([node(0, waits), node(1, works)]))
    assert stall is not None
    assert stall.behind is not None
    assert (stall.behind.rank, stall.behind.host) == (1, "node2")
    assert sentence(node(0, waits)) == "no progress for 95 s: rank 0 on node1 waits for other ranks"


def test_what_may_take_half_an_hour_is_told_of_after_a_minute() -> None:
    for silent_s, is_told in ((59.0, False), (61.0, True)):
        loads = RankHealth(0, "loading", "", 0, silent_s, bound_s=1800.0, state="S")
        stall = stall_of(places_of([node(0, loads)]))
        assert stall is not None
        assert (stall.is_worth_telling, stall.is_hang) == (is_told, False)


def test_while_an_attempt_is_ended_what_was_found_is_what_is_told(tmp_path: Path) -> None:
    """Its watchers say no more by then, and its ranks are killed one by one."""
    attempt = AttemptDir(tmp_path / "1")
    attempt.path.mkdir()
    stuck = RankHealth(1, "step", "backward", 7, 61.0, 60.0, "S")
    stall = stall_of(places_of([node(0, WAITS, stuck)]))
    assert stall is not None
    attempt.write_hang(stall.hang(1000.0))
    write_node(
        attempt, NodeHealth(0, socket.gethostname(), time.time() - 90, (replace(WAITS, silent_s=0.0),))
    )
    assert seen_from_outside(attempt) == stall.hang(1000.0)


def test_a_clock_that_was_set_since_a_node_wrote_makes_no_stall(tmp_path: Path) -> None:
    attempt = AttemptDir(tmp_path / "1")
    attempt.path.mkdir()
    going = replace(WAITS, silent_s=1.0)
    before = time.time() - 3600
    for up_s, stalls in ((time.monotonic() - 1, False), (time.monotonic() - 3600, True)):
        write_node(attempt, NodeHealth(0, socket.gethostname(), before, (going,), up_s=up_s))
        assert (seen_from_outside(attempt) is not None) == stalls
