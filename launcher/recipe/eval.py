"""The section `eval`: evaluation during training."""

from __future__ import annotations

from pydantic import Field

from launcher.recipe.fields import Every, Name, PathOrId, Section


class Eval(Section):
    """Evaluation during training."""

    every: Every | None = "epoch"
    """Steps between evaluations, or `epoch`; null evaluates only at the end."""
    metric: Name | None = None
    """Metric that chooses the best checkpoint; null means the task's own (accuracy, f1, pearson, ...)."""
    extra: dict[Name, PathOrId] = Field(default_factory=dict)
    """More test files by name, such as one for each language: {de: de.csv, fr: fr.csv}; used once, after training."""
    tune_thresholds: bool = True
    """multilabel: choose each label's threshold for the best F1 on the validation data; otherwise it is a half."""
