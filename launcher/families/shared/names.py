"""What stands where in a family's config.json, modules and tokenizer; the defaults are BERT's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigKeys:
    """Entries of config.json that hold the sizes of an encoder."""

    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    intermediate: str = "intermediate_size"
    embedding: str | None = None
    """Width of the embeddings, where it has an entry of its own."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder; the defaults are those that transformers assumes for BERT."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    vocab: int = 30522
    positions: int = 512
    """Rows of the position table, or the longest text where there is none."""
    types: int = 2
    """Rows of the table of token types; 0 where the family has none."""
    embedding: int | None = None
    """Width of the embeddings; None means the hidden width."""


def sized(
    layers: int, hidden: int, heads: int, intermediate: int | None = None, **others: object
) -> dict[str, object]:
    """Entries of config.json; the feed-forward layers are four times as wide as the hidden states where nothing is said."""
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": intermediate or 4 * hidden, **others}


@dataclass(frozen=True)
class Modules:
    """Names of an encoder's modules: `layers` and `below` within the encoder, the others within a layer."""

    layers: str = "encoder.layer"
    """The list of layers."""
    below: tuple[str, ...] = ("embeddings",)
    """What lies below the first layer."""
    embeddings_norm: str = "embeddings.LayerNorm"
    """The norm that writes the first hidden states; within the encoder."""
    attention_in: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    """Linear modules that write the heads."""
    attention_out: str = "attention.output.dense"
    """Reads the heads, side by side."""
    up: str = "intermediate.dense"
    """Writes the feed-forward neurons."""
    down: str = "output.dense"
    """Reads the feed-forward neurons."""
    norms: tuple[str, ...] = ("attention.output.LayerNorm", "output.LayerNorm")
    """Norms that write hidden states."""
    compiled: tuple[str, ...] = ("attention.output", "intermediate", "output")
    """Modules in which torch.compile saves kernels."""


@dataclass(frozen=True)
class DropoutKeys:
    """Entries of config.json that hold each kind of dropout; none where there is none of this kind."""

    hidden: tuple[str, ...] = ("hidden_dropout_prob",)
    attention: tuple[str, ...] = ("attention_probs_dropout_prob",)
    classifier: tuple[str, ...] = ("classifier_dropout",)


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens of a tokenizer trained for a model from scratch; their ids are their places in `ordered`."""

    ordered: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    start: str = "[CLS]"
    end: str = "[SEP]"
    pad: str = "[PAD]"
    unknown: str = "[UNK]"
    mask: str = "[MASK]"
    pair: str = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    """How two texts are joined, in the notation of tokenizers' TemplateProcessing."""
    token_types: bool = True
    """Whether the model tells the second text by token types."""

    @property
    def pad_id(self) -> int:
        return self.ordered.index(self.pad)


WITHOUT_TYPES = SpecialTokens(pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0", token_types=False)
"""BERT's special tokens for models that don't tell the second text by token types."""
