"""MPNet (Song et al., 2020, arXiv:2004.09297): BERT's layers with one table of relative positions for all of them."""

from __future__ import annotations

from dataclasses import replace

from launcher.families.shared.base import Family, ModelShape
from launcher.families.shared.config_json import ConfigReader
from launcher.families.shared.names import DropoutKeys, Modules, Sizes, SpecialTokens

_BASE = {"max_position_embeddings": 514}


def _read(reader: ConfigReader, shape: ModelShape) -> ModelShape:
    buckets = reader.number("relative_attention_num_buckets", 32)
    return replace(shape, bias_parameters=buckets * shape.heads)


FAMILY = Family(
    name="mpnet",
    known={
        "microsoft/mpnet-base": _BASE,
        "sentence-transformers/all-mpnet-base-v2": _BASE,
        "sentence-transformers/multi-qa-mpnet-base-dot-v1": _BASE,
    },
    sizes=Sizes(vocab=30527, types=0),
    read=_read,
    positions_start_behind_padding=True,
    has_pooler=True,
    modules=Modules(
        below=("embeddings", "encoder.relative_attention_bias"),
        attention_in=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_out="attention.attn.o",
        norms=("attention.LayerNorm", "output.LayerNorm"),
        compiled=("intermediate", "output"),
    ),
    lora_targets=("q", "v"),
    dropout=DropoutKeys(classifier=()),  # its heads have that of the hidden states
    packed_by="mpnet",
    heads_drop_inputs=True,
    can_checkpoint=False,
    has_flash_attention=False,
    special_tokens=SpecialTokens(
        ordered=("<s>", "<pad>", "</s>", "[UNK]", "<mask>"),
        start="<s>",
        end="</s>",
        pad="<pad>",
        unknown="[UNK]",
        mask="<mask>",
        pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
        token_types=False,
    ),
)
