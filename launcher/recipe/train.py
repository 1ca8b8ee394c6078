"""The section `train`: optimizer, schedule, loss and regularisation, as docs/techniques.md describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Every, Line, NonNegative, Positive, Probability, Section, Warmup
from launcher.recipe.optimizers import Optimizer


class EarlyStopping(Section):
    """Stop when the monitored metric has not improved for a while."""

    decides = Decides("training")

    metric: Line | None = None
    """Metric to watch, such as `accuracy` or `loss`; null means eval.metric."""
    patience: Count | None = None
    """Evaluations without improvement before stopping; null never stops early."""
    min_delta: NonNegative = 0.0
    """Smallest change that counts as an improvement."""


class Loss(Section):
    """The loss, if a task leaves a choice; docs/techniques.md says which task takes which."""

    decides = Decides("training")

    name: (
        Literal[
            "cross_entropy",
            "focal",
            "mse",
            "mae",
            "huber",
            "custom",
            "pointwise",
            "pairwise",
            "listwise",
            "lambda",
            "infonce",
            "cosent",
            "cosine",
            "triplet",
        ]
        | None
    ) = None
    """Loss for classes, numbers, ranking or vectors (see docs/techniques.md); null: the task's first. custom: --loss-file."""
    label_smoothing: Probability = 0.0
    """cross_entropy: share of the probability that is spread over all classes (Szegedy et al., 2016)."""
    focal_gamma: NonNegative = 2.0
    """focal (Lin et al., 2017): how much it neglects what is right already; 0 is cross-entropy."""
    class_weights: Literal["balanced"] | dict[str, Positive] | None = None
    """Weight of each class, {label: weight}, 1 if left out; balanced: inverse to its frequency in the training data."""
    huber_delta: Positive = 1.0
    """Error beyond which Huber's loss (1964) grows linearly."""


class Decay(Section):
    """Details of the learning rate after warm-up."""

    decides = Decides("training")

    every: Every = "epoch"
    """step, exponential: steps, or `epoch`, in which the rate is multiplied by factor once."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """step, exponential, plateau: factor by which the rate is multiplied."""
    power: Positive = 2.0
    """polynomial: the rate goes to the floor with this power of the steps that are left; 1 is linear."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Lowest rate as a share of train.lr; linear, cosine and polynomial end there."""
    patience: Count = 2
    """plateau: evaluations without improvement of eval.metric before the rate is cut."""
    min_delta: NonNegative = 0.0
    """plateau: smallest change that counts as an improvement."""


class Train(Section):
    """Optimization."""

    decides = Decides("training")

    lr: Positive = 2e-5
    """Peak learning rate."""
    epochs: Positive = 3.0
    """Passes over the training data; a fraction is allowed."""
    max_steps: Count | None = None
    """Optimizer steps, whatever train.epochs says; null means epochs decide."""
    warmup: Warmup = 0.06
    """Linear warm-up: a whole number is steps, a fraction below 1 is a share of all steps."""
    schedule: Literal[
        "linear", "cosine", "constant", "step", "exponential", "polynomial", "inverse_sqrt", "plateau"
    ] = "linear"
    """Learning rate after warm-up; plateau cuts it when eval.metric stops improving. train.decay has the details."""
    decay: Decay = Decay.default()
    """Details of the schedule."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each layer learns at this multiple of the rate of the layer above it; the head has the full rate."""
    head_lr: Positive | None = None
    """Peak learning rate of the head; null means train.lr."""
    crf_lr: Positive | None = None
    """Peak learning rate of a CRF or of ordinal thresholds; null means that of the head."""
    optimizer: Optimizer = "adamw"
    """Optimizer; lamb needs the package pytorch-optimizer. muon: for models from scratch and for LoRA."""
    momentum: Probability = 0.0
    """Momentum of sgd and rmsprop."""
    nesterov: bool = False
    """Nesterov's momentum in sgd."""
    beta1: Probability = 0.9
    """Decay of the first moment, in adamw, adam and lamb, and in muon's AdamW part."""
    beta2: Probability = 0.999
    """Decay of the second moment, in adamw, adam, lamb, rmsprop, and in muon's AdamW part."""
    epsilon: Positive = 1e-8
    """Added to the denominator of the update (not in sgd and adafactor)."""
    weight_decay: NonNegative = 0.01
    """Weight decay, on matrices only: decoupled in adamw, lamb, muon and adafactor, added to the gradient (L2) in the others."""
    loss: Loss = Loss.default()
    """The loss."""
    l1: NonNegative = 0.0
    """Penalty on the sum of the absolute weights of matrices, added to the loss."""
    l2: NonNegative = 0.0
    """Penalty on half the sum of their squares, added to the loss; unlike decoupled weight decay, moments see it."""
    r_drop: NonNegative = 0.0
    """R-Drop (Liang et al., 2021): weight of the divergence between two passes with different dropout; 0 makes one."""
    fgm: NonNegative = 0.0
    """FGM (Miyato et al., 2017): train also on embeddings moved against the loss by this norm in each sequence."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights, which is then evaluated and saved; null averages nothing."""
    unfreeze_every: Every | None = None
    """Train the head first, then one more layer every so many steps (or `epoch`) (Howard and Ruder, 2018)."""
    clip: Positive | None = 1.0
    """Largest norm of the gradient over all parameters; null does not clip."""
    on_nan: Literal["stop", "skip", "rollback"] = "stop"
    """If a loss or gradient is not a number: fail, skip the step, or go back to the last checkpoint, a few times at most."""
    compile: Annotated[Literal["auto", "none", "graph", "inductor"], Decides("execution")] = "auto"
    """How kernels are launched: as CUDA graphs, or fused by torch.compile; auto takes the first that works, none on a CPU."""
    early_stopping: EarlyStopping = EarlyStopping.default()
    """When to stop before the last step."""
