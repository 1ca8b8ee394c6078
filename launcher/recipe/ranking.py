"""The section `ranking`."""

from __future__ import annotations

from typing import Annotated

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Positive, Section


class Ranking(Section):
    """Ranking documents for queries, used where `task=ranking`."""

    decides = Decides("training")

    max_relevance: Annotated[Positive, Decides("tokens", "training")] = 1.0
    """The highest relevance in the data; the lowest is 0."""
