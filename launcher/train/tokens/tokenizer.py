"""The tokenizer: loaded with a pretrained model, or trained on the data for a model made from scratch."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import RunFailed
from launcher.families import FAMILIES, find
from launcher.families.shared.names import SpecialTokens
from launcher.planning.model_files import NO_MODELS, fetching_remedy
from launcher.recipe.model import Scratch
from launcher.recipe.recipe import LONGEST
from launcher.train.hub import wait_for_hub
from launcher.train.pretrained import found_file, read_config
from launcher.train.tokens import published

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


def load_tokenizer(
    name: str, revision: str | None, tell: Callable[[str], None] | None = None
) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a hub id or directory, from the disk where it is there.

    `tell` hears in a sentence what its files say otherwise than transformers would do. Raises RunFailed of class `model` where
    there is none.
    """
    tokenizer, corrections = _loaded(name, revision)
    if corrections and tell is not None:
        tell(f"{name}: texts are read as its files say, not as transformers would: {', '.join(corrections)}")
    return tokenizer


def _loaded(name: str, revision: str | None) -> tuple[PreTrainedTokenizerFast, list[str]]:
    try:
        return _load(name, revision, local_files_only=True)
    except Exception as error:  # noqa: BLE001  (transformers and tokenizers raise many kinds, bare Exception among them)
        failure = error
    if not Path(name).is_dir():
        try:
            wait_for_hub()
            return _load(name, revision, local_files_only=False)
        except Exception as error:  # noqa: BLE001  (as above)
            failure = error
    cause = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    remedy = f"check model.name and model.revision; or {fetching_remedy(os.environ, NO_MODELS)}"
    if Path(name).is_dir() or not isinstance(failure, OSError):
        remedy = "model.name must hold tokenizer.json, or the vocabulary files that transformers makes one of"
    raise RunFailed("model", f"the tokenizer of {name} can't be loaded: {cause}", remedy)


def _load(
    name: str, revision: str | None, local_files_only: bool
) -> tuple[PreTrainedTokenizerFast, list[str]]:
    """The tokenizer, and what its files made other than transformers would."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    where: dict[str, Any] = {"revision": revision or "main", "local_files_only": local_files_only}
    config = read_config(name, **where)

    def load(**changes: Any) -> Any:
        return AutoTokenizer.from_pretrained(name, config=config, trust_remote_code=False, **where, **changes)

    tokenizer = load()
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("it has no fast tokenizer (tokenizer.json)")
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Without vocabulary files transformers 5 makes a tokenizer of the special tokens alone.
        raise ValueError("its vocabulary is missing")
    said = _json(found_file(name, where["revision"], "tokenizer_config.json")) or {}
    path = found_file(name, where["revision"], "tokenizer.json")
    described = _json(path)
    corrections: list[str] = []
    if changes := published.settings(tokenizer, said, described):
        tokenizer = load(**changes)
        corrections += [f"{key}={str(value).lower()}" for key, value in changes.items()]
    kept = {**tokenizer.special_tokens_map, "model_input_names": tokenizer.model_input_names}
    if path and described and published.cuts_otherwise(tokenizer.backend_tokenizer, described, path):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name, **where, **kept)
        corrections.append("words as tokenizer.json cuts them")
    elif not described and (backend := published.with_its_characters(tokenizer)):
        kept["model_max_length"] = tokenizer.model_max_length
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **kept)  # type: ignore[no-untyped-call]
        corrections.append("characters by the table of its sentencepiece model")
    if names := published.input_names(tokenizer, said, getattr(config, "type_vocab_size", 0)):
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
        corrections.append(f"{'with' if 'token_type_ids' in names else 'without'} token types")
    for entry in ("is_local", "local_files_only"):  # else they are saved with it
        tokenizer.init_kwargs.pop(entry, None)
    return tokenizer, corrections


def _json(path: Path | None) -> dict[str, Any] | None:
    """What a file holds; None where there is none."""
    return None if path is None else dict(json.loads(path.read_bytes()))


def for_words(description: str) -> str:
    """The tokenizer, given and returned as JSON, so that every word of a list is as one behind a blank.

    As they come, RoBERTa's and ModernBERT's take such words for the rest of the word before.
    """
    parsed = json.loads(description)
    found = parsed["pre_tokenizer"] or {}
    for part in (found, *found.get("pretokenizers", ())):
        if part.get("type") == "ByteLevel":
            part["add_prefix_space"] = True
        elif part.get("type") == "Metaspace":
            part["prepend_scheme"] = "always"
    return json.dumps(parsed)


def position_limit(config: Any) -> int | None:
    """Longest sequence that a Hugging Face model configuration can take, in tokens, or None where it has no limit."""
    rows = getattr(config, "max_position_embeddings", None)
    if not isinstance(rows, int) or rows <= 0:
        return None
    if config.model_type not in FAMILIES:
        return rows
    return rows - find(config.model_type).first_position(config.pad_token_id)


def train_tokenizer(
    texts: Iterable[str], scratch: Scratch, max_length: int = LONGEST
) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer (Schuster and Nakajima, 2012) of at most `scratch.vocab` entries for `scratch.family`.

    The same texts give the same ids on any machine.
    """
    from tokenizers import processors
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from transformers import PreTrainedTokenizerFast

    specials = find(scratch.family).special_tokens
    vocabulary = _train_vocabulary(_wordpiece(specials, scratch), list(texts), specials, scratch.vocab)
    backend = _wordpiece(specials, scratch, vocabulary)
    backend.decoder = WordPieceDecoder(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{specials.start}:0 $A:0 {specials.end}:0",
        pair=specials.pair,
        special_tokens=[(token, vocabulary[token]) for token in (specials.start, specials.end)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=max_length,
        model_input_names=names if specials.token_types else [names[0], names[2]],
        cls_token=specials.start,
        sep_token=specials.end,
        pad_token=specials.pad,
        unk_token=specials.unknown,
        mask_token=specials.mask,
        do_lower_case=scratch.lowercase,
    )


def _wordpiece(
    specials: SpecialTokens, scratch: Scratch, vocabulary: dict[str, int] | None = None
) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=specials.unknown))
    backend.normalizer = normalizers.BertNormalizer(lowercase=scratch.lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _train_vocabulary(
    backend: Tokenizer, texts: list[str], specials: SpecialTokens, size: int
) -> dict[str, int]:
    """Token -> id; `backend` is of no other use afterwards.

    The library numbers continuing characters in the order of a hash table, which differs from run to run and decides
    ties between merges; so they are counted here and handed to it, in order, as if they were special tokens.
    """
    from tokenizers import trainers

    pieces = _characters(backend, texts, size // 2)
    alphabet = sorted({piece[-1] for piece in pieces})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*specials.ordered, *pieces],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend.get_vocab(with_added_tokens=False)


def _characters(backend: Tokenizer, texts: Iterable[str], most: int) -> list[str]:
    """The commonest characters, at the start of words and (as `##x`) within them, about `most` of both together."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(backend.normalizer.normalize_str(text).split())
    characters: Counter[str] = Counter()
    seen: set[str] = set()
    for chunk, count in chunks.items():
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(chunk):
            for place, character in enumerate(word):
                characters[character] += count
                seen.add(f"##{character}" if place else character)
    pieces: list[str] = []
    for character, _ in sorted(characters.items(), key=lambda item: (-item[1], item[0])):
        if len(pieces) >= most:
            break
        pieces += [piece for piece in (character, f"##{character}") if piece in seen]
    return sorted(pieces)
