"""The page of a run names ranks that were slow for long."""

from __future__ import annotations

import json
from pathlib import Path

from support.plans import new_run, plan_of

from launcher.health.records import write_member
from launcher.report.run_page import page
from launcher.runs.attempts import Attempt, Member
from launcher.runs.directory import RunDir


def run_with(directory: Path, slow_steps: int) -> RunDir:
    """Four ranks on two nodes, of which the last was slow for the first steps."""
    run = new_run(plan_of({"nodes": 2, "gpus": 2}, run_dir=directory / "r"))
    ratios = [1.62 if step < slow_steps else 1.02 for step in range(200)]
    lines = [
        {"step": step, "train/loss": 0.5, "perf/slowest_rank": 3, "perf/slowest_ratio": ratio}
        for step, ratio in enumerate(ratios, 1)
    ]
    run.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run.attempt(1).path.mkdir(parents=True)
    run.attempt(1).write(Attempt(1, hosts=("node9", "node10")))
    write_member(
        run.attempt(1), Member(3, 0, pid=4711, started=99, descriptor=5)
    )  # torchrun takes node10 for the first
    return run


def test_a_rank_that_was_slow_for_long_is_named_with_its_node(tmp_path: Path) -> None:
    said = "rank 3 on node9 was slow for 60 of 200 steps, 1.62 times slower than the others."
    assert said in page([run_with(tmp_path, 60)], "1")


def test_a_short_spell_is_nothing_to_tell(tmp_path: Path) -> None:
    assert "was slow" not in page([run_with(tmp_path, 40)], "1")
