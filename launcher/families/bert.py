"""BERT (Devlin et al., 2019, arXiv:1810.04805), and the many models that share its code, MiniLM and MacBERT among them."""

from __future__ import annotations

from launcher.families.shared.base import Family
from launcher.families.shared.names import sized

_BASE: dict[str, object] = {}
_LARGE = sized(24, 1024, 16)
_CHINESE = {"vocab_size": 21128}
_CHINESE_LARGE = sized(24, 1024, 16, vocab_size=21128)
_MINILM_L6, _MINILM_L12 = sized(6, 384, 12), sized(12, 384, 12)

FAMILY = Family(
    name="bert",
    speaks={"en": "google-bert/bert-base-uncased", "zh": "google-bert/bert-base-chinese"},
    read_gb=16,
    known={
        "bert-base-uncased": _BASE,
        "bert-base-cased": {"vocab_size": 28996},
        "bert-large-uncased": _LARGE,
        "bert-large-cased": sized(24, 1024, 16, vocab_size=28996),
        "bert-large-uncased-whole-word-masking": _LARGE,
        "bert-base-chinese": _CHINESE,
        "bert-base-multilingual-cased": {"vocab_size": 119547},
        "bert-base-multilingual-uncased": {"vocab_size": 105879},
        "sentence-transformers/all-MiniLM-L6-v2": _MINILM_L6,
        "sentence-transformers/all-MiniLM-L12-v2": _MINILM_L12,
        "nreimers/MiniLM-L6-H384-uncased": _MINILM_L6,
        "microsoft/MiniLM-L12-H384-uncased": _MINILM_L12,
        "prajjwal1/bert-tiny": sized(2, 128, 2),
        "prajjwal1/bert-mini": sized(4, 256, 4),
        "prajjwal1/bert-small": sized(4, 512, 8),
        "prajjwal1/bert-medium": sized(8, 512, 8),
        "hfl/chinese-bert-wwm": _CHINESE,
        "hfl/chinese-bert-wwm-ext": _CHINESE,
        "hfl/chinese-roberta-wwm-ext": _CHINESE,
        "hfl/chinese-roberta-wwm-ext-large": _CHINESE_LARGE,
        "hfl/chinese-macbert-base": _CHINESE,
        "hfl/chinese-macbert-large": _CHINESE_LARGE,
    },
    has_pooler=True,
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
)
