"""CamemBERT (Martin et al., 2020, arXiv:1911.03894): RoBERTa for French."""

from __future__ import annotations

from launcher.families.roberta import SPECIAL_TOKENS
from launcher.families.shared.base import Family

_BASE = {"vocab_size": 32005, "max_position_embeddings": 514, "type_vocab_size": 1}
_LARGE = {
    **_BASE,
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}

FAMILY = Family(
    name="camembert",
    speaks={"fr": "almanach/camembert-base"},
    read_gb=138,
    known={
        "camembert-base": _BASE,
        "almanach/camembert-base": _BASE,
        "almanach/camembert-large": _LARGE,
        "camembert/camembert-large": _LARGE,
    },
    positions_start_behind_padding=True,
    has_pooler=True,
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
    special_tokens=SPECIAL_TOKENS,
)
