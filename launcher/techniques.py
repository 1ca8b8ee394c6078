"""The sections of a recipe that say how a model learns, as docs/techniques.md describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.fields import Count, Name, NonNegative, Positive, Probability, Section, Warmup


class Lora(Section):
    """Low-rank adaptation (Hu et al., 2021), used where `tuning=lora`."""

    r: Count = 8
    """Rank of the update of each adapted matrix."""
    alpha: Positive = 16.0
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: Probability = 0.05
    """Dropout on the input of the adapters."""
    targets: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Leaf names of the linear modules to adapt; null takes the attention projections of the model's family."""


class Dropout(Section):
    """Dropout probabilities; null keeps what the model's own configuration says."""

    hidden: Probability | None = None
    """After embeddings, attention outputs and feed-forward layers."""
    attention: Probability | None = None
    """On attention probabilities."""
    classifier: Probability | None = None
    """Before the last linear layer of the head."""


class EarlyStopping(Section):
    """Stop when the monitored metric has not improved for a while."""

    metric: Name | None = None
    """Metric to watch, such as `accuracy` or `loss`; null means eval.metric."""
    patience: Count | None = None
    """Evaluations without improvement before stopping; null never stops early."""
    min_delta: NonNegative = 0.0
    """Smallest change that counts as an improvement."""


class Train(Section):
    """Optimization."""

    lr: Positive = 2e-5
    """Peak learning rate."""
    epochs: Positive = 3.0
    """Passes over the training data; a fraction is allowed."""
    max_steps: Count | None = None
    """Optimizer steps, whatever train.epochs says; null means epochs decide."""
    warmup: Warmup = 0.06
    """Linear warm-up: a whole number is steps, a fraction below 1 is a share of all steps."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate after warm-up: linear or cosine decay to zero, or constant."""
    optimizer: Literal["adamw"] = "adamw"
    """Optimizer (AdamW: Loshchilov and Hutter, 2019)."""
    beta1: Probability = 0.9
    """Decay of the first moment."""
    beta2: Probability = 0.999
    """Decay of the second moment."""
    epsilon: Positive = 1e-8
    """Added to the denominator of the update."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay, on matrices only (not on biases, norms or one-dimensional parameters)."""
    clip: Positive | None = 1.0
    """Largest norm of the gradient over all parameters; null does not clip."""
    early_stopping: EarlyStopping = EarlyStopping()
    """When to stop before the last step."""
