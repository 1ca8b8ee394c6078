"""sbatch that accepts a job and does not say so: it is looked for by its name before anything is discarded or sent again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.errors import RunFailed, UserError
from launcher.executors import executor_for
from launcher.runs.directory import RunDir

ANSWERS = {
    "timed out": 'echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1',
    "silent failure": "exit 1",
    "silent success": "exit 0",
    "an unknown sentence": 'echo "sbatch: error: something new" >&2; exit 1',
    "no number": "echo Submitted",
    "more than a number": "echo 12 13",
    "another number after its own": "echo 7; echo 'core hours left:'; echo 1234",
    "another number before its own": "echo 1234; echo 7",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return new_run(plan_of({"executor": "slurm", "nodes": 2}, run_dir=tmp_path / "runs" / "r"))


@pytest.fixture
def slurm(commands: Path) -> Path:
    """Slurm's commands as scripts: `squeue` lists what `queue` holds, sbatch counts its calls in `calls`."""
    (commands / "queue").write_text("")
    command(commands, "squeue", f"cat {commands}/queue")
    command(commands, "scontrol", 'echo "JobId=7 JobName=r JobState=PENDING Reason=Priority"')
    command(commands, "sinfo", "true")
    return commands


def command(place: Path, name: str, body: str) -> None:
    stand_in(place / name, f"echo . >>{place}/{name}.calls\n{body}")


def submissions(place: Path) -> int:
    return len((place / "sbatch.calls").read_text().split())


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.fault(25)
def test_a_job_that_was_accepted_is_found_by_its_name(slurm: Path, run: RunDir, answer: str) -> None:
    accepted = f'echo "7|{run.path}" >{slurm}/queue; echo "8|/elsewhere/r" >>{slurm}/queue; {ANSWERS[answer]}'
    command(slurm, "sbatch", accepted)
    assert executor_for("slurm").start(run) == "7"
    assert run.all_jobs() == ["7"]
    with pytest.raises(UserError, match="already has a job: 7"):
        executor_for("slurm").start(run)
    assert submissions(slurm) == 1


def test_the_number_is_in_the_last_line_of_an_sbatch_that_says_more(slurm: Path, run: RunDir) -> None:
    command(slurm, "sbatch", 'echo "--> Verifying access to queue 5...OK"; echo; echo "9;east"')
    assert executor_for("slurm").start(run) == "9"
    assert not (slurm / "squeue.calls").exists()


def test_a_job_that_starts_before_sbatch_says_that_it_timed_out_is_no_failure(
    slurm: Path, run: RunDir
) -> None:
    """Its script has put it into control/jobs by then."""
    starts = f'echo "7|{run.path}" >{slurm}/queue; echo 7 >>{run.jobs}'
    command(slurm, "sbatch", f"{starts}; {ANSWERS['timed out']}")
    assert executor_for("slurm").start(run) == "7"
    assert not run.submitting.exists()


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """A shell lets what it starts in the background ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
def test_an_interrupt_while_sbatch_is_asked_says_that_there_may_be_a_job(slurm: Path, run: RunDir) -> None:
    command(slurm, "sbatch", f'echo "7|{run.path}" >{slurm}/queue; kill -INT $PPID; sleep 0.1')
    with pytest.raises(KeyboardInterrupt) as interrupted:
        executor_for("slurm").start(run)
    (note,) = interrupted.value.__notes__
    assert note.startswith("Slurm may have taken the job: launch status shows it")
    assert executor_for("slurm").state(run).job_id == "7"


def test_a_job_goes_to_the_cluster_that_the_environment_names(
    slurm: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all of Slurm's commands look for it afterwards; the job itself has no such variable."""
    monkeypatch.setenv("SLURM_CLUSTERS", "east")
    command(slurm, "sbatch", f'echo "$* ${{SLURM_CLUSTERS-}}." >{slurm}/asked; echo 9')
    executor_for("slurm").start(run)
    assert (slurm / "asked").read_text() == f"--parsable --clusters=east {run.job_sbatch} .\n"
    command(slurm, "scontrol", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    command(slurm, "sacct", '[[ $1 == --clusters=east ]] && echo "9|COMPLETED|0:0|Unknown|Unknown|node1"')
    assert executor_for("slurm").state(run).status == "completed"


def test_a_forecast_is_of_what_would_be_submitted(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the user's by which sbatch would ask for something else reach neither."""
    monkeypatch.setenv("SBATCH_PARTITION", "debug")
    command(slurm, "sbatch", 'echo "allocation failure: ${SBATCH_PARTITION-as written}" >&2; exit 1')
    forecast = executor_for("slurm").predicted_start("#!/bin/bash\n")
    assert forecast is not None
    assert forecast.refusal == "as written"


def test_words_of_slurm_that_are_not_utf_8_are_read(slurm: Path, run: RunDir) -> None:
    run.add_job("7")
    command(slurm, "scontrol", r"printf 'JobId=7 JobName=r JobState=PENDING Reason=caf\xe9\n'")
    assert executor_for("slurm").state(run).status == "pending"


@pytest.fixture
def trials(tmp_path: Path) -> list[RunDir]:
    (tmp_path / "runs").mkdir()
    return [
        new_run(plan_of({"executor": "slurm", "seed": seed}, run_dir=tmp_path / "runs" / f"s.seed{seed}"))
        for seed in (1, 2)
    ]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_array_that_was_accepted_is_found_by_its_script(
    slurm: Path, trials: list[RunDir], answer: str
) -> None:
    script = slurm / "array_1.sbatch"
    other = f'echo "8_0|{slurm}/array_2.sbatch" >>{slurm}/queue'
    queue = f'echo "7_0|{script}" >{slurm}/queue; echo "7_1|{script}" >>{slurm}/queue; {other}'
    command(slurm, "sbatch", f"{queue}; {ANSWERS[answer]}")
    assert executor_for("slurm").start_together(script, trials) == "7"
    assert [run.all_jobs() for run in trials] == [["7_0"], ["7_1"]]
    assert not any(run.submitting.exists() for run in trials)
    with pytest.raises(UserError, match="already has a job: 7_0"):
        executor_for("slurm").start_together(script, trials)
    assert submissions(slurm) == 1


def test_an_array_that_nobody_can_tell_of_is_looked_for_later(slurm: Path, trials: list[RunDir]) -> None:
    script = slurm / "array_1.sbatch"
    command(slurm, "sbatch", "exit 1")
    command(slurm, "squeue", 'echo "slurm_load_jobs error: Unable to contact" >&2; exit 1')
    executor = executor_for("slurm")
    for _ in range(2):
        with pytest.raises(RunFailed, match="did not answer"):
            executor.start_together(script, trials)
    assert all(run.plan.exists() for run in trials)
    assert submissions(slurm) == 1
    command(slurm, "squeue", f'echo "7_0|{script}"; echo "7_1|{script}"')
    assert [executor.state(run).job_id for run in trials] == ["7_0", "7_1"]
    with pytest.raises(UserError, match="already has a job: 7_1"):
        executor.start(trials[1])
    assert submissions(slurm) == 1


def test_a_refused_array_discards_the_runs_that_never_had_a_job(slurm: Path, trials: list[RunDir]) -> None:
    command(slurm, "sbatch", 'echo "sbatch: error: Invalid account" >&2; exit 1')
    trials[0].add_job("5")
    command(slurm, "scontrol", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    with pytest.raises(UserError, match="Invalid account"):
        executor_for("slurm").start_together(slurm / "array_1.sbatch", trials)
    assert [run.path.exists() for run in trials] == [True, False]
    assert not trials[0].submitting.exists()


@pytest.mark.fault(25)
def test_what_nobody_can_tell_keeps_the_directory_and_is_looked_for_later(slurm: Path, run: RunDir) -> None:
    command(slurm, "sbatch", "exit 1")
    command(slurm, "squeue", 'echo "slurm_load_jobs error: Unable to contact" >&2; exit 1')
    for _ in range(2):
        with pytest.raises(RunFailed, match="did not answer"):
            executor_for("slurm").start(run)
        assert run.plan.exists()
    assert submissions(slurm) == 1
    command(slurm, "squeue", f'echo "7|{run.path}"')
    with pytest.raises(UserError, match="already has a job: 7"):
        executor_for("slurm").start(run)
    assert submissions(slurm) == 1


def test_a_refusal_discards_what_was_made(slurm: Path, run: RunDir) -> None:
    command(slurm, "sbatch", 'echo "sbatch: error: Invalid account" >&2; exit 1')
    with pytest.raises(UserError, match="Invalid account"):
        executor_for("slurm").start(run)
    assert not run.path.exists()
