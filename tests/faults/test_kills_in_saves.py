"""Ranks that are killed in saves, again and again: SOAK_KILLS says how often, a few times by default, 200 in `make faults`."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from support.fault_rows import RECORD, Seen
from support.training import Fault, RankServer, events, log, losses, make_run, metrics, recipe, tensors

from launcher.runs.directory import RunDir

KILLS = int(os.environ.get("SOAK_KILLS", "200" if RECORD in os.environ else "5"))
STEPS = 60
LONGEST_SAVE_S = 0.04


@pytest.mark.fault(1)
def test_a_random_rank_is_killed_at_a_random_point_of_a_save(
    tmp_path: Path, tiny_data: Path, ranks: RankServer, happened: Seen
) -> None:
    """Every step is saved. A run that comes to its end is compared, and another begun, until there were enough kills."""
    wanted = recipe(
        tiny_data, gpus=2, train={"max_steps": STEPS}, eval={"every": 20}, checkpoint={"every": 1, "keep": 2}
    )
    expected = ranks.complete(make_run(tmp_path / "expected", wanted), 2)
    random, kills, runs, lost = Random(int(os.environ.get("SOAK_SEED", "1"))), 0, 0, 0
    while kills < KILLS:
        runs += 1
        run = make_run(tmp_path / f"run-{runs}", wanted)
        kills += kill_until_the_end(run, ranks, random, KILLS - kills)
        assert_same(run, expected)
        lost = max(lost, most_steps_lost(run))
    happened(
        f"0 of {kills} kills unresumable or different, in {runs} run{'s' * (runs > 1)} of {STEPS} steps",
        steps_lost=lost,
    )


def kill_until_the_end(run: RunDir, ranks: RankServer, random: Random, most: int) -> int:
    """Attempts that are killed, at most so many, and one that isn't; returns how many there were."""
    kills, number = 0, 0
    while True:
        number += 1
        fault = Fault("kill", "save", reached(run) + random.randrange(1, 4), random.randrange(2))
        fault = replace(fault, after_s=random.uniform(0.0001, LONGEST_SAVE_S))
        codes = ranks.attempt(run, 2, number, fault if kills < most else None)
        if codes == [0, 0]:
            return kills
        assert codes[fault.rank] == -9, f"attempt {number} ended with {codes}\n{log(run)}"
        kills += 1


def reached(run: RunDir) -> int:
    """The newest step that a checkpoint on disk claims to be of."""
    return max(
        (int(path.name[5:]) for path in run.checkpoints.glob("step_*") if path.name[5:].isdigit()), default=0
    )


def most_steps_lost(run: RunDir) -> int:
    """The most steps that an attempt did and the next one did again."""
    done: dict[int, list[int]] = {}
    for event in events(run, "step"):
        done.setdefault(event["attempt"], []).append(event["step"])
    numbers = sorted(done)
    return max(
        (max(done[one]) + 1 - min(done[two]) for one, two in itertools.pairwise(numbers)),
        default=0,
    )


def assert_same(run: RunDir, expected: RunDir) -> None:
    assert losses(run) == losses(expected)
    assert metrics(run, "validation") == metrics(expected, "validation")
    found, wished = (tensors(each.checkpoints / f"step_{STEPS}") for each in (run, expected))
    assert found.keys() == wished.keys()
    assert [name for name in wished if not torch.equal(found[name], wished[name])] == []
