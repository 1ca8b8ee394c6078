"""ELECTRA (Clark et al., 2020, arXiv:2003.10555): BERT's layers above embeddings that may be narrower."""

from __future__ import annotations

from launcher.families.shared.base import Family
from launcher.families.shared.names import ConfigKeys, Modules, Sizes


def _sized(layers: int, hidden: int, heads: int) -> dict[str, object]:
    """Entries of config.json for embeddings as wide as the hidden states."""
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * hidden, "embedding_size": hidden}


FAMILY = Family(
    name="electra",
    known={
        "google/electra-small-discriminator": {},
        "google/electra-base-discriminator": _sized(12, 768, 12),
        "google/electra-large-discriminator": _sized(24, 1024, 16),
    },
    sizes=Sizes(hidden=256, heads=4, intermediate=1024, embedding=128),
    keys=ConfigKeys(embedding="embedding_size"),
    modules=Modules(below=("embeddings", "embeddings_project")),
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
)
