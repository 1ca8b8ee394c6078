"""A sweep: which trials a command names, which of them are there, and the file that keeps the list.

RUNS_DIR/SWEEP/sweep.json names the trials; each trial is a run beside it, RUNS_DIR/SWEEP.VALUES, like any other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher import paths
from launcher.errors import DamagedFile, Problem, UserError
from launcher.planning.prepare import Checked, Learnt, Prepared, check, plan_files
from launcher.recipe.fields import SAFE_NAME
from launcher.recipe.recipe import Recipe, leaf_values
from launcher.runs import directory as runs
from launcher.runs.directory import RunDir
from launcher.runs.files import locked, write_json
from launcher.runs.records import make, read_json, tree_of
from launcher.runs.trust import believed_plan, refuse_foreign
from launcher.sweeps.grid import points, split_words

LONGEST_ID = 100
RENAME = "give the sweep another name: --name NAME"
LONGEST_NAME = 80
FILE = "sweep.json"
LOCK = "lock"
NOT_READ = (".log", ".lock")
"""Endings of what a scheduler writes, and of the link by which optuna keeps others from its journal."""
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_ARRAY = re.compile(r"array_([1-9][0-9]{0,8})\.sbatch")
_GIVEN_BY_THE_SWEEP = ("run_id", "runs_dir")
Method = Literal["random", "tpe", "halving"]


@dataclass(frozen=True)
class Trial:
    """One point of a sweep: a run's id, and what it has in each key that the sweep changes."""

    run_id: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedTrial(Trial):
    """A trial with its plan and files."""

    prepared: Prepared


@dataclass(frozen=True)
class Search:
    """How the points of a sweep are chosen, where they are no grid, and what goes on with it."""

    method: Method
    trials: int
    """How many points there are to be in all."""
    space: Mapping[str, str]
    """What each key may be, as `space.described` says it."""
    words: tuple[str, ...]
    """Of the command."""
    cwd: str
    """Where paths in the words start."""
    loss_file: str | None = None

    @property
    def needs_results(self) -> bool:
        """Whether a point depends on what the earlier ones have reached."""
        return self.method == "tpe"


@dataclass(frozen=True)
class Listed:
    """What `sweep.json` holds; see `Sweep`."""

    trials: tuple[Trial, ...]
    at_once: int | None = None
    each: int | None = None
    search: Search | None = None


@dataclass(frozen=True)
class Planned:
    """All trials that a command names, planned; nothing is created yet."""

    name: str
    directory: Path
    trials: tuple[PlannedTrial, ...]
    search: Search | None = None

    def refuse_unreachable(self) -> None:
        """Raises UserError where jobs couldn't load their models or data."""
        problems = dict.fromkeys(problem for trial in self.trials for problem in trial.prepared.unreachable)
        if problems:
            raise UserError(problems)


@dataclass(frozen=True)
class Sweep:
    """A sweep that is on disk."""

    directory: Path
    trials: tuple[Trial, ...]
    at_once: int | None = None
    """How many trials run side by side at most, as the newest command said; None where it left that open."""
    search: Search | None = None
    """None of a grid."""
    each: int | None = None
    """How many trials share a job, as the newest command said; None where each has its own."""

    @property
    def name(self) -> str:
        return self.directory.name

    def run(self, trial: Trial) -> RunDir:
        """The trial's run directory."""
        return RunDir(self.directory.parent / trial.run_id)

    def runs(self) -> list[RunDir]:
        """Every trial's run directory, in the order of the grid."""
        return [self.run(trial) for trial in self.trials]

    @property
    def request(self) -> Path:
        """What the command that works the trials off is asked to do by others: `stop` or `cancel`."""
        return self.directory / "request"

    def locked(self) -> AbstractContextManager[None]:
        """Wait until no other command is submitting trials, and keep others waiting meanwhile."""
        return _locked(self.directory)

    def next_array(self) -> Path:
        """Where the next script that starts many trials is written."""
        there = filter(None, (_ARRAY.fullmatch(path.name) for path in self.directory.iterdir()))
        return self.directory / f"array_{max((int(found[1]) for found in there), default=0) + 1}.sbatch"


@dataclass(frozen=True)
class Setting:
    """Where a command was given, and what it names."""

    environ: Mapping[str, str]
    cwd: Path
    name: str | None = None
    """Of the sweep; None where it follows from what is fixed in it."""
    loss: Path | None = None


def plan_sweep(words: Sequence[str], setting: Setting) -> Planned:
    """Plan every trial of the grid. Raises UserError with the mistakes of all of them, each once; creates nothing."""
    fixed, axes = split_words(words)
    return plan_points(fixed, list(points(axes)), list(axes), setting)


def plan_points(
    fixed: Sequence[str],
    points: Sequence[Sequence[str]],
    keys: Sequence[str],
    setting: Setting,
    search: Search | None = None,
) -> Planned:
    """Plan a trial for each point, which gives a value to each of the keys. Raises and creates as `plan_sweep`."""
    if setting.name is not None:
        _refuse_bad(setting.name)
    if any(word.startswith("run_id=") for word in fixed) or "run_id" in keys:
        remedy = "leave run_id out, and name the sweep: --name NAME"
        raise UserError("is what a sweep gives to each trial", field="run_id", remedy=remedy)
    if "runs_dir" in keys:
        remedy = "name one; the trials stand in it beside each other"
        raise UserError("is one for all trials of a sweep", field="runs_dir", remedy=remedy)
    checked = _checked_points(fixed, points, setting)
    sweep = setting.name or _own_name(checked[0], keys, search)
    directory = (setting.cwd / checked[0].loaded.recipe.runs_dir / sweep).resolve()
    if setting.name is not None and search is None:
        keys = _keys_there(directory, keys)
    trials = [_planned_trial(each, keys, sweep, setting.cwd, setting.loss) for each in checked]
    return Planned(sweep, directory, tuple({trial.run_id: trial for trial in trials}.values()), search)


def _keys_there(directory: Path, keys: Sequence[str]) -> Sequence[str]:
    """The keys that tell trials apart: those of the sweep that is there, where a command gives some of them one value."""
    there = read(directory).trials if (directory / FILE).is_file() else ()
    known = list(there[0].values) if there else []
    return known if set(keys) < set(known) else keys


def _checked_points(fixed: Sequence[str], points: Sequence[Sequence[str]], setting: Setting) -> list[Checked]:
    problems: dict[Problem, None] = {}
    checked: list[Checked] = []
    learnt = Learnt()
    for point in points:
        try:
            checked.append(check([*fixed, *point], setting.environ, setting.cwd, learnt))
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise UserError(problems)
    if len({each.loaded.recipe.executor for each in checked}) > 1:
        raise UserError("is one for all trials of a sweep", field="executor", remedy="name one")
    return checked


def write(planned: Planned, at_once: int | None = None, each: int | None = None) -> Sweep:
    """Make the run directory of every trial that isn't there, and add the new ones to the sweep's list.

    Of two commands at the same time, one waits for the other. Raises UserError where a trial of that name is there with
    another plan.
    """
    _refuse_no_sweep(planned.directory)
    _refuse_others(planned)
    planned.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(planned.directory):
        is_new = not (planned.directory / FILE).exists()
        known = () if is_new else _alike(read(planned.directory), planned).trials
        added = (Trial(trial.run_id, trial.values) for trial in planned.trials)
        trials = {trial.run_id: trial for trial in (*known, *added)}
        sweep = Sweep(planned.directory, tuple(trials.values()), at_once, planned.search, each)
        _write(sweep)
        for trial in planned.trials:
            path = _path(planned, trial)
            if not path.exists():
                files, shared = trial.prepared.files, trial.prepared.plan.recipe.shared
                runs.create(path, files, shared=shared)
    return sweep


def _alike(there: Sweep, planned: Planned) -> Sweep:
    """The sweep that is there. Raises UserError where its points are chosen in another way."""
    one, other = (
        None if each is None else (each.method, each.space) for each in (there.search, planned.search)
    )
    if one != other:
        was = "a grid" if there.search is None else f"a {there.search.method} search"
        message = f"is there, and is {was} over other values"
        raise UserError(message, where=planned.name, remedy=RENAME)
    return there


def _locked(directory: Path) -> AbstractContextManager[None]:
    return locked(directory / LOCK)


def _refuse_no_sweep(directory: Path) -> None:
    """Raises UserError where the directory is anything but a sweep's, such as a run's.

    What a command leaves that was killed before there was a list of trials is a sweep's.
    """
    if not paths.exists(directory):
        return
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else ["a file"]
    if FILE not in names and not all(map(_is_begun, names)):
        raise UserError("is there, and no sweep", where=str(directory), remedy=RENAME)


def _is_begun(name: str) -> bool:
    return name == LOCK or name.startswith(f".{FILE}.")


@contextmanager
def nothing_left_if_refused(planned: Planned) -> Iterator[None]:
    """Remove a sweep that was new where its trials are refused, which removes their runs."""
    is_new = not paths.exists(planned.directory)
    with runs.removed_if_refused(planned.directory.parent):
        try:
            yield
        except BaseException:
            if is_new and not any(paths.exists(_path(planned, trial)) for trial in planned.trials):
                shutil.rmtree(planned.directory, ignore_errors=True)
            raise


def _path(planned: Planned, trial: Trial) -> Path:
    return planned.directory.parent / trial.run_id


def forget(sweep: Sweep, named: Iterable[str]) -> list[RunDir]:
    """Take trials that are not `named` off the list; returns their runs, which stay where they are."""
    kept = set(named)
    with sweep.locked():
        there = read(sweep.directory)
        _write(dataclasses.replace(there, trials=tuple(t for t in there.trials if t.run_id in kept)))
    return [sweep.run(trial) for trial in there.trials if trial.run_id not in kept]


def find(reference: str, runs_dir: Path) -> Sweep | None:
    """The sweep of that name or path; None where it is no sweep. Raises as `read`."""
    for directory in (Path(reference), runs_dir / reference):
        path = directory / FILE
        if reference and paths.exists(path) and not paths.is_dir(path):
            return read(directory.resolve())
    return None


def read(directory: Path) -> Sweep:
    """The sweep in a directory. Raises UserError where others own or may change it, DamagedFile where its list is not what
    `write` writes.
    """
    for entry in (directory, *directory.iterdir()):
        if entry.suffix not in NOT_READ:
            refuse_foreign(entry, directory)
    path = directory / FILE
    listed = make(Listed, read_json(path) or {}, str(path))
    for trial in listed.trials:
        if SAFE_NAME.fullmatch(trial.run_id) is None:  # it names a run beside the sweep, and no other place
            raise DamagedFile(f"{trial.run_id!r} is no run's id", where=str(path))
    return Sweep(directory, listed.trials, _count(listed.at_once), listed.search, _count(listed.each))


def _count(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


def _write(sweep: Sweep) -> None:
    listed = Listed(sweep.trials, sweep.at_once, sweep.each, sweep.search)
    write_json(sweep.directory / FILE, tree_of(listed))


def _refuse_others(planned: Planned) -> None:
    problems = []
    for trial in planned.trials:
        run = RunDir(_path(planned, trial))
        if run.path.exists() and believed_plan(run).plan_id != trial.prepared.plan.plan_id:
            message = f"is there with another plan: {_what_changed(run, trial.prepared.plan.recipe)}"
            problems.append(Problem(message, where=trial.run_id, remedy=RENAME))
    if problems:
        raise UserError(problems)


def _what_changed(run: RunDir, recipe: Recipe) -> str:
    """The keys of a run's recipe that are other in this one."""
    was, now = (dict(leaf_values(tree)) for tree in (run.plan_tree()["recipe"], recipe.tree()))
    keys = [key for key in now if key not in _GIVEN_BY_THE_SWEEP and now[key] != was.get(key)]
    if not keys:
        return "its recipe is the same, the data or this machine have changed since"
    named = ", ".join(f"{key} was {json.dumps(was.get(key))}, is {json.dumps(now[key])}" for key in keys[:3])
    return named if len(keys) <= 3 else f"{named}, and {len(keys) - 3} more"


def _planned_trial(
    checked: Checked, keys: Sequence[str], sweep: str, cwd: Path, loss: Path | None
) -> PlannedTrial:
    known = checked.loaded.recipe.by_key()
    values = {key: known[key] for key in keys}
    run_id = trial_id(sweep, values)
    recipe = checked.loaded.recipe.model_copy(update={"run_id": run_id})
    own = dataclasses.replace(checked, loaded=dataclasses.replace(checked.loaded, recipe=recipe))
    return PlannedTrial(run_id, values, plan_files(own, cwd, loss))


def _refuse_bad(name: str) -> None:
    """Raises UserError where a sweep can't have this name: ids of its runs begin with it."""
    if not SAFE_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        remedy = f"letters, digits, '.', '_' and '-', {LONGEST_NAME} at most, the first a letter or a digit"
        raise UserError("can't be the name of a sweep", field="--name", value=name, remedy=remedy)


def trial_id(sweep: str, values: Mapping[str, Any]) -> str:
    """The id of a trial's run: the sweep's name and its values, such as `smoke-sweep-1a2b.lr0.001-seed3`.

    Where they are too long or hold characters that a name can't have, a hash of them tells trials apart.
    """
    short = {key: key.rpartition(".")[2] for key in values}
    clear = len(set(short.values())) == len(values)
    exact = (
        "-".join(f"{short[key] if clear else key}{_text(value)}" for key, value in values.items()) or "only"
    )
    safe = _UNSAFE.sub("_", exact)
    room = LONGEST_ID - len(sweep) - 1
    if safe == exact and len(safe) <= room:
        return f"{sweep}.{safe}"
    return f"{sweep}.{safe[: room - 9]}-{_hash(values)[:8]}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace("e+", "e")


def _own_name(checked: Checked, keys: Sequence[str], search: Search | None) -> str:
    """The same for the same recipe, fixed values and keys, whatever values those keys take in a grid.

    Nor does it matter what W&B is told, which variables of its own may say in one shell and not in another.
    """
    settled = tuple(f"{key}." for key in (*keys, *_GIVEN_BY_THE_SWEEP, "tracking"))
    fixed = {
        key: value
        for key, value in leaf_values(checked.loaded.recipe.tree())
        if not f"{key}.".startswith(settled)
    }
    if search is None:
        return f"{checked.loaded.name[:40]}-sweep-{_hash([fixed, sorted(keys)])[:6]}"
    return f"{checked.loaded.name[:40]}-{search.method}-{_hash([fixed, search.space])[:6]}"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
