"""What the files of sentence-transformers say of a model: how its vectors are made, and where its texts are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launcher.recipe.embedding import Embedding

Read = Callable[[str], Any]
"""Gives what a JSON file of a model holds, None where there is none."""
SETTINGS = "config_sentence_transformers.json"
OF_THE_ENCODER = "sentence_bert_config.json"
"""Whatever the encoder's family."""
DOCUMENTS = ("document", "passage", "corpus")
"""Names of the prompt of documents, in the order in which they are looked for."""


def text_length(read: Read) -> int | None:
    """Tokens that its texts are cut to; None where that isn't said, or it is no model of theirs."""
    length = _object(read(OF_THE_ENCODER)).get("max_seq_length") if _modules(read) else None
    return length if isinstance(length, int) and length > 0 else None


def differences(settings: Embedding, read: Read) -> Iterator[str]:
    """What sentence-transformers does otherwise with the model that is started from."""
    modules = _modules(read)
    if not modules:
        return
    for kind, path in modules:
        if kind == "Pooling":
            yield from _of_pooling(settings, _object(read(f"{path}/config.json")))
        elif kind not in ("Transformer", "Normalize"):
            yield f"its {path} ({kind}) is left out: vectors are those of the encoder"
    given = _object(read(SETTINGS))
    if given.get("similarity_fn_name") == "dot" and not any(kind == "Normalize" for kind, _ in modules):
        yield "its vectors are compared by their products, and here by their cosines"
    if (size := given.get("truncate_dim")) is not None:
        yield f"it keeps the first {size} entries of a vector, and this run all of them"
    if _object(read(OF_THE_ENCODER)).get("do_lower_case") and not _object(read("tokenizer_config.json")).get(
        "do_lower_case"
    ):
        yield "it makes texts lower case before its tokenizer reads them, and this run doesn't"
    yield from _of_prompts(settings, _object(given.get("prompts")))


def _of_pooling(settings: Embedding, config: Mapping[str, Any]) -> Iterator[str]:
    how = _pooling(config)
    if how and how != settings.pooling:
        yield f"it was trained with embedding.pooling={how}, and this run has {settings.pooling}"
    if config.get("include_prompt") is False:
        yield "its vectors leave out the tokens of prompts, and those of this run don't"


def _of_prompts(settings: Embedding, prompts: Mapping[str, Any]) -> Iterator[str]:
    told = {name: text for name, text in prompts.items() if text}
    own = settings.prompts
    query = told.get("query", "")
    document = next((told[name] for name in DOCUMENTS if name in told), "")
    if told and not own.query and not own.document:
        yield f"it was trained with prompts, and embedding.prompts has none: {told}"
    elif (query or document) and (query, document) != (own.query, own.document):
        yield f"it was trained with other prompts than embedding.prompts has: {told}"


def _pooling(config: Mapping[str, Any]) -> str:
    """As embedding.pooling has it, or by their own name."""
    prefix = "pooling_mode_"
    modes = [
        key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value is True
    ]
    given = config.get("pooling_mode")
    modes += given if isinstance(given, list) else [given] if given else []
    return " and ".join({"cls_token": "cls", "mean_tokens": "mean"}.get(mode, str(mode)) for mode in modes)


def _modules(read: Read) -> list[tuple[str, str]]:
    """(kind, path) of each; none where it is no model of theirs."""
    found = read("modules.json")
    listed = map(_object, found if isinstance(found, list) else [])
    return [(str(each.get("type")).rpartition(".")[2], str(each.get("path"))) for each in listed]


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
