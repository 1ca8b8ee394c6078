"""The section `eval`: evaluation during training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Every, Line, LocalPath, Name, Section


class Eval(Section):
    """Evaluation during training."""

    decides = Decides("evaluation")

    every: Annotated[Every | None, Decides("evaluation", "training")] = "epoch"
    """Steps between evaluations, or `epoch`; null evaluates only at the end."""
    metric: Annotated[Line | None, Decides("evaluation", "training")] = None
    """Metric that chooses the best checkpoint; null means the task's own (accuracy, f1, pearson, ...)."""
    extra: dict[Name, LocalPath] = Field(default_factory=dict)
    """More test files by name, such as one for each language: {de: de.csv, fr: fr.csv}; used once, after training."""
    tune_thresholds: bool = True
    """multilabel: choose each label's threshold for the best F1 on the validation data; otherwise all are 0.5."""
