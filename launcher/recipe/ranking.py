"""The section `ranking`."""

from __future__ import annotations

from launcher.recipe.fields import Positive, Section


class Ranking(Section):
    """Ranking documents for queries, used where `task=ranking`."""

    max_relevance: Positive = 1.0
    """The highest relevance in the data; the lowest is 0."""
