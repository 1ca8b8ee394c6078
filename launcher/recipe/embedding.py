"""The section `embedding`, of vectors of texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Line, LocalPath, NonNegative, Positive, Section


class Prompts(Section):
    """Text put before each text; the same for both if the two sides are alike, as in STS."""

    decides = Decides("tokens", "training")

    query: Line = ""
    """Before the texts of data.text's first column, such as "query: "."""
    document: Line = ""
    """Before those of its second column, of data.negatives and of embedding.corpus, such as "passage: "."""


class Embedding(Section):
    """Vectors of texts, used where `task=embedding`."""

    decides = Decides("training")

    pooling: Literal["mean", "cls"] = "mean"
    """The vector of a text: the mean of its tokens' states, or the state of the first token."""
    normalize: bool = True
    """Whether vectors have length 1; similarity is the cosine in any case."""
    dimensions: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Matryoshka (Kusupati et al., 2022): also train the first 256 and 64 entries, as in [256,64]; null trains only the whole."""
    temperature: Positive = 0.05
    """infonce, cosent: divides the cosines; sentence-transformers calls its inverse scale."""
    margin: NonNegative = 1.0
    """triplet: how much farther than the positive a negative must be, in Euclidean distance."""
    max_score: Annotated[Positive, Decides("tokens", "training")] = 1.0
    """The highest score of a pair in data.label; the lowest is 0."""
    prompts: Prompts = Prompts.default()
    """Text put before each text."""
    corpus: Annotated[LocalPath | None, Decides("evaluation")] = None
    """File of further documents, in data.text's second column, to search in for recall, mrr and ndcg."""
