"""Losses of one target for each example, class weights, and a loss of the user's own.

Each loss takes float32 logits (n, L) and labels (n,) or (n, L) and gives (n,) terms, one for each example.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.errors import RunFailed, choices
from launcher.recipe.train import Loss

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Weights = torch.Tensor | None


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, settings: Loss, weights: Weights
) -> torch.Tensor:
    """Cross-entropy, or focal loss (Lin et al., 2017), times the weight of each example's class.

    Smoothed labels (Szegedy et al., 2016) are weighted class by class, as torch does it.
    """
    if settings.name != "focal":
        return functional.cross_entropy(
            logits, labels, weights, reduction="none", label_smoothing=settings.label_smoothing
        )
    likelihood = functional.log_softmax(logits, dim=-1).gather(-1, labels[:, None]).squeeze(-1)
    losses = -((1.0 - likelihood.exp()) ** settings.focal_gamma) * likelihood
    return losses if weights is None else losses * weights[labels]


def binary_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, settings: Loss, weights: Weights
) -> torch.Tensor:
    """Mean over labels of the binary cross-entropy, or focal loss; `weights` (L,) are those of positive labels."""
    smoothing = settings.label_smoothing
    smooth = labels * (1.0 - smoothing) + 0.5 * smoothing if smoothing else labels
    losses = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="none")
    if settings.name == "focal":
        wrong = torch.sigmoid(logits) * (1 - labels) + torch.sigmoid(-logits) * labels
        losses = losses * wrong**settings.focal_gamma
    return losses.mean(dim=-1)


def distance(predicted: torch.Tensor, labels: torch.Tensor, settings: Loss) -> torch.Tensor:
    """Squared error, absolute error or Huber's loss (1964) of predictions (n,)."""
    if settings.name == "mae":
        return (predicted - labels).abs()
    if settings.name == "huber":
        return functional.huber_loss(predicted, labels, reduction="none", delta=settings.huber_delta)
    return (predicted - labels).square()


def symmetric_divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean of the two Kullback-Leibler divergences between the softmaxes of logits (..., L), which may be -inf in both."""
    one, other = functional.log_softmax(first, dim=-1), functional.log_softmax(second, dim=-1)
    never = torch.isneginf(one)
    gap = one.masked_fill(never, 0.0) - other.masked_fill(never, 0.0)
    return 0.5 * ((one.exp() - other.exp()) * gap).sum(dim=-1)


def softened_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 * KL(teacher || student) of logits (..., L) over T, which may be -inf in both: T^2 keeps the gradient's size."""
    one, other = (functional.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    never = torch.isneginf(other)
    gap = other.masked_fill(never, 0.0) - one.masked_fill(never, 0.0)
    return temperature**2 * (other.exp() * gap).sum(dim=-1)


def yes_or_no(logits: torch.Tensor) -> torch.Tensor:
    """(..., 2) logits of the softmax that says yes as often as the logistic function of `logits` (...)."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


def class_weights(settings: Loss, names: Sequence[str], labels: NDArray[Any]) -> list[float] | None:
    """Weight of each class from the training labels (n,); None without weights.

    `balanced` gives a class n / (classes * its examples). Raises RunFailed('recipe') for a label that doesn't exist.
    """
    if settings.class_weights != "balanced":
        return _given_weights(settings.class_weights, names)
    counts = np.bincount(labels, minlength=len(names))
    return [len(labels) / (len(names) * count) if count else 1.0 for count in counts.tolist()]


def positive_weights(settings: Loss, names: Sequence[str], labels: NDArray[Any]) -> list[float] | None:
    """Weight of each label where it holds, from the training labels (n, L); None without weights.

    `balanced` gives a label its negative over its positive examples, and 1 where there are none of either: 0 would have it learn
    nothing. Raises RunFailed('recipe') as `class_weights`.
    """
    if settings.class_weights != "balanced":
        return _given_weights(settings.class_weights, names)
    positive = (labels >= 0.5).sum(axis=0)
    return [(len(labels) - count) / count if 0 < count < len(labels) else 1.0 for count in positive.tolist()]


def _given_weights(given: Mapping[str, float] | None, names: Sequence[str]) -> list[float] | None:
    if given is None:
        return None
    for name in given.keys() - set(names):
        raise RunFailed(
            "recipe", f"train.loss.class_weights: there is no label {name!r}", choices(name, list(names))
        )
    return [given.get(name, 1.0) for name in names]


def load_loss(path: Path) -> LossFunction:
    """The function `loss(logits, labels)` of a user's file. Raises RunFailed('recipe') where there is none."""
    try:
        found = runpy.run_path(str(path)).get("loss")
    except Exception as error:
        raise RunFailed(
            "recipe", f"{path.name} can't be executed: {type(error).__name__}: {error}", _OWN_LOSS
        ) from error
    if not callable(found):
        raise RunFailed("recipe", f"{path.name} has no function named loss", _OWN_LOSS)
    return found  # type: ignore[no-any-return]


_OWN_LOSS = "give a file with a function loss(logits, labels) that returns one number for each example"


def own_terms(loss: LossFunction, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n,) terms of the user's loss, in float32. Raises RunFailed('recipe') where it returns anything else."""
    terms = loss(logits, labels)
    is_tensor = isinstance(cast(object, terms), torch.Tensor)  # whatever the file says
    shape = tuple(terms.shape) if is_tensor else type(terms).__name__
    if shape != (len(logits),):
        raise RunFailed(
            "recipe",
            f"the loss of --loss-file returned {shape} for {len(logits)} examples, not a tensor of ({len(logits)},)",
            "return one number for each example, without a mean or sum over the batch",
        )
    return terms.float()
