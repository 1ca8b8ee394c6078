"""The run directory: the only place that knows the names of its files and how they are written."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import paths
from launcher.errors import DamagedFile, UserError
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.entry import Entry
from launcher.runs.files import WORD_BYTES, let_group_list, locked, open_to_append, write_json, write_text
from launcher.runs.jobs import Job
from launcher.runs.records import make, read_json, read_record, read_text
from launcher.secret_values import without_secrets

if TYPE_CHECKING:
    from launcher.runs.examination import Examination
    from launcher.runs.results import Latency, Result
    from launcher.runs.run_plan import RunPlan

LOSS_FILE = "loss.py"
PROVENANCE = "provenance"
ORIGINS = f"{PROVENANCE}/origins.json"
LAUNCHED = f"{PROVENANCE}/launched.json"
CODE_PATCH = f"{PROVENANCE}/code.patch"
COMPARED = ("recipe.yaml", "plan.json", "ds_config.json", LOSS_FILE)
"""Files that decide the mathematics of a run, and must be on resuming what they were."""
STAGING = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.[a-z0-9_]{8}")
"""The name of a run directory that is being made."""
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_STEP = re.compile(rf"0|{_NUMBER.pattern}", re.ASCII)


@dataclass(frozen=True)
class RunDir:
    """One run's directory, mode 0700, and every path in it."""

    path: Path

    recipe = Entry("recipe.yaml")
    """The recipe with every default written out; frozen from here on, as the plan is."""
    plan = Entry("plan.json")
    ds_config = Entry("ds_config.json")
    loss = Entry(LOSS_FILE)
    """Of --loss-file."""
    job_sbatch = Entry("job.sbatch")
    job_sh = Entry("job.sh")
    attempts = Entry("attempts")
    """A directory for each start of the run; see AttemptDir."""
    metrics = Entry("metrics.jsonl")
    """The record of the training."""
    checkpoints = Entry("checkpoints")
    """Resumable state in step_N/."""
    model = Entry("model")
    """The best model, plain Hugging Face."""
    former_model = Entry(".model.old")
    """The best model before this one, there only while that takes its place."""
    pruned = Entry("pruned")
    """The pruned model that the training starts from, where the recipe prunes."""
    result = Entry("result.json")
    """How it ended."""
    evaluated = Entry("evaluated")
    """What evaluations of the best model found, a file for each split; see launcher.runs.examination."""
    latency = Entry("latency.json")
    """How long the model takes for a text, and on which machine that was measured; once somebody has asked."""
    samples = Entry("samples")

    provenance = Entry(PROVENANCE)
    """What the run was made of; launcher.runs.provenance says what is in it."""
    origins = Entry(ORIGINS)
    launched = Entry(LAUNCHED)
    """What it was launched with, there only for several nodes."""
    code_patch = Entry(CODE_PATCH)
    """How the code differed from its commit, there only where it did."""
    environment = Entry(f"{PROVENANCE}/environment.json")
    """Python, packages and machine of the first attempt."""
    constraints = Entry(f"{PROVENANCE}/constraints.txt")
    hub_model = Entry(f"{PROVENANCE}/model.json")
    """Which commit of a hub's model is trained."""
    data_used = Entry(f"{PROVENANCE}/data.json")
    """The data files as they were when the first attempt read them."""

    health = Entry("health")
    excluded = Entry("health/excluded.json")
    """Nodes that failed this run, and why."""

    logs = Entry("logs")
    events = Entry("logs/events.jsonl")
    """JSON events of rank 0, one a line: what the CLI follows."""

    control = Entry("control")
    stop = Entry("control/stop")
    """Its existence asks the run to save and stop; its text says who asked: `user`, `signal`, `time-limit` or `wandb`."""
    cancel = Entry("control/cancel")
    """Written before a kill, so that the end is recorded as cancelled."""
    writer = Entry("control/writer")
    """Rank 0 of an attempt holds a lock on it as long as it lives; its text says which process that is."""
    secrets = Entry("control/secrets.json")
    """0600: environment variables with keys that the nodes need; removed when the run ends."""
    jobs = Entry("control/jobs")
    """One scheduler job id a line, the newest last; `local PID` for a local attempt."""
    lock = Entry("control/lock")
    """Held while a job is being started; see `locked`."""
    submitting = Entry("control/submitting")
    """There from before a job is submitted until the answer is known: without it no job is unknown."""
    rendered = Entry("control/rendered")
    """Copies of the files as they were rendered, which resuming compares them with."""

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def recipe_word(self) -> str:
        """What names its recipe in a shell's command, whatever is in the path."""
        return shlex.quote(f"recipe={self.recipe}")

    def put_model_back(self) -> None:
        """Undo half a replacement of model/: a kill between its two renames leaves only the former one."""
        if self.former_model.is_dir() and not os.path.lexists(self.model):
            self.former_model.rename(self.model)

    def line_digests(self, number: int) -> Path:
        """Digests of the lines of the data file with this place in data.json."""
        return self.provenance / "lines" / str(number)

    def read_examinations(self) -> list[Examination]:
        """What is kept of each split that was examined, the validation data first. Raises DamagedFile."""
        from launcher.runs.examination import Examination

        if self.evaluated.is_symlink() or not self.evaluated.is_dir():
            return []
        files = [
            path
            for path in sorted(self.evaluated.iterdir())
            if path.suffix == ".json" and path.name[0] != "."
        ]
        found = [make(Examination, read_json(path) or {}, str(path)) for path in files]
        return sorted(found, key=lambda each: (each.split != "validation", each.split != "test"))

    def preflight(self, attempt: int) -> Path:
        """What each node of an attempt said of itself before it trained, and what was found."""
        return self.health / "preflight" / str(attempt)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other command is starting a job, and keep others waiting meanwhile."""
        with locked(self.lock):
            yield

    def job_log(self, job: str) -> Path:
        """What the job script and torchrun print, for a line of control/jobs."""
        return self.logs / f"job_{job.split(maxsplit=1)[0]}.log"

    def last_job(self) -> str | None:
        """The newest line of control/jobs. Raises DamagedFile where that is no job."""
        return next(iter(self.all_jobs()), None)

    def all_jobs(self) -> list[str]:
        """Every job in control/jobs once, the newest first. Raises DamagedFile where a line is no job."""
        lines = (read_text(self.jobs) or "").splitlines()
        jobs = [Job.parse(line) for line in lines]
        if None in jobs:
            raise DamagedFile("holds a line that is no job", where=str(self.jobs))
        return list(dict.fromkeys(map(str, reversed(jobs))))

    def add_job(self, job: str) -> None:
        """Append a line to control/jobs. Raises ValueError where that is no job."""
        if Job.parse(job) is None:
            raise ValueError(f"not a job: {job!r}")
        with os.fdopen(open_to_append(self.jobs), "w") as file:
            file.write(job + "\n")

    def stop_requested_by(self) -> str | None:
        """Who asked for a stop, or None where nobody did; the user, where a full disk took no word of whom."""
        text = read_text(self.stop, WORD_BYTES)
        return None if text is None else text.strip() or "user"

    def discard(self) -> None:
        """Remove the whole directory: nothing of this run ever started."""
        _remove_tree(self.path)

    def rank_log(self, rank: int) -> Path:
        return self.logs / f"rank_{rank}.log"

    def node_use(self, node: int) -> Path:
        """What a node was busy with, a line now and then; nodes count from 0."""
        return self.logs / f"node_{node}.jsonl"

    def rank_samples(self, rank: int) -> Path:
        return self.samples / f"rank_{rank}.jsonl"

    def attempt(self, number: int) -> AttemptDir:
        return AttemptDir(self.attempts / str(number))

    def attempt_numbers(self) -> list[int]:
        """Numbers of the attempts that have started, in order. Raises DamagedFile where that is no directory."""
        try:
            names = [entry.name for entry in self.attempts.iterdir()]
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise DamagedFile("is no directory", where=str(self.attempts)) from None
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))

    def checkpoint_directories(self) -> list[Path]:
        """`checkpoints/step_N` by N, whatever they hold; none where there are none."""
        found = {path: path.name.removeprefix("step_") for path in self.checkpoints.glob("step_*")}
        steps = {path: int(step) for path, step in found.items() if _STEP.fullmatch(step) and path.is_dir()}
        return sorted(steps, key=steps.__getitem__)

    def last_attempt(self) -> AttemptDir | None:
        numbers = self.attempt_numbers()
        return self.attempt(numbers[-1]) if numbers else None

    def read_result(self) -> Result | None:
        """result.json, or None while the run has not ended. Raises DamagedFile."""
        return read_result(self.result)

    def write_result(self, result: Result) -> None:
        """Write result.json, where no key and no password stands in the words of an error."""
        error = result.error
        if error is not None:
            error = replace(error, message=without_secrets(error.message, self._environment()))
        write_json(self.result, replace(result, error=error).tree())

    def _environment(self) -> Mapping[str, str]:
        """The variables of this process, and the keys that went into the run by a file."""
        with contextlib.suppress(OSError, DamagedFile):
            return {
                **os.environ,
                **{name: str(value) for name, value in (read_json(self.secrets) or {}).items()},
            }
        return os.environ

    def read_latency(self) -> Latency | None:
        """latency.json, or None where nobody has asked. Raises DamagedFile."""
        from launcher.runs.results import Latency

        return read_record(Latency, self.latency)

    def read_plan(self) -> RunPlan:
        """plan.json. Raises UserError where this is no run, or DamagedFile."""
        from launcher.runs.run_plan import read_plan_tree

        return read_plan_tree(self.plan_tree(), str(self.plan))

    def plan_tree(self) -> dict[str, Any]:
        """plan.json as it stands, for what is printed or written again."""
        plan = read_json(self.plan)
        if plan is None:
            raise UserError("is not a run directory: it has no plan.json", where=str(self.path))
        return plan


def read_result(path: Path) -> Result | None:
    """The result in a file, or None where there is none. Raises DamagedFile."""
    from launcher.runs.results import Result

    return read_record(Result, path)


def create(path: Path, files: Mapping[str, str], *, shared: bool = False) -> RunDir:
    """Make a run directory holding `files` (relative path -> text): complete or not at all.

    Where it is shared, its group may list it, and the directory that it lies in where that is made as well.
    Raises UserError where the directory exists already or can't be made.
    """
    import tempfile

    staging = None
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if shared:
                let_group_list(path.parent)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        for name in ("attempts", "checkpoints", "logs", "control"):
            (staging / name).mkdir(mode=0o700)
        for relative, text in files.items():
            target = staging / relative
            target.parent.mkdir(mode=0o700, exist_ok=True)
            write_text(target, text)
        (staging / "control" / "rendered").mkdir(mode=0o700)
        for name in COMPARED:
            if name in files:
                write_text(staging / "control" / "rendered" / name, files[name])
        if shared:
            let_group_list(staging)
        staging.rename(path)
    except BaseException as error:
        if staging is not None:
            _remove_tree(staging)
        if not isinstance(error, OSError):
            raise
        if paths.exists(path):
            raise UserError(
                "already exists",
                field="run_id",
                value=path.name,
                remedy=f"launch resume {path.name}, or another run_id",
            ) from None
        raise UserError(f"can't be made: {error.strerror}", where=str(path)) from None
    return RunDir(path)


@contextlib.contextmanager
def removed_if_refused(runs_dir: Path) -> Iterator[None]:
    """Leave no new directory of runs behind where the first run in it is refused."""
    existed = paths.exists(runs_dir)
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                runs_dir.rmdir()
        raise


def _remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
