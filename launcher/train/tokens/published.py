"""What the files of a tokenizer say, where transformers goes by the defaults of a class.

From version 5 on transformers builds most tokenizers anew from their vocabulary. Where tokenizer_config.json says nothing of
upper case it makes every BERT's texts lower case, those of a model with a cased vocabulary too; a tokenizer.json that cuts
texts in its own way is read for its vocabulary alone, and so is the sentencepiece model of DeBERTa, which turns an ellipsis
into three dots and wide characters into narrow ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Entries of tokenizer_config.json -> of a BertNormalizer in tokenizer.json."""
CASED = 0.01
"""Of a vocabulary: entries in upper case that an uncased model would not have."""
PROBES = (
    "The Quick brown Fox, 3.14% of Łódź's cafés — naïve?",
    "  two  spaces\tand 中文字 \uff21\uff22 \ufb01 \u2460",
    "don't_split@this#one http://a.b/c-d",
)
"""Texts that tokenizers of different kinds cut differently."""


def settings(tokenizer: Any, said: Mapping[str, Any], described: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a BERT's tokenizer is to be loaded with: what tokenizer_config.json, `said`, leaves to transformers' defaults.

    `described` is what tokenizer.json holds, where there is one.
    """
    loaded = _described(tokenizer.backend_tokenizer.normalizer)
    if loaded.get("type") != "BertNormalizer":
        return {}
    if described is None:
        cased = "do_lower_case" not in said and loaded["lowercase"] and _is_cased(tokenizer)
        return {"do_lower_case": False} if cased else {}
    normalizer = described.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    unsaid = {key: name for key, name in SETTINGS.items() if key not in said}
    return {key: normalizer[name] for key, name in unsaid.items() if normalizer[name] != loaded[name]}


def cuts_otherwise(backend: Tokenizer, described: Mapping[str, Any], path: Path) -> bool:
    """Whether the tokenizer.json at `path` gives other tokens than what was made of it."""
    from tokenizers import Tokenizer

    parts = ("normalizer", "pre_tokenizer")
    if all(_kinds(_described(getattr(backend, part))) == _kinds(described.get(part)) for part in parts):
        return False
    other = Tokenizer.from_file(str(path))
    return any(_pieces(backend, probe) != _pieces(other, probe) for probe in PROBES)


def with_its_characters(tokenizer: Any) -> Tokenizer | None:
    """The tokenizer's fast part with the table of characters of its sentencepiece model; None where nothing is lacking."""
    vocabulary = str(getattr(tokenizer, "vocab_file", None))
    if not vocabulary.endswith(".model"):
        return None
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Tokenizer, normalizers

    model: Any = vars(sentencepiece_model_pb2)["ModelProto"]()
    model.ParseFromString(Path(vocabulary).read_bytes())
    table = model.normalizer_spec.precompiled_charsmap
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    if not table or "Precompiled" in _kinds(_described(backend.normalizer)):
        return None
    later = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([normalizers.Precompiled(table), *later])
    return backend


def input_names(tokenizer: Any, said: Mapping[str, Any], type_rows: int) -> list[str] | None:
    """Its `model_input_names`, where those that it has don't fit a model with so many token types; else None.

    Those of ALBERT and of no class in particular leave them out, and one of BERT's class may belong to a RoBERTa, which has one.
    """
    names, kind = list(tokenizer.model_input_names), "token_type_ids"
    if not any(tokenizer.backend_tokenizer.encode("a", "a").type_ids):
        return None
    if type_rows == 1 and kind in names:
        return [name for name in names if name != kind]
    if type_rows > 1 and kind not in names and "model_input_names" not in said:
        return [names[0], kind, *names[1:]]
    return None


def _is_cased(tokenizer: Any) -> bool:
    words = [word for word in tokenizer.get_vocab() if word[:1] not in ("[", "<")]
    return len([word for word in words if word != word.lower()]) > CASED * len(words)


def _described(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as tokenizer.json has it."""
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _kinds(part: Mapping[str, Any] | None) -> list[str]:
    """The kinds of which a part is made, in order."""
    within = (part or {}).get("normalizers", (part or {}).get("pretokenizers"))
    if within is None:
        return [str(part["type"])] if part else []
    return [kind for each in within for kind in _kinds(each)]


def _pieces(backend: Tokenizer, text: str) -> list[str]:
    return list(backend.encode(text, add_special_tokens=False).tokens)
