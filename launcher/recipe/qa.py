"""The section `qa`, of question-answering."""

from __future__ import annotations

from launcher.recipe.fields import Count, Finite, Section


class Questions(Section):
    """Extractive question answering, used where `task=question-answering`."""

    unanswerable: bool = False
    """Whether some questions have no answer in their context, as in SQuAD 2.0; the answer may then be empty."""
    null_threshold: Finite = 0.0
    """By how much the score of no answer must be above the best answer's to be given."""
    max_answer: Count = 30
    """Longest answer in tokens."""
