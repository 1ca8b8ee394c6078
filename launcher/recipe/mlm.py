"""The section `mlm`, of masked-lm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Line, Record, Section, Share


class Probe(Record):
    """A sentence that shows what a masked language model has learnt."""

    text: Line
    """The sentence, with [MASK] (or the model's own mask token) where a word is hidden."""
    answer: Line
    """The expected answer: as many tokens as there are masks."""


class MaskedWords(Section):
    """Masked language modelling (Devlin et al., 2019), used where `task=masked-lm`."""

    decides = Decides("training")

    probability: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the words that are hidden; at least one in each example."""
    mask: Share = 0.8
    """Share of the hidden tokens that [MASK] replaces."""
    random: Share = 0.1
    """Share of the hidden tokens that a random token replaces; the rest stays as it is."""
    whole_word: Annotated[bool, Decides("tokens", "training")] = False
    """Hide all tokens of a word together (Cui et al., 2021)."""
    segmenter: Annotated[Literal["jieba"] | None, Decides("tokens", "training")] = None
    """What splits Chinese text into words for mlm.whole_word; null takes the tokenizer's words."""
    probes: Annotated[tuple[Probe, ...], Decides("evaluation")] = ()
    """Sentences with an expected answer, tried before, during and after training."""
