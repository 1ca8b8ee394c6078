"""RoBERTa (Liu et al., 2019, arXiv:1907.11692): BERT's modules, and positions that start behind the padding id."""

from __future__ import annotations

from launcher.families.shared.base import Family
from launcher.families.shared.names import Sizes, SpecialTokens, sized

SPECIAL_TOKENS = SpecialTokens(
    ordered=("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    start="<s>",
    end="</s>",
    pad="<pad>",
    unknown="<unk>",
    mask="<mask>",
    pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
    token_types=False,
)
BASE: dict[str, object] = {"max_position_embeddings": 514, "type_vocab_size": 1}
LARGE = BASE | sized(24, 1024, 16)

FAMILY = Family(
    name="roberta",
    speaks={"en": "FacebookAI/roberta-base"},
    read_gb=160,
    known={
        "roberta-base": BASE,
        "roberta-large": LARGE,
        "roberta-large-mnli": LARGE,
        "distilroberta-base": {**BASE, "num_hidden_layers": 6},
    },
    sizes=Sizes(vocab=50265),
    positions_start_behind_padding=True,
    has_pooler=True,
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
    special_tokens=SPECIAL_TOKENS,
)
