"""Launcher or torch replaced between a launch and its resume: a node that has the newer one is none that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for
from launcher.health.facts import NodeFacts
from launcher.health.preflight import judge
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.provenance import Versions, read_launched, versions_here
from launcher.runs.records import tree_of

NOW = versions_here()
BEFORE = replace(NOW, torch="2.1.0")


def attempt(run: RunDir, number: int, job: str, nodes: dict[str, Versions]) -> None:
    """An attempt of this job on these nodes, and what they have said of themselves."""
    run.attempt(number).path.mkdir(parents=True)
    run.attempt(number).write(Attempt(number, job_id=job, hosts=tuple(nodes)))
    run.preflight(number).mkdir(parents=True)
    for place, (host, has) in enumerate(nodes.items()):
        facts = NodeFacts(host, has.python, has.torch, has.launcher, 1 << 40, 1 << 40, has.code)
        write_json(run.preflight(number) / f"{place}.json", tree_of(facts))


def test_a_resume_says_what_is_right_from_now_on(tmp_path: Path, commands: Path) -> None:
    stand_in(commands / "sbatch", "echo 8")
    stand_in(commands / "scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    run = new_run(plan_of({"executor": "slurm", "nodes": 2}, run_dir=tmp_path / "runs" / "r"))
    run.launched.parent.mkdir(exist_ok=True)
    write_json(run.launched, tree_of(BEFORE))
    attempt(run, 1, "7", {"node3": BEFORE, "node4": BEFORE})
    executor_for("slurm").start(run)
    assert read_launched(run) == NOW
    attempt(run, 2, "8", {"node1": NOW, "node2": BEFORE})
    judge(run, run.attempt(2))
    found = (run.preflight(2) / "findings.json").read_text()
    assert f"torch 2.1.0, where others have {NOW.torch}" in found
    assert f"torch {NOW.torch}, where" not in found
