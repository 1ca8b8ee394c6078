"""Which metric chooses the best model of each task, and which way each metric is better."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset({"loss", "mse", "mae", "rmse", "perplexity"})

OF_TASK = {
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "regression": "pearson",
    "ordinal": "mae",
    "token-classification": "f1",
    "masked-lm": "perplexity",
    "question-answering": "f1",
    "multiple-choice": "accuracy",
    "ranking": "ndcg",
}
"""What `eval.metric=null` stands for; a test compares it with the tasks themselves."""


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of this metric means a better model."""
    return metric not in LOWER_IS_BETTER
