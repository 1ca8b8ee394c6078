"""The files that make a saved model a directory of sentence-transformers, in the form that its versions from 2 on read."""

from __future__ import annotations

from typing import Any

from launcher.recipe.embedding import Embedding
from launcher.tasks.shared.sentence_transformers import OF_THE_ENCODER, SETTINGS

MODULES = "sentence_transformers.models."


def further_files(settings: Embedding, config: Any, longest: int) -> dict[str, Any]:
    """Path within the directory -> what its JSON holds; `longest` is what texts are cut to, in tokens."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [("2_Normalize", "Normalize")] if settings.normalize else []
    prompts = {"query": settings.prompts.query, "document": settings.prompts.document}
    return {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": MODULES + kind}
            for number, (path, kind) in enumerate(modules)
        ],
        OF_THE_ENCODER: {"max_seq_length": longest, "do_lower_case": False},
        SETTINGS: {
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": config.hidden_size,
            "pooling_mode_cls_token": settings.pooling == "cls",
            "pooling_mode_mean_tokens": settings.pooling == "mean",
            "include_prompt": True,
        },
    }
