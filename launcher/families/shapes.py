"""Shapes of the encoders this project trains: exact parameter counts and linear modules, without torch.

A shape is either known by name (`known_shape`) or read from a model's config.json (`shape_from_config`).
Only `find_config` touches the disk; nothing here touches the network.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from launcher import paths
from launcher.errors import Problem, UserError, choices

FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "modernbert")
"""The `model_type` values of config.json that can be trained."""

PRUNABLE = ("bert", "roberta", "xlm-roberta", "electra", "distilbert")
"""Families from which heads, neurons and layers can be taken out."""

ALL_LINEAR = "all-linear"
"""As the only entry of `lora.targets`: every linear module of the encoder's layers."""

_CONFIG_LIMIT = 1 << 20


class Linear(NamedTuple):
    """One kind of linear module: how often the encoder has it, and its width in features."""

    instances: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class ModelShape:
    """Everything about an encoder that memory, traffic and time depend on; widths are in features."""

    family: str
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
    pooler: bool = False
    """Whether the bare encoder carries a pooler that `parameters` counts."""
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

    @property
    def max_length(self) -> int:
        """The longest example in tokens, special tokens included."""
        return self.max_positions

    @property
    def parameters(self) -> int:
        """Parameters of the bare encoder as `AutoModel` builds it, pooler included where there is one."""
        return self.body_parameters + (self.hidden * (self.hidden + 1) if self.pooler else 0)

    @property
    def body_parameters(self) -> int:
        """Parameters of embeddings and layers; poolers and heads are counted with the task's head."""
        return self.embedding_parameters + self.layers * self.layer_parameters + self._shared_parameters

    @property
    def embedding_parameters(self) -> int:
        """Parameters before the first layer: tables, their norm, and the projection to the hidden width."""
        tables = (self.vocab + self.position_rows + self.type_vocab) * self.embedding_size
        normed = self.hidden if self.family == "deberta-v2" else self.embedding_size
        return tables + self._norm(normed) + self._projection

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer with both of its norms."""
        weights = sum(inputs * outputs for _, inputs, outputs, _ in self._layer())
        biases = sum(outputs for _, _, outputs, biased in self._layer() if biased)
        return weights + biases + 2 * self._norm(self.hidden)

    @property
    def linear_weights(self) -> int:
        """Elements of all weight matrices that each token is multiplied with (autocast copies these)."""
        per_layer = sum(inputs * outputs for _, inputs, outputs, _ in self._layer())
        projection = self.embedding_size * self.hidden if self.embedding_size != self.hidden else 0
        return self.layers * per_layer + projection

    def classifier_parameters(self, labels: int) -> int:
        """What `AutoModelForSequenceClassification` adds to the body: pooler or dense, then the output.

        These parameters are trained in full under LoRA too.
        """
        dense = self.hidden * self.hidden + (self.hidden if self.head_bias else 0)
        norm = self._norm(self.hidden) if self.family == "modernbert" else 0
        return dense + norm + labels * (self.hidden + 1)

    def linear_modules(self) -> dict[str, tuple[Linear, ...]]:
        """Linear modules of the layers by leaf name, as LoRA targets name them.

        One name may stand for several widths (BERT's `dense`); poolers and heads are left out, since they are
        trained in full.
        """
        found: dict[str, dict[tuple[int, int], int]] = {}
        for leaf, inputs, outputs, _ in self._layer():
            widths = found.setdefault(leaf, {})
            widths[inputs, outputs] = widths.get((inputs, outputs), 0) + self.layers
        return {
            leaf: tuple(Linear(count, *width) for width, count in widths.items())
            for leaf, widths in found.items()
        }

    @property
    def default_lora_targets(self) -> tuple[str, ...]:
        """Query and value projections, as in the LoRA paper (Hu et al. 2021, section 4.2)."""
        return _LORA_TARGETS[self.family]

    def _layer(self) -> list[tuple[str, int, int, bool]]:
        """Leaf name, inputs, outputs and bias of every linear module in one layer."""
        hidden, inner = self.hidden, self.intermediate
        if self.family == "modernbert":
            first = 2 * inner if self.gated else inner
            attention = [("Wqkv", hidden, 3 * hidden, self.attention_bias)]
            attention.append(("Wo", hidden, hidden, self.attention_bias))
            return [*attention, ("Wi", hidden, first, self.mlp_bias), ("Wo", inner, hidden, self.mlp_bias)]
        names = _LINEAR_NAMES.get(self.family, _BERT_NAMES)
        squares = [(name, hidden, hidden, True) for name in (*names[:4], *self.relative_projections)]
        return [*squares, (names[4], hidden, inner, True), (names[5], inner, hidden, True)]

    def _norm(self, width: int) -> int:
        return 2 * width if self.norm_bias else width

    @property
    def _projection(self) -> int:
        if self.embedding_size == self.hidden:
            return 0
        bias = 0 if self.family == "deberta-v2" else self.hidden
        return self.embedding_size * self.hidden + bias

    @property
    def _shared_parameters(self) -> int:
        """DeBERTa's relative positions and convolution, which belong to no single layer.

        ModernBERT's first layer lacks a norm and its last is followed by one, so both cancel.
        """
        relative = 2 * self.relative_span * self.hidden
        norm = self._norm(self.hidden) if self.relative_norm else 0
        if not self.conv_kernel:
            return relative + norm
        return relative + norm + self.hidden * (self.hidden * self.conv_kernel + 1) + self._norm(self.hidden)


_BERT_NAMES = ("query", "key", "value", "dense", "dense", "dense")
_LINEAR_NAMES = {
    "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
    "deberta-v2": ("query_proj", "key_proj", "value_proj", "dense", "dense", "dense"),
}
_LORA_TARGETS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), ("query", "value")),
    "distilbert": ("q_lin", "v_lin"),
    "deberta-v2": ("query_proj", "value_proj"),
    "modernbert": ("Wqkv",),
}


def resolve_lora_targets(shape: ModelShape, targets: Sequence[str] | None) -> tuple[str, ...]:
    """Leaf names that LoRA adapts: the family's default for None, every linear module for `all-linear`.

    Raises UserError with every name that the model doesn't have.
    """
    if not targets:
        return shape.default_lora_targets
    names = tuple(shape.linear_modules())
    if tuple(targets) == (ALL_LINEAR,):
        return names
    unknown = [name for name in targets if name not in names]
    if unknown:
        message = f"a {shape.family} encoder has no linear module of this name"
        raise UserError(
            Problem(message, field="lora.targets", value=name, remedy=choices(name, (*names, ALL_LINEAR)))
            for name in unknown
        )
    return tuple(dict.fromkeys(targets))


def _bert(
    layers: int = 12, hidden: int = 768, *, heads: int = 0, vocab: int = 30522, inner: int = 0
) -> ModelShape:
    return ModelShape(
        family="bert",
        layers=layers,
        hidden=hidden,
        heads=heads or hidden // 64,
        intermediate=inner or 4 * hidden,
        vocab=vocab,
        max_positions=512,
        position_rows=512,
        type_vocab=2,
        embedding_size=hidden,
        pooler=True,
    )


def _roberta(layers: int = 12, hidden: int = 768, *, vocab: int = 50265) -> ModelShape:
    family = "xlm-roberta" if vocab == 250002 else "roberta"
    shape = _bert(layers, hidden, vocab=vocab)
    return replace(shape, family=family, position_rows=514, type_vocab=1)


def _distilbert(vocab: int) -> ModelShape:
    return replace(_bert(6, vocab=vocab), family="distilbert", type_vocab=0, pooler=False)


def _electra(
    layers: int = 12, hidden: int = 768, *, heads: int = 12, embedding: int = 768, vocab: int = 30522
) -> ModelShape:
    shape = _bert(layers, hidden, heads=heads, vocab=vocab)
    return replace(shape, family="electra", embedding_size=embedding, pooler=False)


def _deberta(layers: int, hidden: int, *, vocab: int = 128100) -> ModelShape:
    shape = replace(_bert(layers, hidden, vocab=vocab), family="deberta-v2", pooler=False)
    return replace(shape, position_rows=0, type_vocab=0, relative_span=256, relative_norm=True)


def _modernbert(layers: int, hidden: int, inner: int) -> ModelShape:
    shape = replace(_bert(layers, hidden, inner=inner, vocab=50368), family="modernbert", pooler=False)
    shape = replace(shape, max_positions=8192, position_rows=0, type_vocab=0, gated=True, norm_bias=False)
    shape = replace(shape, attention_bias=False, mlp_bias=False, head_bias=False)
    return replace(shape, global_layers=(layers + 2) // 3, local_window=128)


_BASE, _LARGE = _bert(), _bert(24, 1024)
_CHINESE, _CHINESE_LARGE = _bert(vocab=21128), _bert(24, 1024, vocab=21128)
_MINILM_L6, _MINILM_L12 = _bert(6, 384, heads=12), _bert(12, 384, heads=12)

_KNOWN = {
    "bert-base-uncased": _BASE,
    "bert-base-cased": _bert(vocab=28996),
    "bert-large-uncased": _LARGE,
    "bert-large-cased": _bert(24, 1024, vocab=28996),
    "bert-large-uncased-whole-word-masking": _LARGE,
    "bert-base-chinese": _CHINESE,
    "bert-base-multilingual-cased": _bert(vocab=119547),
    "bert-base-multilingual-uncased": _bert(vocab=105879),
    "roberta-base": _roberta(),
    "roberta-large": _roberta(24, 1024),
    "roberta-large-mnli": _roberta(24, 1024),
    "xlm-roberta-base": _roberta(vocab=250002),
    "xlm-roberta-large": _roberta(24, 1024, vocab=250002),
    "distilroberta-base": _roberta(6),
    "distilbert-base-uncased": _distilbert(30522),
    "distilbert-base-cased": _distilbert(28996),
    "distilbert-base-multilingual-cased": _distilbert(119547),
    "google/electra-small-discriminator": _electra(hidden=256, heads=4, embedding=128),
    "google/electra-base-discriminator": _electra(),
    "google/electra-large-discriminator": _electra(24, 1024, heads=16, embedding=1024),
    "microsoft/deberta-v3-xsmall": _deberta(12, 384),
    "microsoft/deberta-v3-small": _deberta(6, 768),
    "microsoft/deberta-v3-base": _deberta(12, 768),
    "microsoft/deberta-v3-large": _deberta(24, 1024),
    "microsoft/mdeberta-v3-base": _deberta(12, 768, vocab=251000),
    "answerdotai/ModernBERT-base": _modernbert(22, 768, 1152),
    "answerdotai/ModernBERT-large": _modernbert(28, 1024, 2624),
    "sentence-transformers/all-MiniLM-L6-v2": _MINILM_L6,
    "sentence-transformers/all-MiniLM-L12-v2": _MINILM_L12,
    "nreimers/MiniLM-L6-H384-uncased": _MINILM_L6,
    "microsoft/MiniLM-L12-H384-uncased": _MINILM_L12,
    "prajjwal1/bert-tiny": _bert(2, 128),
    "prajjwal1/bert-mini": _bert(4, 256),
    "prajjwal1/bert-small": _bert(4, 512),
    "prajjwal1/bert-medium": _bert(8, 512),
    "hfl/chinese-bert-wwm": _CHINESE,
    "hfl/chinese-bert-wwm-ext": _CHINESE,
    "hfl/chinese-roberta-wwm-ext": _CHINESE,
    "hfl/chinese-roberta-wwm-ext-large": _CHINESE_LARGE,
    "hfl/chinese-macbert-base": _CHINESE,
    "hfl/chinese-macbert-large": _CHINESE_LARGE,
}
# The hub moved its oldest models into these organisations and answers to both names.
_ADOPTED = ("google-bert/", "FacebookAI/", "distilbert/")


def known_names() -> tuple[str, ...]:
    """The hub ids whose shape is known without a config.json."""
    return tuple(_KNOWN)


def known_shape(name: str) -> ModelShape | None:
    """The shape of a usual hub id, in its short or its full spelling, or None."""
    for organisation in _ADOPTED:
        short = name.removeprefix(organisation)
        if short != name and "/" not in short:
            return _KNOWN.get(short)
    return _KNOWN.get(name)


def shape_of(
    name: str, *, config: Mapping[str, object] | None, where: str = "config.json"
) -> ModelShape | None:
    """The shape of a model: from its config.json where there is one, else by name, else None (unknown)."""
    return known_shape(name) if config is None else shape_from_config(config, where)


# What transformers assumes for a key that config.json leaves out, in the order of `_SIZES`.
_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
_DEFAULT_SIZES = {
    "bert": (12, 768, 12, 3072, 30522),
    "roberta": (12, 768, 12, 3072, 50265),
    "xlm-roberta": (12, 768, 12, 3072, 30522),
    "distilbert": (6, 768, 12, 3072, 30522),
    "electra": (12, 256, 4, 1024, 30522),
    "deberta-v2": (24, 1536, 24, 6144, 128100),
    "modernbert": (22, 768, 12, 1152, 50368),
}
_DISTILBERT_KEYS = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}


class _Reader:
    """Reads typed values from a parsed config.json and remembers every mistake."""

    def __init__(self, config: Mapping[str, object], where: str) -> None:
        self.config = config
        self.where = where
        self.problems: list[Problem] = []

    def number(self, key: str, default: int, least: int = 1) -> int:
        value = self.config.get(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.problem(f"must be a whole number of at least {least}", key, value)
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem("must be true or false", key, value)
        return default

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words, or one text with `|` between them."""
        value = self.config.get(key)
        parts = value.split("|") if isinstance(value, str) else value
        if parts is None:
            return ()
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return tuple(part.strip() for part in parts if part.strip())
        self.problem("must be a text or a list of texts", key, value)
        return ()

    def problem(self, message: str, key: str, value: object, remedy: str | None = None) -> None:
        self.problems.append(Problem(message, where=self.where, field=key, value=value, remedy=remedy))


def shape_from_config(config: Mapping[str, object], where: str) -> ModelShape:
    """The shape that a parsed config.json describes; `where` names the file in messages.

    A key that is absent has transformers' default. Raises UserError for a family that can't be trained, and
    for values that describe no model, all of them at once.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        message = "names no model family" if family is None else "this model family is not supported"
        remedy = choices(str(family), FAMILIES)
        raise UserError(Problem(message, where=where, field="model_type", value=family, remedy=remedy))
    reader = _Reader(config, where)
    shape = _read_family(reader, _read_common(reader, family))
    if shape.hidden % shape.heads:
        message = f"the hidden width {shape.hidden} is not a multiple of the number of heads"
        reader.problem(message, "num_attention_heads", shape.heads)
    if shape.max_positions < 1:
        reader.problem("leaves no usable position", "max_position_embeddings", shape.position_rows)
    if reader.problems:
        raise UserError(reader.problems)
    return shape


def _read_common(reader: _Reader, family: str) -> ModelShape:
    renamed = _DISTILBERT_KEYS if family == "distilbert" else {}
    sizes = zip(_SIZES, _DEFAULT_SIZES[family], strict=True)
    layers, hidden, heads, inner, vocab = (
        reader.number(renamed.get(key, key), default) for key, default in sizes
    )
    rows = reader.number("max_position_embeddings", 8192 if family == "modernbert" else 512)
    return ModelShape(
        family=family,
        layers=layers,
        hidden=hidden,
        heads=heads,
        intermediate=inner,
        vocab=vocab,
        max_positions=rows,
        position_rows=rows,
        type_vocab=0,
        embedding_size=hidden,
    )


def _read_family(reader: _Reader, shape: ModelShape) -> ModelShape:
    match shape.family:
        case "bert":
            return replace(shape, type_vocab=reader.number("type_vocab_size", 2), pooler=True)
        case "roberta" | "xlm-roberta":
            # Positions start behind the padding token's id, so that many rows are never used.
            usable = shape.position_rows - reader.number("pad_token_id", 1, least=0) - 1
            types = reader.number("type_vocab_size", 2)
            return replace(shape, max_positions=usable, type_vocab=types, pooler=True)
        case "electra":
            embedding = reader.number("embedding_size", 128)
            return replace(shape, type_vocab=reader.number("type_vocab_size", 2), embedding_size=embedding)
        case "deberta-v2":
            return _read_deberta(reader, shape)
        case "modernbert":
            return _read_modernbert(reader, shape)
    return shape


def _read_deberta(reader: _Reader, shape: ModelShape) -> ModelShape:
    absolute = reader.flag("position_biased_input", True)
    shape = replace(
        shape,
        position_rows=shape.position_rows if absolute else 0,
        type_vocab=reader.number("type_vocab_size", 0, least=0),
        embedding_size=reader.number("embedding_size", shape.hidden),
        relative_norm="layer_norm" in reader.words("norm_rel_ebd"),
        conv_kernel=reader.number("conv_kernel_size", 0, least=0),
    )
    if not reader.flag("relative_attention", False):
        return shape
    buckets = reader.number("position_buckets", -1, least=-1)
    farthest = reader.number("max_relative_positions", -1, least=-1)
    span = buckets if buckets > 0 else farthest if farthest > 0 else shape.max_positions
    kinds = () if reader.flag("share_att_key", False) else reader.words("pos_att_type")
    projections = {"c2p": "pos_key_proj", "p2c": "pos_query_proj"}
    own = tuple(name for kind, name in projections.items() if kind in kinds)
    return replace(shape, relative_span=span, relative_projections=own)


def _read_modernbert(reader: _Reader, shape: ModelShape) -> ModelShape:
    every = reader.number("global_attn_every_n_layers", 3)
    kinds = reader.words("layer_types")
    whole = kinds.count("full_attention") if kinds else -(-shape.layers // every)
    return replace(
        shape,
        position_rows=0,
        gated=True,
        attention_bias=reader.flag("attention_bias", False),
        mlp_bias=reader.flag("mlp_bias", False),
        norm_bias=reader.flag("norm_bias", False),
        head_bias=reader.flag("classifier_bias", False),
        global_layers=whole,
        local_window=reader.number("local_attention", 128),
    )


def find_config(name: str, cache_dir: Path | None = None, revision: str = "main") -> dict[str, object] | None:
    """The parsed config.json of a model directory or of a hub id in the local hub cache, or None.

    The cache is `cache_dir`, else what the environment says (HF_HUB_CACHE, HF_HOME), else the user's. Raises
    UserError for a file that isn't a JSON object.
    """
    path = Path(name) / "config.json" if paths.is_dir(name) else _cached_config(name, cache_dir, revision)
    if path is None or not paths.is_file(path):
        return None
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise ValueError("it is larger than 1 MB")
        parsed = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(Problem(f"can't be read as JSON: {error}", where=str(path))) from None
    if not isinstance(parsed, dict):
        raise UserError(Problem("must hold a JSON object", where=str(path)))
    return parsed


def _cached_config(name: str, cache_dir: Path | None, revision: str) -> Path | None:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in f"{name}/{revision}":
        return None
    folder = (cache_dir or _hub_cache()) / ("models--" + name.replace("/", "--"))
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if paths.is_file(reference) else revision
    return folder / "snapshots" / commit / "config.json"


def _hub_cache() -> Path:
    """Where huggingface_hub keeps its cache, by the same rules."""
    environment = os.environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return Path(environment[variable]).expanduser()
    fallback = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return (Path(environment.get("HF_HOME") or fallback) / "hub").expanduser()
