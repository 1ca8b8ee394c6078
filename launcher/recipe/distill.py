"""The section `distill`: learning from a teacher."""

from __future__ import annotations

from launcher.recipe.decides import Decides
from launcher.recipe.fields import NonNegative, PathOrId, Positive, Section, Share


class Distill(Section):
    """Knowledge distillation (Hinton et al., 2015) from a larger model of the same family."""

    decides = Decides("training")

    teacher: PathOrId | None = None
    """The teacher: a run (id, beginning of one, or directory) or a model's directory; null distils nothing."""
    temperature: Positive = 2.0
    """Divides the logits of both models before they are compared."""
    weight: Share = 0.5
    """Weight of the teacher in the loss; the labels have the rest."""
    hidden: NonNegative = 0.0
    """Weight of the cosine distance between the states of the first token in the last layer (models of the same width)."""
