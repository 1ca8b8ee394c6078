"""Machines that have none, or not all, of Slurm's commands: a laptop that sees the runs, a site without accounting."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.cli.app import cli
from launcher.errors import UserError
from launcher.executors import executor_for
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.results import Result

FORGOTTEN = 'echo "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH: nothing is in it."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that has no job yet."""
    return new_run(plan_of({"executor": "slurm", "nodes": 2}, run_dir=tmp_path / "runs" / "r"))


def completed(run: RunDir) -> None:
    run.add_job("7")
    run.attempt(1).path.mkdir()
    ended = Attempt(1, started_at=1.0, job_id="7", hosts=("node1",), ended_at=9.0, next="stay")
    run.attempt(1).write(ended)
    run.write_result(Result("completed", job_id="7"))


@pytest.mark.parametrize("has_a_controller", [False, True])
def test_a_run_that_has_ended_is_shown_by_its_own_record(
    place: Path, run: RunDir, *, has_a_controller: bool
) -> None:
    for name in ("scontrol", "squeue") if has_a_controller else ():
        stand_in(place / name, FORGOTTEN if name == "scontrol" else "")
    completed(run)
    assert executor_for("slurm").state(run).status == "completed"
    assert executor_for("slurm").states([run])[0].status == "completed"
    shown = CliRunner().invoke(cli, ["status", str(run.path)])
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "r: completed")


@pytest.mark.usefixtures("place")
def test_of_a_job_that_nobody_can_be_asked_about_it_is_said_so(run: RunDir) -> None:
    run.add_job("7")
    state = executor_for("slurm").state(run)
    assert (state.status, state.reason) == ("unreachable", "Slurm does not answer: no scontrol on PATH")


@pytest.mark.usefixtures("place")
def test_a_new_run_that_can_not_be_submitted_leaves_nothing_behind(run: RunDir) -> None:
    with pytest.raises(UserError, match="Slurm is not here: no sbatch on PATH"):
        executor_for("slurm").start(run)
    assert not run.path.exists()


@pytest.mark.usefixtures("place")
def test_a_run_that_had_a_job_stays(run: RunDir) -> None:
    completed(run)
    with pytest.raises(UserError, match="Slurm is not here: no sbatch on PATH"):
        executor_for("slurm").start(run)
    assert run.all_jobs() == ["7"]
