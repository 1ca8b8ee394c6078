"""The section `model`: the encoder that is fine-tuned, its dropout, head, frozen parts and the shape of one made from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from launcher import resources
from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, PathOrId, Probability, Section

if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[resources.module_names("families")]


class Dropout(Section):
    """Dropout probabilities; null keeps what the model's own configuration says."""

    decides = Decides("training")

    hidden: Probability | None = None
    """After embeddings, attention outputs and feed-forward layers."""
    attention: Probability | None = None
    """On attention probabilities."""
    classifier: Probability | None = None
    """Before the last linear layer of the head."""


class Head(Section):
    """Fully connected layers in the head of classification, multilabel and regression, beside its linear one."""

    decides = Decides("training")

    layers: Annotated[int, Field(ge=0)] = 0
    """Hidden layers; 0 keeps the usual head of the model's family."""
    width: Count | None = None
    """Width of each; null means that of the encoder."""
    dropout: Probability = 0.1
    """Dropout after each."""
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    """Activation of each."""


class Freeze(Section):
    """Parts of the encoder that don't train."""

    decides = Decides("training")

    embeddings: bool = False
    """Whether the embeddings stay as they are."""
    layers: Annotated[int, Field(ge=0)] = 0
    """How many of the lowest layers stay as they are."""


class Scratch(Section):
    """The architecture to build if `model.init=scratch` and `model.name` is null."""

    decides = Decides("training")

    family: FamilyName = resources.default_family()
    """Model family."""
    hidden: Count = 128
    """Width of the hidden states."""
    layers: Count = 2
    """Number of transformer layers."""
    heads: Count = 2
    """Attention heads in each layer; must divide hidden."""
    intermediate: Count = 512
    """Width of the feed-forward layers."""
    vocab: Annotated[int, Field(ge=64), Decides("tokens", "training")] = 4096
    """Largest size of the WordPiece vocabulary that is trained on the training text."""
    lowercase: Annotated[bool, Decides("tokens", "training")] = True
    """Whether the tokenizer lower-cases its input and strips accents."""


class Model(Section):
    """The encoder that is fine-tuned."""

    decides = Decides("training")

    name: Annotated[PathOrId | None, Decides("contents", "training")] = None
    """Hub id or directory of a Hugging Face model; null only with `model.init=scratch`."""
    revision: Annotated[PathOrId | None, Decides("contents", "training")] = None
    """Branch, tag or commit on the hub; null takes the main branch. A run keeps the commit that it began with."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Load pretrained weights, or start from random ones (and, with a null name, a tokenizer trained on the data)."""
    dropout: Dropout = Dropout.default()
    """Dropout of each kind, in one place for all families."""
    head: Head = Head.default()
    """A deeper head for one label, several or a number."""
    freeze: Freeze = Freeze.default()
    """Parts that don't train."""
    reinit_layers: Annotated[int, Field(ge=0)] = 0
    """How many of the top layers start from random weights (Zhang et al., 2021)."""
    gradient_checkpointing: Annotated[bool, Decides("execution")] = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    scratch: Scratch = Scratch.default()
    """The architecture to build from scratch."""
