"""The sections of a recipe that belong to one task each, as docs/tasks.md describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.fields import Count, Finite, Line, NonNegative, Positive, Section, Share


class Probe(Section):
    """A sentence that shows what a masked language model has learnt."""

    text: Line
    """The sentence, with [MASK] (or the model's own mask token) where a word is hidden."""
    answer: Line
    """What is expected there: as many tokens as there are masks."""


class MaskedWords(Section):
    """Masked language modelling (Devlin et al., 2019), used where `task=masked-lm`."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the words that are hidden; at least one in each example."""
    mask: Share = 0.8
    """Share of the hidden tokens that [MASK] replaces."""
    random: Share = 0.1
    """Share of the hidden tokens that a random token replaces; what is left stays as it is."""
    whole_word: bool = False
    """Hide all tokens of a word together (Cui et al., 2021)."""
    segmenter: Literal["jieba"] | None = None
    """What finds the words of Chinese text for mlm.whole_word; null takes the tokenizer's words."""
    probes: tuple[Probe, ...] = ()
    """Sentences with an expected answer, tried before, during and after training."""


class Questions(Section):
    """Extractive question answering, used where `task=question-answering`."""

    unanswerable: bool = False
    """Whether some questions have no answer in their context, as in SQuAD 2.0; the answer may then be empty."""
    null_threshold: Finite = 0.0
    """By how much the score of no answer must be above the best answer's to be given."""
    max_answer: Count = 30
    """Longest answer in tokens."""


class Ranking(Section):
    """Ranking documents for queries, used where `task=ranking`."""

    max_relevance: Positive = 1.0
    """The highest relevance in the data; the lowest is 0."""


class Tagging(Section):
    """Tagging words, used where `task=token-classification`."""

    crf: bool = False
    """Learn which tags follow each other, by a linear-chain CRF (Lafferty et al., 2001), instead of each word by itself."""
    scheme: Literal["auto", "bio", "bioes", "none"] = "auto"
    """How tags make entities; auto sees it by the tags, none takes each tagged word as an entity of its own."""
    constrain: bool = True
    """Predict only what the scheme allows: no I-PER behind O or B-LOC."""
    penalty: NonNegative = 0.0
    """Weight in the loss of -log P(the tags of a sentence are what the scheme allows) (Xu et al., 2018)."""
