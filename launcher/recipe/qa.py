"""The section `qa`, of question-answering."""

from __future__ import annotations

from typing import Annotated, Literal

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Finite, Section


class Questions(Section):
    """Extractive question answering, used where `task=question-answering`."""

    unanswerable: Annotated[bool, Decides("tokens", "evaluation")] = False
    """Whether some questions have no answer in their context, as in SQuAD 2.0; the answer may then be empty."""
    null_threshold: Annotated[Finite, Decides("evaluation")] = 0.0
    """How far the score of no answer must exceed the best answer's to win."""
    f1: Annotated[Literal["auto", "words", "characters"], Decides("evaluation")] = "auto"
    """What f1 and exact_match compare; auto takes characters for Chinese, Japanese, Korean or Thai answers, else words."""
    max_answer: Annotated[Count, Decides("evaluation")] = 30
    """Longest answer in tokens."""
