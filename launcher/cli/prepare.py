"""From the words of a command line to a plan and its files, with every mistake found on the way in one error."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher import __version__, datacheck, loading, render, resources, shapes
from launcher.cli import machine
from launcher.datacheck import DataFacts
from launcher.errors import Problem, UserError
from launcher.loading import Loaded
from launcher.plan import DataSize, Identity, Machine, Plan, make_plan, plan_conflicts, resolve_executor
from launcher.recipe import Conflict, Recipe, Scratch
from launcher.shapes import ModelShape


@dataclass(frozen=True)
class Checked:
    """A recipe in which no mistake was found, and what was learnt about it."""

    loaded: Loaded
    machine: Machine
    facts: DataFacts
    shape: ModelShape | None


@dataclass(frozen=True)
class Prepared:
    """A plan and everything that is written for it: relative path -> text."""

    plan: Plan
    files: dict[str, str]


def prepare(assignments: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Prepared:
    """Everything that `run` would submit. Raises UserError with all mistakes; creates nothing."""
    checked = check(assignments, environ, cwd)
    plan = plan_of(checked, cwd)
    recipe_text = loading.dump_recipe(plan.recipe)
    return Prepared(plan, dict(render.render(plan, resources.load_templates(), recipe_text)))


def check(assignments: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Checked:
    """Load a recipe and hold it against the data, the model, this machine and the cluster."""
    problems: list[Problem] = []
    loaded = loading.load(assignments, environ=environ, cwd=cwd)
    facts = _collect(problems, lambda: datacheck.check_data(loaded.recipe), DataFacts())
    shape = _collect(problems, lambda: model_shape(loaded.recipe), None)
    observed = machine.observe(loaded.recipe, loaded.cluster)
    problems += [
        _located(conflict, loaded)
        for conflict in plan_conflicts(loaded.recipe, loaded.cluster, observed, shape)
    ]
    problems += _place_problems(loaded, cwd)
    if problems:
        raise UserError(problems)
    return Checked(loaded, observed, facts, shape)
