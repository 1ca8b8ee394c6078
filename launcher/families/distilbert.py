"""DistilBERT (Sanh et al., 2019, arXiv:1910.01108): six layers of BERT under names of their own, without token types."""

from __future__ import annotations

from launcher.families.shared.base import Family
from launcher.families.shared.names import WITHOUT_TYPES, ConfigKeys, DropoutKeys, Modules, Sizes

FAMILY = Family(
    name="distilbert",
    known={
        "distilbert-base-uncased": {},
        "distilbert-base-cased": {"vocab_size": 28996},
        "distilbert-base-multilingual-cased": {"vocab_size": 119547},
    },
    sizes=Sizes(layers=6, types=0),
    keys=ConfigKeys(layers="n_layers", hidden="dim", heads="n_heads", intermediate="hidden_dim"),
    modules=Modules(
        layers="transformer.layer",
        attention_in=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_out="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
        compiled=("ffn",),
    ),
    head_modules=("pre_classifier", "classifier", "qa_outputs"),
    lora_targets=("q_lin", "v_lin"),
    dropout=DropoutKeys(("dropout",), ("attention_dropout",), ("seq_classif_dropout",)),
    packed_by="distilbert",
    can_capture=True,
    can_shrink=True,
    dropout_masks=1,
    special_tokens=WITHOUT_TYPES,
)
