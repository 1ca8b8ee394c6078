"""The tokenizer's fast part, with our own truncation and no padding, whatever its files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from launcher.columns import text_columns
from launcher.errors import RunFailed
from launcher.recipe import Recipe
from launcher.train.tokenizer import LONGEST

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Tokens:
    """A batch of tokenised examples: s sequences of t tokens together."""

    ids: NDArray[np.int32]
    """(t,) of all sequences, one after another, special tokens included."""
    lengths: NDArray[np.int64]
    """(s,) tokens of each sequence."""
    type_ids: NDArray[np.uint8] | None
    """(t,) 0 in the first text of a pair, 1 in the second; None where the model has no such thing."""
    truncated: int
    """Examples that were cut."""
    sequences: NDArray[np.int64] | None = None
    """(examples,) how many of the sequences belong to each example; None: one each."""
    marks: NDArray[np.int32] | None = None
    """(t,) or (t, k) what the task notes for each token."""
    empty: int = 0
    """Examples without any text."""
    records: Sequence[dict[str, Any]] | None = None
    """What the task keeps of each example besides tokens; None for nothing."""


@dataclass(frozen=True)
class Encoder:
    """The tokenizer's fast part, with our own truncation and no padding, whatever its files say."""

    backend: Tokenizer
    max_length: int
    token_types: bool
    """Whether token types are kept: the model has them, and there are pairs."""

    @classmethod
    def of(cls, recipe: Recipe, tokenizer: Any, position_limit: int | None) -> Encoder:
        """Raises RunFailed of class `data` where data.max_length doesn't fit the model."""
        from tokenizers import Tokenizer

        pair = is_pair(recipe)
        limit = min(tokenizer.model_max_length, position_limit or tokenizer.model_max_length)
        length = recipe.data.max_length or min(limit, LONGEST)
        if position_limit is not None and length > position_limit:
            text = f"data.max_length={length} is longer than the model allows"
            raise RunFailed("data", text, f"data.max_length={position_limit} or less")
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        least = backend.num_special_tokens_to_add(pair) + 1
        if length < least:
            text = f"data.max_length={length} leaves no room beside the special tokens"
            raise RunFailed("data", text, f"data.max_length={least} or more")
        backend.no_padding()
        backend.enable_truncation(length)
        return cls(backend, length, pair and "token_type_ids" in tokenizer.model_input_names)

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]], empty: int = 0) -> Tokens:
        """Tokens of texts or pairs, `empty` of which hold nothing."""
        encodings = self.backend.encode_batch_fast(texts)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        total = int(lengths.sum())
        types = None
        if self.token_types:
            types = np.fromiter(chain.from_iterable(item.type_ids for item in encodings), np.uint8, total)
        longest = compress(encodings, (lengths == self.max_length).tolist())
        return Tokens(
            ids=np.fromiter(chain.from_iterable(ids), np.int32, total),
            lengths=lengths,
            type_ids=types,
            truncated=sum(1 for encoding in longest if encoding.overflowing),
            empty=empty,
        )


def is_pair(recipe: Recipe) -> bool:
    """Whether a sequence is two texts: those of two columns, or a question and one of its choices."""
    return recipe.task == "multiple-choice" or len(text_columns(recipe)) == 2
