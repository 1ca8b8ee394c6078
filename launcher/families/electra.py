"""ELECTRA (Clark et al., 2020, arXiv:2003.10555): BERT's layers above embeddings that may be narrower."""

from __future__ import annotations

from launcher.families.shared.base import Family
from launcher.families.shared.names import ConfigKeys, Modules, Sizes, sized

FAMILY = Family(
    name="electra",
    known={
        "google/electra-small-discriminator": {},
        "google/electra-base-discriminator": sized(12, 768, 12, embedding_size=768),
        "google/electra-large-discriminator": sized(24, 1024, 16, embedding_size=1024),
    },
    sizes=Sizes(hidden=256, heads=4, intermediate=1024, embedding=128),
    keys=ConfigKeys(embedding="embedding_size"),
    modules=Modules(below=("embeddings", "embeddings_project")),
    packed_by="bert",
    can_capture=True,
    can_shrink=True,
)
