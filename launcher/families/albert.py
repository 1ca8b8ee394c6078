"""ALBERT (Lan et al., 2020, arXiv:1909.11942): one layer, used again and again, above narrow embeddings."""

from __future__ import annotations

from dataclasses import replace

from launcher.families.shared.base import Family, ModelShape
from launcher.families.shared.config_json import ConfigReader
from launcher.families.shared.names import ConfigKeys, DropoutKeys, Modules, Sizes, sized


def _read(reader: ConfigReader, shape: ModelShape) -> ModelShape:
    in_a_group = reader.number("inner_group_num", 1)
    groups = reader.number("num_hidden_groups", 1)
    return replace(shape, layers=shape.layers * in_a_group, distinct_layers=groups * in_a_group)


_SIZES = {
    "base": sized(12, 768, 12),
    "large": sized(24, 1024, 16),
    "xlarge": sized(24, 2048, 16),
    "xxlarge": sized(12, 4096, 64),
}

FAMILY = Family(
    name="albert",
    known={f"albert-{size}-{version}": _SIZES[size] for size in _SIZES for version in ("v1", "v2")},
    sizes=Sizes(hidden=4096, heads=64, intermediate=16384, vocab=30000, embedding=128),
    keys=ConfigKeys(embedding="embedding_size"),
    read=_read,
    has_pooler=True,
    modules=Modules(
        layers="encoder.albert_layer_groups",
        below=("embeddings", "encoder.embedding_hidden_mapping_in"),
        attention_in=("attention.query", "attention.key", "attention.value"),
        attention_out="attention.dense",
        up="ffn",
        down="ffn_output",
        norms=("attention.LayerNorm", "full_layer_layer_norm"),
        compiled=("ffn", "ffn_output"),
    ),
    dropout=DropoutKeys(classifier=("classifier_dropout_prob",)),
    packed_by="albert",
    can_checkpoint=False,
    always_projects=True,
    activation_tensors=4,  # gelu_new is made of products
)
