"""The section `lora`: low-rank adaptation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Name, Positive, Probability, Section


class Lora(Section):
    """Low-rank adaptation (Hu et al., 2021), used where `tuning=lora`."""

    decides = Decides("training")

    r: Count = 8
    """Rank of the update of each adapted matrix."""
    alpha: Positive = 16.0
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: Probability = 0.05
    """Dropout on the input of the adapters."""
    targets: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Leaf names of linear modules to adapt, or all-linear; null takes the attention projections of the family."""
    rslora: bool = False
    """rsLoRA (Kalajdzievski, 2023): multiply the update by alpha / sqrt(r) instead of alpha / r."""
    dora: bool = False
    """DoRA (Liu et al., 2024): learn the length of each weight column separately from its direction."""
    init: Literal["default", "pissa"] = "default"
    """Where adapters start: at zero, or from the largest singular directions of the weights (Meng et al., 2024)."""
    train_embeddings: bool = False
    """Train the word embeddings in full beside the adapters."""
    plus_ratio: Positive = 1.0
    """LoRA+ (Hayou et al., 2024): learning rate of the factor B as a multiple of that of A; 16 is usual."""
