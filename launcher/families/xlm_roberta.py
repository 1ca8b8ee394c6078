"""XLM-RoBERTa (Conneau et al., 2020, arXiv:1911.02116): RoBERTa with a vocabulary for a hundred languages."""

from __future__ import annotations

from launcher.families.roberta import BASE, LARGE, SPECIAL_TOKENS
from launcher.families.shared.base import Family

_VOCABULARY: dict[str, object] = {"vocab_size": 250002}
_BASE, _LARGE = _VOCABULARY | BASE, _VOCABULARY | LARGE

FAMILY = Family(
    name="xlm-roberta",
    speaks={"*": "FacebookAI/xlm-roberta-base"},
    read_gb=2500,
    known={"xlm-roberta-base": _BASE, "xlm-roberta-large": _LARGE},
    positions_start_behind_padding=True,
    has_pooler=True,
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
    special_tokens=SPECIAL_TOKENS,
)
