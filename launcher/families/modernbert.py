"""ModernBERT (Warner et al., 2024, arXiv:2412.13663): rotary positions, a gate, and a local window in most layers.

Ettin and mmBERT share its code.
"""

from __future__ import annotations

from dataclasses import replace

from launcher.families.shared.base import Family, ModelShape
from launcher.families.shared.config_json import ConfigReader
from launcher.families.shared.names import WITHOUT_TYPES, DropoutKeys, Modules, Sizes, sized


def _read(reader: ConfigReader, shape: ModelShape) -> ModelShape:
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


_LARGE = sized(28, 1024, 16, 2624)
_MULTILINGUAL = {"vocab_size": 256000}

FAMILY = Family(
    name="modernbert",
    known={
        "answerdotai/ModernBERT-base": {},
        "answerdotai/ModernBERT-large": _LARGE,
        # Ettin (Weller et al., 2025, arXiv:2507.11412)
        "jhu-clsp/ettin-encoder-17m": sized(7, 256, 4, 384),
        "jhu-clsp/ettin-encoder-32m": sized(10, 384, 6, 576),
        "jhu-clsp/ettin-encoder-68m": sized(19, 512, 8, 768),
        "jhu-clsp/ettin-encoder-150m": {},
        "jhu-clsp/ettin-encoder-400m": _LARGE,
        "jhu-clsp/ettin-encoder-1b": sized(28, 1792, 28, 3840),
        # mmBERT (Marone et al., 2025, arXiv:2509.06888): 1,800 languages, the vocabulary of Gemma 2
        "jhu-clsp/mmBERT-small": {**sized(22, 384, 6, 1152), **_MULTILINGUAL},
        "jhu-clsp/mmBERT-base": _MULTILINGUAL,
    },
    sizes=Sizes(layers=22, intermediate=1152, vocab=50368, positions=8192, types=0),
    read=_read,
    modules=Modules(
        layers="layers",
        embeddings_norm="embeddings.norm",
        attention_in=("attn.Wqkv",),
        attention_out="attn.Wo",
        up="mlp.Wi",
        down="mlp.Wo",
        norms=("attn_norm", "mlp_norm"),
        compiled=("mlp",),
    ),
    head_modules=("head", "classifier"),
    lora_targets=("Wqkv",),
    dropout=DropoutKeys(
        hidden=("embedding_dropout", "mlp_dropout"),
        attention=("attention_dropout",),
    ),
    packed_by="modernbert",
    head_has_norm=True,
    dropout_masks=0,
    softmax_in_fp32=True,
    special_tokens=WITHOUT_TYPES,
)
