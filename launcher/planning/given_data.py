"""`data.*` keys given with a file to `eval` or `predict`: how this file is read, where it isn't as the run's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from launcher.errors import Problem, UserError
from launcher.loading.resolve import changed
from launcher.reading.data_section import options_for
from launcher.recipe.recipe import Recipe

KEYS = tuple(
    f"data.{name}"
    for name in (
        "text",
        "label",
        "choices",
        "header",
        "columns",
        "delimiter",
        "quoting",
        "format",
        "label_delimiter",
    )
)
"""What may be said of a file; all else was decided by the training."""


def recipe_for(recipe: Recipe, path: Path, words: Sequence[str], cwd: Path) -> Recipe:
    """The run's recipe as it reads the file at `path`, changed by `words` such as `data.text=review`.

    Raises UserError for keys that say more than how a file is read, and for values that don't fit.
    """
    given = {word.partition("=")[0] for word in words}
    wrong = sorted(key for key in given if key not in KEYS)
    if wrong:
        remedy = "these can: " + ", ".join(KEYS)
        raise UserError(
            Problem("can't be given here: the run decided it", "override", key, None, remedy) for key in wrong
        )
    options = asdict(options_for(path, recipe.data))
    own = {f"data.{name}": options[name] for name in ("format", "delimiter", "quoting")}
    own |= {
        "data.source": None,
        "data.train": str(path.absolute()),
        "data.validation": None,
        "data.test": None,
    }
    if "data.header=true" in words and "data.columns" not in given:
        own["data.columns"] = None
    return changed(recipe, own, words, cwd)
