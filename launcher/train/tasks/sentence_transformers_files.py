"""The files that make a saved model a directory of sentence-transformers, in the form that its versions from 2 on read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launcher.recipe.embedding import Embedding

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
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {
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


def differences(settings: Embedding, read: Callable[[str], Any]) -> list[str]:
    """What sentence-transformers would do otherwise with the model that is started from.

    `read` gives what a JSON file of it holds, None where there is none: it is not one of theirs without modules.json.
    """
    found = []
    for module in read("modules.json") or ():
        kind, path = str(module["type"]).rpartition(".")[2], str(module["path"])
        if kind == "Pooling":
            how = _pooling(read(f"{path}/config.json") or {})
            if how and how != settings.pooling:
                found.append(
                    f"it was trained with embedding.pooling={how}, and this run has {settings.pooling}"
                )
        elif kind not in ("Transformer", "Normalize"):
            found.append(f"its {path} ({kind}) is left out: vectors are those of the encoder")
    prompts = (read("config_sentence_transformers.json") or {}).get("prompts") or {}
    told = {name: text for name, text in prompts.items() if text}
    if told and not settings.prompts.query and not settings.prompts.document:
        found.append(f"it was trained with prompts, and embedding.prompts has none: {told}")
    return found


def _pooling(config: Mapping[str, Any]) -> str:
    """As embedding.pooling has it, or by their own name."""
    prefix = "pooling_mode_"
    modes = [
        key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value is True
    ]
    given = config.get("pooling_mode")
    modes += given if isinstance(given, list) else [given] if given else []
    return " and ".join({"cls_token": "cls", "mean_tokens": "mean"}.get(mode, mode) for mode in modes)
