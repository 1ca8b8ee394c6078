"""What differs between two runs: recipe, plan, code, versions, data and results, each looked up in what they recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.recipe.recipe import leaf_values
from launcher.report.data_difference import data_notes, lacking
from launcher.report.sameness import computed_alike
from launcher.runs.directory import RunDir
from launcher.runs.drills import Sameness
from launcher.runs.provenance import Environment, environments, read_environment, read_origins
from launcher.runs.records import read_text

IDENTITY = ("run_id", "runs_dir")
"""Keys of a recipe that differ between any two runs."""
NOT_PLANNED = ("plan_id", "run_id", "run_dir", "notes", "recipe", "python", "git_commit", "launcher_version")
"""Parts of a plan that stand elsewhere, or say nothing about what is computed."""
MOST_PATCH_BYTES = 1 << 21


@dataclass(frozen=True)
class Entry:
    """One thing in which they differ; None where it is not there, or not recorded."""

    name: str
    one: Any
    two: Any
    one_from: str | None = None
    """Who gave the value: `roberta-cls.yaml:7`, `override`, `default`."""
    two_from: str | None = None


@dataclass(frozen=True)
class Section:
    """One kind of thing that was compared."""

    name: str
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    """What a table can't show, such as the lines of data that differ, and what is not recorded."""
    findings: tuple[Sameness, ...] = ()
    """Whether they computed the same."""

    @property
    def differs(self) -> bool:
        return bool(self.entries or self.notes or self.findings)

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = {"findings": [vars(finding) for finding in self.findings]} if self.findings else {}
        return {"entries": [vars(entry) for entry in self.entries], "notes": list(self.notes), **found}


def differences(one: RunDir, two: RunDir) -> tuple[Section, ...]:
    """Everything in which two runs differ, by kind. Raises DamagedFile."""
    return (*made_of(one, two), _results(one, two))


def made_of(one: RunDir, two: RunDir) -> tuple[Section, ...]:
    """What went in: all but the results."""
    here = read_environment(one), read_environment(two)
    plans = one.plan_tree(), two.plan_tree()
    return (
        Section("recipe", tuple(recipe_entries(plans[0]["recipe"], plans[1]["recipe"], (one, two)))),
        Section("plan", tuple(plan_entries(*plans))),
        _code(one, two, here),
        _versions(one, two, here),
        Section("machine", tuple(machine_entries(*here))),
        Section("data", notes=tuple(data_notes(one, two))),
    )


def recipe_entries(
    one: Mapping[str, Any], two: Mapping[str, Any], runs: tuple[RunDir, RunDir]
) -> Iterator[Entry]:
    """Keys with other values, and who gave them in these runs."""
    origins = list(map(read_origins, runs))
    for entry in _entries(dict(leaf_values(one)), dict(leaf_values(two))):
        if entry.name not in IDENTITY:
            gave = (found.get(entry.name, "default") if found else None for found in origins)
            yield Entry(entry.name, entry.one, entry.two, *gave)


def plan_entries(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Entry]:
    """What was planned otherwise, predictions left out: they follow from the rest."""
    predicted = ("memory.", "traffic.", "throughput.", "sharding")
    flat = [
        {
            key: value
            for key, value in leaf_values({k: v for k, v in plan.items() if k not in NOT_PLANNED})
            if not key.startswith(predicted)
        }
        for plan in (one, two)
    ]
    return _entries(*flat)


def _code(one: RunDir, two: RunDir, here: tuple[Environment | None, Environment | None]) -> Section:
    plans = one.read_plan(), two.read_plan()
    sides = [
        {
            "launcher version": plan.launcher_version,
            "commit": plan.git_commit,
            "changes to it": _patch(run),
            "hash of the code": found and found.code,
        }
        for plan, run, found in zip(plans, (one, two), here, strict=True)
    ]
    return Section("code", tuple(_entries(*sides)), lacking((one, two), here))


def _patch(run: RunDir) -> str | None:
    """A patch in a few words."""
    text = read_text(run.code_patch, MOST_PATCH_BYTES)
    if text is None:
        return None
    lines = text.splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return f"{sum(line.startswith('diff --git ') for line in lines)} files, +{added} -{removed} lines"


def _versions(one: RunDir, two: RunDir, here: tuple[Environment | None, Environment | None]) -> Section:
    notes = [
        f"attempt {number} of {run.run_id} had other {_otherwise(own, found)}: {run.attempt(number).environment}"
        for run, own in zip((one, two), here, strict=True)
        for number, found in environments(run).items()
    ]
    first, second = here
    if first is None or second is None:
        return Section("versions", notes=tuple(notes))
    entries = version_entries(first.python, first.packages, second.python, second.packages)
    return Section("versions", tuple(entries), tuple(notes))


def _otherwise(first: Environment | None, later: Environment) -> str:
    """What of an attempt's environment is not as in the first attempt, in a few words."""
    if first is None:
        return "things around it"
    parts = [
        name
        for name in ("python", "system", "machine", "gpus", "threads", "code")
        if getattr(first, name) != getattr(later, name)
    ]
    names = sorted(dict(first.packages.items() ^ later.packages.items()))
    return (
        " and ".join([*parts, *([f"packages ({', '.join(names)})"] if names else [])]) or "things around it"
    )


def version_entries(
    python: str, packages: Mapping[str, str], other_python: str, other_packages: Mapping[str, str]
) -> Iterator[Entry]:
    """Python and packages that differ."""
    yield from _entries({"python": python}, {"python": other_python})
    yield from _entries(packages, other_packages)


def machine_entries(one: Environment | None, two: Environment | None) -> Iterator[Entry]:
    """System, CPU, GPUs and threads that differ."""
    if one is None or two is None:
        return iter(())
    sides = [
        {"system": it.system, "CPU": it.machine, "GPUs": _gpus(it), "threads": it.threads}
        for it in (one, two)
    ]
    return _entries(*sides)


def _gpus(environment: Environment) -> str:
    return ", ".join(environment.gpus) or "none"


def _results(one: RunDir, two: RunDir) -> Section:
    sides = []
    for run in (one, two):
        result = run.read_result()
        best, test = (None, None) if result is None else (result.best, result.test)
        sides.append(
            {
                "status": None if result is None else result.status,
                "steps": None if result is None else result.steps,
                **({} if best is None else {f"best {best.metric}": best.value, "best step": best.step}),
                **{f"test {name}": value for name, value in (test or {}).items()},
            }
        )
    return Section("results", tuple(_entries(*sides)), findings=computed_alike(one, two))


def told(finding: Sameness) -> str:
    """A finding in one line."""
    if not finding.count:
        return f"{finding.what}: there are none"
    first = f"; first: {finding.difference}" if finding.difference else ""
    return f"{finding.what}: {finding.same} of {finding.count} are the same{first}"


def _entries(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Entry]:
    for name in dict.fromkeys([*one, *two]):
        if _written(one.get(name)) != _written(two.get(name)):
            yield Entry(name, one.get(name), two.get(name))


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
