"""DeBERTa v2 and v3 (He et al., 2021, arXiv:2006.03654 and arXiv:2111.09543): attention that also reads relative positions."""

from __future__ import annotations

from dataclasses import replace

from launcher.families.shared.base import Family, ModelShape
from launcher.families.shared.config_json import ConfigReader
from launcher.families.shared.names import DropoutKeys, Modules, Sizes, sized

_V3: dict[str, object] = {
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
MULTILINGUAL_VOCABULARY = 251000
"""Entries of mDeBERTa's vocabulary, by which it is known."""


def _sized(layers: int, hidden: int, vocab: int = 128100) -> dict[str, object]:
    """Entries of config.json of a v3 model; heads are 64 wide."""
    return {**_V3, **sized(layers, hidden, hidden // 64, vocab_size=vocab)}


def _read(reader: ConfigReader, shape: ModelShape) -> ModelShape:
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


def _is_multilingual(shape: ModelShape) -> bool:
    return shape.vocab >= MULTILINGUAL_VOCABULARY


FAMILY = Family(
    name="deberta-v2",
    known={
        "microsoft/deberta-v3-xsmall": _sized(12, 384),
        "microsoft/deberta-v3-small": _sized(6, 768),
        "microsoft/deberta-v3-base": _sized(12, 768),
        "microsoft/deberta-v3-large": _sized(24, 1024),
        "microsoft/mdeberta-v3-base": _sized(12, 768, MULTILINGUAL_VOCABULARY),
    },
    sizes=Sizes(layers=24, hidden=1536, heads=24, intermediate=6144, vocab=128100, types=0),
    read=_read,
    modules=Modules(
        below=("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm"),
        attention_in=(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
        ),
    ),
    lora_targets=("query_proj", "value_proj"),
    dropout=DropoutKeys(classifier=("cls_dropout", "pooler_dropout")),
    packed_by="deberta_v2",
    heads_drop_inputs=True,
    overflows_in_fp16=_is_multilingual,
    projects_before_norm=True,
    has_flash_attention=False,
    scratch_entries=_V3,
)
