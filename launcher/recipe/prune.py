"""The section `prune`: making a model smaller, or sparse."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Probability, Section


class Prune(Section):
    """Pruning: heads, neurons and layers are really removed; the training that follows recovers what was lost."""

    decides = Decides("training")

    heads: Probability = 0.0
    """Share of each layer's attention heads to remove; the hidden width shrinks with them."""
    ffn: Probability = 0.0
    """Share of each layer's feed-forward neurons to remove."""
    layers: Annotated[int, Field(ge=0)] = 0
    """How many layers to remove, those that matter least."""
    examples: Count = 512
    """Training examples to measure what matters on."""
    magnitude: Probability = 0.0
    """Share of the weights of each matrix in the layers to hold at zero, the smallest first; the shape stays."""
    schedule: Literal["gradual", "one_shot"] = "gradual"
    """How prune.magnitude is reached: step by step over the first 70% of the training, or before its first step."""

    @property
    def shrinks(self) -> bool:
        """Whether parts of the model are taken out."""
        return bool(self.heads or self.ffn or self.layers)
