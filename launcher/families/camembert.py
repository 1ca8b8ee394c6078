"""CamemBERT (Martin et al., 2020, arXiv:1911.03894): RoBERTa for French."""

from __future__ import annotations

from launcher.families.roberta import BASE, LARGE, SPECIAL_TOKENS
from launcher.families.shared.base import Family

_VOCABULARY: dict[str, object] = {"vocab_size": 32005}
_BASE, _LARGE = _VOCABULARY | BASE, _VOCABULARY | LARGE

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
