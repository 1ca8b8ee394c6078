"""The section `debug`: switches for proving what a run does."""

from __future__ import annotations

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Section


class Debug(Section):
    """Switches for proving what a run does."""

    decides = Decides("execution")

    samples: bool = False
    """Write the example ids of every step to samples/rank_R.jsonl."""
