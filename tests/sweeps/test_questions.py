"""How often a scheduler is asked about the trials of a sweep: a controller has more to do than to answer us."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for
from launcher.runs.directory import RunDir
from launcher.sweeps.job_arrays import submit
from launcher.sweeps.queue import Company, Wish, work_off
from launcher.sweeps.sweep import Sweep, Trial

COUNT = 5


@pytest.fixture
def slurm(commands: Path) -> Path:
    """Slurm's commands as scripts that note their calls: all jobs run."""
    jobs = "\\n".join(f"{number}|RUNNING|None|N/A|N/A|node1" for number in range(1, COUNT + 1))
    for name, answer in {
        "squeue": f"printf '{jobs}\\n'",
        "scontrol": 'echo "JobId=${@: -1} JobName=r${@: -1} JobState=RUNNING Reason=None"',
        "sacct": "exit 1",
        "sbatch": "exit 1",
    }.items():
        stand_in(commands / name, f"echo {name} >>{commands}/calls\n{answer}")
    return commands


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    made = []
    for number in range(1, COUNT + 1):
        run = new_run(plan_of({"executor": "slurm"}, run_dir=tmp_path / "runs" / f"r{number}"))
        run.add_job(str(number))
        made.append(run)
    return made


def calls(place: Path) -> list[str]:
    return (place / "calls").read_text().split()


def test_a_command_that_goes_on_with_a_sweep_asks_once_about_all_trials(
    slurm: Path, runs: list[RunDir], tmp_path: Path
) -> None:
    directory = tmp_path / "runs" / "sweep"
    directory.mkdir()
    sweep = Sweep(directory, tuple(Trial(run.run_id, {}) for run in runs))
    done = submit(sweep, runs, executor_for("slurm"), None)
    assert set(done.trials.values()) == {"running"}
    assert (done.jobs, calls(slurm)) == ((), ["squeue"])


def test_one_who_follows_trials_asks_once_about_all_of_them(slurm: Path, runs: list[RunDir]) -> None:
    seen = 0

    def look(_: object) -> None:
        nonlocal seen
        seen += 1

    def wish() -> Wish:
        return "leave" if seen > 1 else "go on"

    ended = work_off(runs, executor_for("slurm"), COUNT, lambda *_: None, wish, Company(look=look))
    assert set(ended.values()) == {"active"}
    assert calls(slurm).count("scontrol") == COUNT  # each once, before it would be started
