"""How a job gets its number from sbatch: what it answers, what it refuses, and jobs it took without saying so."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.errors import LauncherError, RunFailed, UserError, nearest
from launcher.executors.shared.slurm_commands import message_of, run_slurm
from launcher.runs.directory import RunDir
from launcher.runs.exclusions import exclude_option, exclusions
from launcher.runs.files import WORD_BYTES
from launcher.runs.jobs import Job
from launcher.runs.records import read_text

# Slurm could not be asked, which says nothing about the request.
UNREACHABLE = re.compile(
    r"unable to contact|timed out|connection refused|zero bytes|communication|munge|authentication|"
    r"temporarily|try again|did not return|connect failure|slurm_conf|parsing config|configuration source",
    re.IGNORECASE,
)


def refuse_without_slurm(runs: Sequence[RunDir]) -> None:
    """Raises UserError where jobs can't be submitted from here at all; runs that are new are removed again."""
    if shutil.which("sbatch") is not None:
        return
    for run in runs:
        if run.last_job() is None and not run.submitting.exists():
            run.discard()
    remedy = "log in to the cluster, use executor=local, or try: make cluster"
    raise UserError("Slurm is not here: no sbatch on PATH", remedy=remedy)


def job_number(done: subprocess.CompletedProcess[str]) -> str | None:
    """The number that sbatch answers with, or None where it answered anything else.

    It stands in the last line: a site's own sbatch may say more before it. Where several lines are numbers, one may be what
    is left of a quota, and the queue has to tell.
    """
    lines = [line.strip().partition(";")[0] for line in done.stdout.strip().splitlines()]
    jobs = [job for job in map(Job.parse, lines) if job is not None and not job.is_local]
    alone = len(jobs) == 1 and not done.returncode and str(jobs[0]) == lines[-1]
    return lines[-1] if alone else None


def without_bad_nodes(run: RunDir) -> list[str]:
    """The option that keeps a new job from nodes that have failed the run."""
    request = run.read_plan().request
    hosts = exclude_option(run, () if request is None else request.options)
    return [f"--exclude={hosts}"] if hosts else []


def all_jobs(run: RunDir) -> list[str]:
    """The run's jobs, the newest first, with one that was accepted without saying so."""
    if run.submitting.exists() and not run.all_jobs():
        with contextlib.suppress(LauncherError):
            take_up_unknown_jobs(run)
    return run.all_jobs()


def take_up_unknown_jobs(run: RunDir, said: str = "", before: Collection[str] | None = None) -> str | None:
    """Put jobs of this run that Slurm has, and control/jobs has not, into control/jobs; the newest, or None.

    They were accepted although sbatch did not say so. A job that is not among those known `before` it was submitted counts,
    too, where it has started meanwhile and is in control/jobs by itself. Raises RunFailed where Slurm doesn't tell.
    """
    index, _, script = (read_text(run.submitting, WORD_BYTES) or "").partition(" ")
    if script:
        element, _, member = index.partition(".")
        found = [job for job in _elements_of(run, Path(script), said) if str(job.index) == element]
        jobs = [replace(job, member=int(member)) if member.isdecimal() else job for job in found]
    else:
        jobs = _queued(run, run.run_id, "%Z", str(run.path), said)
    known = run.all_jobs()
    for job in map(str, jobs):
        if job not in known:
            run.add_job(job)
    new = [str(job) for job in jobs if str(job) not in (known if before is None else before)]
    return new[-1] if new else None


def unknown_array(run: RunDir, script: Path, said: str) -> str | None:
    """The array that Slurm has of this script, or None. Raises RunFailed where Slurm doesn't tell."""
    found = _elements_of(run, script, said)
    return str(found[-1].number) if found else None


def _elements_of(run: RunDir, script: Path, said: str) -> list[Job]:
    """What is in the queue of the array with this script, which lies in its sweep's directory."""
    return _queued(run, script.parent.name, "%o", str(script), said)


def _queued(run: RunDir, name: str, column: str, wanted: str, said: str) -> list[Job]:
    """Jobs of this name in the queue whose directory (%Z) or script (%o) is the wanted one, the newest last."""
    done = run_slurm(["squeue", "--all", "--noheader", "--array", f"--name={name}", f"--format=%i|{column}"])
    if done.returncode:
        raise _unanswered(run, said or message_of(done.stderr))
    rows = [line.partition("|") for line in done.stdout.splitlines()]
    jobs = [Job.parse(job) for job, _, at in rows if at == wanted]
    return sorted((job for job in jobs if job is not None), key=lambda job: job.number)


def _unanswered(run: RunDir, sentence: str) -> RunFailed:
    """The job may have been taken all the same, so the directory that it would run in stays."""
    remedy = f"launch resume {run.run_id} once Slurm answers (scontrol ping): it looks for that job first"
    return RunFailed("scheduler", f"Slurm did not answer: {sentence or 'sbatch said nothing'}", remedy)


def refusal(run: RunDir, sentence: str, each: int = 1) -> LauncherError:
    """A UserError with Slurm's own sentence, or RunFailed where that is no refusal; `each` runs share the job."""
    if not sentence or UNREACHABLE.search(sentence):
        return _unanswered(run, sentence)
    run.submitting.unlink(missing_ok=True)
    request = run.plan_tree()["slurm"]
    if run.last_job() is None:
        run.discard()
    else:
        run.secrets.unlink(missing_ok=True)
    remedy = _refusal_remedy(sentence, request)
    if each > 1:
        times = f"{each} times that in cores and memory, since {each} trials share it"
        remedy = f"the job asks for {times}: a smaller --pack asks for less; each trial {remedy}"
    if gone := [node.host for node in exclusions(run)]:
        remedy += (
            f"; {' and '.join(gone)} failed the run and are left out: rm {run.excluded} lets it have them"
        )
    return UserError(f"Slurm refuses the job: {sentence}", remedy=remedy)


def _refusal_remedy(sentence: str, request: Mapping[str, object]) -> str:
    asked = ", ".join(
        f"{name}={value}" for name, value in request.items() if value and not isinstance(value, bool)
    )
    remedy = f"asked for: {asked}; nodes, gpus and time are the recipe's, the rest is the cluster profile's"
    if "partition" in sentence.lower():
        known = run_slurm(["sinfo", "--noheader", "--format=%R"]).stdout.split()
        guess = nearest(str(request["partition"]), known)
        partitions = f"partitions: {', '.join(dict.fromkeys(known))}"
        return "; ".join(filter(None, [f"did you mean {guess}?" if guess else "", partitions, remedy]))
    return remedy
