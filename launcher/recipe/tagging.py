"""The section `tagging`, of token-classification."""

from __future__ import annotations

from typing import Annotated, Literal

from launcher.recipe.decides import Decides
from launcher.recipe.fields import NonNegative, Section


class Tagging(Section):
    """Tagging words, used where `task=token-classification`."""

    decides = Decides("training")

    crf: bool = False
    """Learn which tags follow each other, by a linear-chain CRF (Lafferty et al., 2001), instead of each word by itself."""
    scheme: Annotated[
        Literal["auto", "bio", "bioes", "none"], Decides("tokens", "training", "evaluation")
    ] = "auto"
    """How tags form entities; auto detects it from the tags, none takes each tagged word as an entity."""
    constrain: Annotated[bool, Decides("evaluation")] = True
    """Predict only what the scheme allows: no I-PER after O or B-LOC."""
    penalty: NonNegative = 0.0
    """Weight in the loss of -log P(the tags of a sentence are what the scheme allows) (Xu et al., 2018)."""
