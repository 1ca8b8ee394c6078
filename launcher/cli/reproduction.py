"""What stands in the way of running a run again as it was, and the command that does it."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import paths
from launcher.cli.recorded_code import recorded_code
from launcher.errors import Problem, UserError
from launcher.executors import SCHEDULERS
from launcher.planning.prepare import prepare
from launcher.reading.data_section import files
from launcher.reading.files import content_hash
from launcher.report.difference import plan_entries, version_entries
from launcher.runs.directory import RunDir
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.provenance import (
    PACKAGE,
    Environment,
    code_digest,
    installed_packages,
    read_data_used,
    read_environment,
    read_hub_model,
)
from launcher.runs.records import make, parse_object

MAY_BE_GIVEN = (
    *(
        "run_id",
        "description",
        "time",
        "cluster",
        "executor",
        "requeue",
        "tracking.",
        "checkpoint.",
        "debug.",
    ),
    *("data.train", "data.validation", "data.test", "data.cache_dir"),
)
"""Keys, and starts of keys, that say where it runs and where its data are; all else is what is reproduced."""
PLACE = ("nodes", "gpus", "world_size", "device")
COMPUTES = (
    *("python", "torch", "triton", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "pyarrow"),
    *("deepspeed", "peft", "datasets", "safetensors", "sentencepiece", "pytorch-optimizer", "jieba"),
)
"""What decides what is computed; other packages may differ."""
LIBRARIES = "nvidia-"
"""The start of the names of the libraries that PyTorch computes with on a GPU."""
ASK = (
    "import json, platform; from launcher.runs.provenance import installed_packages; "
    "print(json.dumps({'python': platform.python_version(), 'packages': installed_packages()}))"
)


@dataclass(frozen=True)
class Reproduction:
    """How a run is to be done again."""

    words: tuple[str, ...]
    """Of `launch run`."""
    code: Path | None
    """The directory with the recorded code; None where it is the one that runs now."""
    differences: tuple[Problem, ...]
    """Why it can't come out the same."""


def reproduction(run: RunDir, given: Sequence[str], runs_dir: Path) -> Reproduction:
    """What it takes. Raises UserError where the run is no model to go by, or `given` changes what is reproduced."""
    _refuse_unfinished(run)
    _refuse_other_keys(given)
    recorded = read_environment(run)
    if recorded is None:
        text = "its versions and data are not recorded: an older launch ran it"
        problem = Problem(
            text,
            run.run_id,
            remedy=f"launch {run.recipe_word} run_id=null trains it anew",
        )
        raise UserError(problem)
    found: list[Problem] = []
    code = _code(run, recorded, runs_dir, found)
    words = [f"recipe={run.recipe}", *_own_words(run, given, runs_dir)]
    words += _place(run, words, found) if code is None else _pins(run)
    found += [*_data_differences(run, given), *_version_differences(run, recorded)]
    return Reproduction(tuple(words), code, tuple(found))


def _refuse_unfinished(run: RunDir) -> None:
    result = run.read_result()
    if result is None or result.status != "completed":
        status = "has not ended" if result is None else f"is {result.status}"
        remedy = f"launch resume {run.run_id} completes it"
        raise UserError(f"{status}: only a completed run can be reproduced", run.run_id, remedy=remedy)


def _refuse_other_keys(given: Sequence[str]) -> None:
    allowed = ", ".join(key + "*" if key.endswith(".") else key for key in MAY_BE_GIVEN)
    problems = [
        Problem(
            "is part of what is reproduced",
            "override",
            word.partition("=")[0],
            None,
            f"these can be: {allowed}",
        )
        for word in given
        if not _may_be_given(word)
    ]
    if problems:
        raise UserError(problems)


def _may_be_given(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and any(
        key.startswith(name) if name.endswith(".") else key == name for name in MAY_BE_GIVEN
    )


def _own_words(run: RunDir, given: Sequence[str], runs_dir: Path) -> Iterator[str]:
    keys = {word.partition("=")[0] for word in given}
    own = {
        "runs_dir": str(runs_dir.absolute()),
        "run_id": _free_name(run, runs_dir),
        "tracking.wandb.mode": "disabled",
    }
    if (model := read_hub_model(run)) is not None:  # its branch may have moved since
        own["model.revision"] = model.commit
    yield from given
    yield from (f"{key}={json.dumps(value)}" for key, value in own.items() if key not in keys)


def _free_name(run: RunDir, runs_dir: Path) -> str:
    numbers = (f"{run.run_id[:90]}-again-{number}" for number in range(1, 10_000))
    return next(name for name in numbers if not paths.exists(runs_dir / name))


def _code(run: RunDir, recorded: Environment, runs_dir: Path, found: list[Problem]) -> Path | None:
    if code_digest(PACKAGE) == recorded.code:
        return None
    try:
        return recorded_code(run, recorded.code, runs_dir.absolute() / ".code", PACKAGE.parent)
    except UserError as error:
        found.extend(error.problems)
        return None


def _pins(run: RunDir) -> list[str]:
    """What `auto` came to, so that it comes to the same."""
    plan = run.read_plan()
    return [f"gpus={plan.gpus}", f"device={plan.device}"]


def _place(run: RunDir, words: Sequence[str], found: list[Problem]) -> list[str]:
    """Words that bring the plan to that of the run; what of it stays otherwise is added to `found`."""
    before = run.plan_tree()
    more: list[str] = []
    entries = _planned_otherwise(before, words)
    if {entry.name for entry in entries} & set(PLACE):
        more = _pins(run)
        entries = _planned_otherwise(before, [*words, *more])
    found += [
        Problem(f"is planned as {entry.two} here, and was {entry.one}", field=entry.name) for entry in entries
    ]
    return more


def _planned_otherwise(before: Mapping[str, Any], words: Sequence[str]) -> list[Any]:
    plan = prepare(words, environment(os.environ), Path.cwd()).plan.tree()
    unimportant = ("name", "executor", "cluster.", "steps.train_examples", *SCHEDULERS)
    return [entry for entry in plan_entries(before, plan) if not entry.name.startswith(unimportant)]


def environment(environ: Mapping[str, str], code: Path | None = None) -> dict[str, str]:
    """Variables for the run: those that override keys of a recipe are left out, the recorded code comes first."""
    kept = ("LAUNCH_COMPAT", "LAUNCH_RUNS_DIR")
    found = {name: value for name, value in environ.items() if not name.startswith("LAUNCH_") or name in kept}
    if code is not None:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), found.get("PYTHONPATH")]))
    return found


def _data_differences(run: RunDir, given: Sequence[str]) -> Iterator[Problem]:
    used = read_data_used(run)
    places = {word.partition("=")[0] for word in given}
    for file in () if used is None else used.files:
        if f"data.{file.split}" in places:
            continue
        path = Path(file.path)
        if not paths.is_file(path):
            remedy = f"put it back, or say where it is: data.{file.split}=FILE"
            yield Problem("is no longer there", file.path, remedy=remedy)
        elif content_hash(path) != file.sha256:
            remedy = f"launch diff names the lines once it has run; or say where the old file is: data.{file.split}=FILE"
            yield Problem("is not what was trained on: its contents changed", file.path, remedy=remedy)
    yield from _given_data_differences(run, given)


def _given_data_differences(run: RunDir, given: Sequence[str]) -> Iterator[Problem]:
    """Files that are named now, and are not those of before."""
    used = read_data_used(run)
    splits = [word.partition("=")[0].removeprefix("data.") for word in given if word.startswith("data.")]
    if used is None or not splits:
        return
    data = prepare(
        [f"recipe={run.recipe}", "run_id=null", *given], environment(os.environ), Path.cwd()
    ).plan.recipe.data
    for split in splits:
        before = [file.sha256 for file in used.files if file.split == split]
        now = [content_hash(path) for path in files(getattr(data, split, None))]
        if split in ("train", "validation", "test") and before != now:
            yield Problem("holds other data than the run's own", field=f"data.{split}")


def _version_differences(run: RunDir, recorded: Environment) -> Iterator[Problem]:
    here = _installed(run)
    if here is None:
        return
    for entry in version_entries(recorded.python, recorded.packages, here.python, here.packages):
        if entry.name in COMPUTES or entry.name.startswith(LIBRARIES):
            remedy = (
                f"pip install {entry.name}=={entry.one}" if entry.one and entry.name != "python" else None
            )
            text = f"{entry.two or 'missing'} is installed, {entry.one or 'none'} was used"
            yield Problem(text, field=entry.name, remedy=remedy)


@dataclass(frozen=True)
class Installed:
    """What a Python has."""

    python: str
    packages: Mapping[str, str]


def _installed(run: RunDir) -> Installed | None:
    """Python and packages of the Python that will train; None where it can't be asked from here."""
    python = planned_python(run)
    if python == sys.executable:
        return Installed(platform.python_version(), installed_packages())
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    try:
        done = subprocess.run(
            [python, "-P", "-c", ASK], capture_output=True, timeout=60, check=False, env=variables, text=True
        )
        return make(Installed, parse_object(done.stdout, python), python)
    except (OSError, ValueError, subprocess.SubprocessError, UserError):  # a name with a NUL is a ValueError
        return None


def planned_python(run: RunDir) -> str:
    """The Python that will train: the cluster profile's, or this one."""
    return run.read_plan().cluster.python or sys.executable


def perform(planned: Reproduction, run: RunDir) -> dict[str, Any]:
    """`launch run` to its end, its progress on stderr; the document that it printed.

    Ctrl-C reaches it as it reaches us: it saves, and stops.
    """
    loss = ["--loss-file", str(run.loss)] if run.loss.is_file() else []
    command = [sys.executable, "-P", "-m", "launcher", "run", *planned.words, *loss, "--follow", "--json"]
    variables = environment(os.environ, planned.code)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables, encoding="utf-8") as process:
        before = {
            number: signal.signal(number, _pass_on(process, number))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            out, _ = process.communicate()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    try:
        return {"exit_code": process.returncode, **parse_object(out, "launch run")}
    except UserError:
        return {"exit_code": process.returncode}


def _pass_on(process: subprocess.Popen[str], number: signal.Signals) -> Any:
    """A terminal sends Ctrl-C to both of us; others come to one."""

    def handler(*_: object) -> None:
        if number != signal.SIGINT:
            process.send_signal(number)

    return handler


def is_deterministic(run: RunDir) -> bool:
    """Whether the same steps give the same bits on the same machine: always on a CPU."""
    return run.read_plan().device == "cpu" or planned_recipe(run).deterministic
