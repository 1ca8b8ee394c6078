"""What a model family is: the one record that the rest of the project asks about its encoders, without torch.

A family is the file of its name in the folder above, with underscores for hyphens, which defines `FAMILY`. Its name is the
`model_type` of config.json. What it leaves out is as in BERT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from launcher.errors import Problem, UserError, choices
from launcher.families.shared.config_json import ConfigReader
from launcher.families.shared.names import ConfigKeys, DropoutKeys, Modules, Sizes, SpecialTokens

ALL_LINEAR = "all-linear"
"""As the only entry of `lora.targets`: every linear module of the encoder's layers."""


def _as_read(_reader: ConfigReader, shape: ModelShape) -> ModelShape:
    return shape


def _never(_shape: ModelShape) -> bool:
    return False


@dataclass(frozen=True, eq=False)
class Family:
    """One model family; what it says of its modules is as transformers builds them."""

    name: str
    """`model_type` of config.json."""
    known: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    """Usual hub ids, each with the entries of its config.json that differ from transformers' defaults."""
    speaks: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Language (ISO 639-1, `*` for all) -> the hub id that is a good start for texts in it."""
    read_gb: float = 0.0
    """Text that this model has learnt from, in GB; of two that speak a language the one that read more is proposed."""
    sizes: Sizes = field(default_factory=Sizes)
    """What transformers assumes where config.json says nothing."""
    keys: ConfigKeys = field(default_factory=ConfigKeys)
    read: Callable[[ConfigReader, ModelShape], ModelShape] = _as_read
    """Completes a shape by what this family alone has in config.json."""

    positions_start_behind_padding: bool = False
    """Whether the first position is the one behind the padding token's id, as in RoBERTa."""
    has_pooler: bool = False
    """Whether the bare encoder carries a pooler."""
    modules: Modules = field(default_factory=Modules)
    head_modules: tuple[str, ...] = ("pooler", "classifier", "qa_outputs")
    """Modules between the encoder and the logits: trained in full beside adapters, as they may be freshly made."""
    lora_targets: tuple[str, ...] = ("query", "value")
    """What LoRA adapts by default: query and value projections (Hu et al., 2021, section 4.2)."""
    dropout: DropoutKeys = field(default_factory=DropoutKeys)

    packed_by: str | None = None
    """The module of train/model that lets the encoder read packed examples; None: its examples are padded."""
    heads_drop_inputs: bool = False
    """Whether transformers' models with a head give the encoder no argument that they don't know."""
    can_capture: bool = False
    """Whether its steps can be CUDA graphs: packed attention is one kernel of fixed shape in all layers."""
    can_shrink: bool = False
    """Whether heads, neurons and layers can be taken out of it."""
    can_checkpoint: bool = True
    """Whether transformers can compute its layers again in the backward pass."""
    overflows_in_fp16: Callable[[ModelShape], bool] = _never
    """Whether the hidden states of such a model exceed 65,504, which fp16 can't hold."""

    projects_before_norm: bool = False
    """Whether embeddings of another width are projected, without a bias, before their norm."""
    always_projects: bool = False
    """Whether embeddings are projected even where they are as wide as the hidden states."""
    head_has_norm: bool = False
    """Whether the classification head has a norm."""
    dropout_masks: int = 2
    """Masks of hidden width that dropout keeps in a layer."""
    activation_tensors: int = 1
    """Tensors as wide as the feed-forward layer that the activation function keeps; with a gate there are three."""
    softmax_in_fp32: bool = False
    """Whether softmax is computed in fp32 on a CPU too."""
    has_flash_attention: bool = True
    """Whether attention can go without keeping its scores."""

    special_tokens: SpecialTokens = field(default_factory=SpecialTokens)
    scratch_entries: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Further entries of config.json for a model from scratch."""

    def first_position(self, pad_token_id: int | None) -> int:
        """Position id of a text's first token."""
        return (pad_token_id or 0) + 1 if self.positions_start_behind_padding else 0

    def scratch_config(self, sizes: Sizes) -> dict[str, object]:
        """The entries of config.json for a model from scratch that takes `sizes.positions` tokens."""
        keys, pad = self.keys, self.special_tokens.pad_id
        entries: dict[str, object] = {
            keys.hidden: sizes.hidden,
            keys.layers: sizes.layers,
            keys.heads: sizes.heads,
            keys.intermediate: sizes.intermediate,
            "vocab_size": sizes.vocab,
            "max_position_embeddings": sizes.positions + self.first_position(pad),
            "pad_token_id": pad,
        }
        if keys.embedding is not None:
            entries[keys.embedding] = sizes.hidden
        return entries | dict(self.scratch_entries)


class Linear(NamedTuple):
    """One kind of linear module: how often the encoder has it, and its width in features."""

    instances: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class ModelShape:
    """Everything about an encoder that memory, traffic and time depend on; widths are in features."""

    family: Family
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    max_positions: int
    """Usable tokens of one example (512 for roberta-base, whose table has 514 rows)."""
    position_rows: int
    """Rows of the learnt position table; 0 where positions are relative or rotary."""
    type_vocab: int
    embedding_size: int
    """Width of the embeddings; ELECTRA small projects 128 to its hidden 256."""
    gated: bool = False
    """Feed-forward with a gate: the first matrix is twice as wide (ModernBERT)."""
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    head_bias: bool = True
    """Bias of the dense layer in transformers' sequence classification head."""
    global_layers: int = -1
    """Layers that attend to everything; -1 means all of them."""
    local_window: int = 0
    """Tokens that one token sees in the other layers."""
    relative_span: int = 0
    """DeBERTa: relative positions on either side; 0 where attention is absolute."""
    relative_norm: bool = False
    relative_projections: tuple[str, ...] = ()
    """DeBERTa: projections of the positions where they aren't shared with the keys and queries."""
    conv_kernel: int = 0
    bias_parameters: int = 0
    """MPNet: entries of the one table of attention biases that all layers read."""
    distinct_layers: int = -1
    """ALBERT: layers with parameters of their own, each of which is used several times; -1 means all of them."""

    text_length: int = 0
    """Tokens that texts are cut to by what the model's files say of its tokenizer; 0 where they say nothing."""

    @property
    def own_layers(self) -> int:
        """Layers that have parameters of their own."""
        return self.layers if self.distinct_layers < 0 else self.distinct_layers

    @property
    def max_length(self) -> int:
        """The longest example in tokens, special tokens included."""
        return self.max_positions

    @property
    def parameters(self) -> int:
        """Parameters of the bare encoder as `AutoModel` builds it, pooler included where there is one."""
        return self.body_parameters + (self.hidden * (self.hidden + 1) if self.family.has_pooler else 0)

    @property
    def body_parameters(self) -> int:
        """Parameters of embeddings and layers; poolers and heads are counted with the task's head."""
        return self.embedding_parameters + self.own_layers * self.layer_parameters + self._shared_parameters

    @property
    def embedding_parameters(self) -> int:
        """Parameters before the first layer: tables, their norm, and the projection to the hidden width."""
        tables = (self.vocab + self.position_rows + self.type_vocab) * self.embedding_size
        normed = self.hidden if self.family.projects_before_norm else self.embedding_size
        return tables + self._norm(normed) + self._projection

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer with both of its norms."""
        weights = sum(inputs * outputs for _, inputs, outputs, _ in self._layer())
        biases = sum(outputs for _, _, outputs, biased in self._layer() if biased)
        return weights + biases + 2 * self._norm(self.hidden)

    @property
    def linear_weights(self) -> int:
        """Elements of all weight matrices of the encoder (autocast copies these)."""
        return self._linear_weights(self.own_layers)

    @property
    def multiplied_weights(self) -> int:
        """Elements of the weight matrices that each token is multiplied with; one that is used twice counts twice."""
        return self._linear_weights(self.layers)

    def _linear_weights(self, layers: int) -> int:
        per_layer = sum(inputs * outputs for _, inputs, outputs, _ in self._layer())
        projection = self.embedding_size * self.hidden if self._is_projected else 0
        return layers * per_layer + projection

    def classifier_parameters(self, labels: int) -> int:
        """What `AutoModelForSequenceClassification` adds to the body: pooler or dense, then the output.

        These parameters are trained in full under LoRA too.
        """
        dense = self.hidden * self.hidden + (self.hidden if self.head_bias else 0)
        norm = self._norm(self.hidden) if self.family.head_has_norm else 0
        return dense + norm + labels * (self.hidden + 1)

    def linear_modules(self) -> dict[str, tuple[Linear, ...]]:
        """Linear modules of the layers by leaf name, as LoRA targets name them.

        One name may stand for several widths (BERT's `dense`); poolers and heads are left out, since they are
        trained in full.
        """
        found: dict[str, dict[tuple[int, int], int]] = {}
        for leaf, inputs, outputs, _ in self._layer():
            widths = found.setdefault(leaf, {})
            widths[inputs, outputs] = widths.get((inputs, outputs), 0) + self.own_layers
        return {
            leaf: tuple(Linear(count, *width) for width, count in widths.items())
            for leaf, widths in found.items()
        }

    def _layer(self) -> list[tuple[str, int, int, bool]]:
        """Leaf name, inputs, outputs and bias of every linear module in one layer."""
        hidden, inner, names = self.hidden, self.intermediate, self.family.modules
        wide = 3 * hidden // len(names.attention_in)
        attention = [(name, hidden, wide, self.attention_bias) for name in names.attention_in]
        attention += [
            (name, hidden, hidden, self.attention_bias)
            for name in (names.attention_out, *self.relative_projections)
        ]
        up = (names.up, hidden, 2 * inner if self.gated else inner, self.mlp_bias)
        down = (names.down, inner, hidden, self.mlp_bias)
        return [
            (name.rpartition(".")[2], inputs, outputs, biased)
            for name, inputs, outputs, biased in (*attention, up, down)
        ]

    def _norm(self, width: int) -> int:
        return 2 * width if self.norm_bias else width

    @property
    def _is_projected(self) -> bool:
        return self.family.always_projects or self.embedding_size != self.hidden

    @property
    def _projection(self) -> int:
        if not self._is_projected:
            return 0
        bias = 0 if self.family.projects_before_norm else self.hidden
        return self.embedding_size * self.hidden + bias

    @property
    def _shared_parameters(self) -> int:
        """DeBERTa's relative positions and convolution and MPNet's biases, which belong to no single layer.

        ModernBERT's first layer lacks a norm and its last is followed by one, so both cancel.
        """
        relative = 2 * self.relative_span * self.hidden + self.bias_parameters
        norm = self._norm(self.hidden) if self.relative_norm else 0
        if not self.conv_kernel:
            return relative + norm
        return relative + norm + self.hidden * (self.hidden * self.conv_kernel + 1) + self._norm(self.hidden)


def resolve_lora_targets(shape: ModelShape, targets: Sequence[str] | None) -> tuple[str, ...]:
    """Leaf names that LoRA adapts: the family's default for None, every linear module for `all-linear`.

    Raises UserError with every name that the model doesn't have.
    """
    if not targets:
        return shape.family.lora_targets
    names = tuple(shape.linear_modules())
    targets = (targets,) if isinstance(targets, str) else targets
    if tuple(targets) == (ALL_LINEAR,):
        return names
    unknown = [name for name in targets if name not in names]
    if unknown:
        message = f"a {shape.family.name} encoder has no linear module of this name"
        raise UserError(
            Problem(message, field="lora.targets", value=name, remedy=choices(name, (*names, ALL_LINEAR)))
            for name in unknown
        )
    return tuple(dict.fromkeys(targets))
