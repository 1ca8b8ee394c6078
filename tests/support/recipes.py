"""Recipes of which only the data matter, and what the check before a launch says of them."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import UserError
from launcher.reading.check import check_data
from launcher.recipe.recipe import Recipe


def recipe(task: str = "classification", seed: int = 42, **data: Any) -> Recipe:
    """A task and its data."""
    return Recipe.model_validate({"task": task, "seed": seed, "data": data})


def problems(asked: Recipe) -> list[str]:
    """What the check refuses these data for."""
    with pytest.raises(UserError) as caught:
        check_data(asked)
    return [str(problem) for problem in caught.value.problems]
