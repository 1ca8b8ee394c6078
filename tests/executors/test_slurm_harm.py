"""A node is taken down in Slurm only where that harms nobody else, and may be done; otherwise a sentence says why it wasn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.errors import RunFailed
from launcher.executors.shared.slurm_harm import harm
from launcher.health.records import write_member
from launcher.runs.attempts import Attempt, Member
from launcher.runs.directory import RunDir

ENDED = "JobId=7 JobName=r JobState=NODE_FAIL Reason=NodeDown ExitCode=0:0"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of two ranks on two nodes, with job 7."""
    run = new_run(plan_of({"executor": "slurm", "nodes": 2, "gpus": 1}, run_dir=tmp_path / "runs" / "r"))
    run.add_job("7")
    run.attempt(1).path.mkdir(parents=True)
    run.attempt(1).write(replace(Attempt(1), job_id="7", hosts=("node9", "node10")))
    for rank, node in ((0, 1), (1, 0)):  # torchrun takes node10 for the first
        write_member(run.attempt(1), Member(rank, node, pid=4711, started=99, descriptor=5))
    return run


@pytest.fixture
def slurm(commands: Path) -> Path:
    """Commands that stand in for Slurm's; each notes down what it was asked."""
    answers(commands, "srun", "SIGKILL to torchrun and rank 1 at once")
    answers(commands, "squeue", "7")
    answers(commands, "scontrol", ENDED)
    return commands


def answers(place: Path, name: str, words: str, error: str = "", code: int = 0) -> None:
    asked = place.parent / "asked"
    noted = f"echo {name} \"$*\" >>'{asked}'"
    stand_in(place / name, f"{noted}\necho '{words}'\necho '{error}' >&2\nexit {code}")


def updates(place: Path) -> list[str]:
    """What was asked of scontrol update."""
    lines = (place.parent / "asked").read_text().splitlines()
    return [line.removeprefix("scontrol update ") for line in lines if line.startswith("scontrol update")]


def test_it_is_down_until_slurm_has_ended_the_job(run: RunDir, slurm: Path) -> None:
    said = harm(run, "7", "node", 1)
    assert said == (
        "SIGKILL to torchrun and rank 1 at once on node9; the node was taken down, and given back once Slurm had "
        "ended the job"
    )
    assert updates(slurm) == [
        "nodename=node9 state=down reason=launch drill",
        "nodename=node9 state=resume",
    ]


def test_it_stays_up_where_somebody_else_uses_it(run: RunDir, slurm: Path) -> None:
    answers(slurm, "squeue", "12\n7\n9_1")
    assert harm(run, "7", "node", 1).endswith("the node itself stays up, for job 12 uses it, too")
    assert updates(slurm) == []


def test_it_stays_up_where_slurm_says_so(run: RunDir, slurm: Path) -> None:
    answers(slurm, "scontrol", "", "slurm_update error: Invalid user id", 1)
    said = harm(run, "7", "node", 1)
    assert said.endswith(
        "the node itself stays up, for Slurm won't take it down: slurm_update error: Invalid user id"
    )


def test_other_harm_leaves_the_node_alone(run: RunDir, slurm: Path) -> None:
    answers(slurm, "srun", "SIGSTOP to rank 0")
    assert harm(run, "7", "hang", 0) == "SIGSTOP to rank 0 on node10"
    assert updates(slurm) == []


def test_where_nothing_can_be_done_it_says_why(run: RunDir, slurm: Path) -> None:
    answers(slurm, "srun", "", "srun: error: Unable to create step for job 7: Access/permission denied", 1)
    with pytest.raises(RunFailed, match="nothing could be done on node10: Unable to create step"):
        harm(run, "7", "disk", 0)
