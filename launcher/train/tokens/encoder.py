"""The tokenizer's fast part, with our own truncation and no padding, whatever its files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed
from launcher.recipe.recipe import LONGEST, Recipe
from launcher.tasks.shared.base import MOST_SHARED
from launcher.train.tokens.tokenizer import for_words
from launcher.train.tokens.word_windows import judged_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Cut = Literal["longest_first", "only_second"]
"""What of a pair that is too long gives way."""


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


class Windows(list[list[Any]]):
    """The encodings of the windows of each text or pair."""

    truncated: int = 0
    """Pairs whose first text was cut."""


def length_of(recipe: Recipe, tokenizer: Any, position_limit: int | None) -> int:
    """Tokens that a sequence is cut to."""
    limit = min(tokenizer.model_max_length, position_limit or tokenizer.model_max_length)
    return recipe.data.max_length or min(limit, LONGEST)


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

        spec = tasks.of(recipe)
        pair = spec.is_pair
        length = length_of(recipe, tokenizer, position_limit)
        if position_limit is not None and length > position_limit:
            text = f"data.max_length={length} is longer than the model allows"
            raise RunFailed("data", text, f"data.max_length={position_limit} or less")
        description = tokenizer.backend_tokenizer.to_str()
        if spec.words:
            description = for_words(description)
        backend = Tokenizer.from_str(description)
        least = backend.num_special_tokens_to_add(pair) + 1
        if length < least:
            text = f"data.max_length={length} leaves no room beside the special tokens"
            raise RunFailed("data", text, f"data.max_length={least} or more")
        backend.no_padding()
        backend.enable_truncation(length)
        return cls(backend, length, pair and "token_type_ids" in tokenizer.model_input_names)

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]], empty: int = 0) -> Tokens:
        """Tokens of texts or pairs, each cut to one sequence; `empty` of them hold nothing."""
        encodings = self.backend.encode_batch_fast(texts)
        tokens = self._tokens(encodings, empty)
        longest = compress(encodings, (tokens.lengths == self.max_length).tolist())
        return replace(tokens, truncated=sum(1 for encoding in longest if encoding.overflowing))

    def encode_together(
        self, texts: Sequence[str] | Sequence[tuple[str, str]], counts: NDArray[np.int64], empty: int = 0
    ) -> Tokens:
        """Tokens of examples that are `counts[i]` texts or pairs each, given one after another; `empty` of them hold nothing."""
        return replace(self.encode(texts, empty), sequences=counts)

    def encode_words(
        self, texts: Sequence[Sequence[str]], stride: int | None
    ) -> tuple[Tokens, list[list[NDArray[np.int64]]]]:
        """Tokens of texts that are cut into words, in windows where they are too long, which have `stride` tokens in common.

        For each window also (t,) the word that begins at each token and is judged in this window, -1 where there is none.
        """
        shared = self._shared(stride, pairs=False)
        windows = Windows(self._windows(texts, shared, "longest_first", words=True))
        step = self.max_length - self.backend.num_special_tokens_to_add(False) - shared
        judged = [judged_words([_word_ids(window) for window in parts], step) for parts in windows]
        return self.tokens(windows, empty=sum(not words for words in texts)), judged

    def windows(
        self,
        texts: Sequence[Any],
        stride: int | None,
        cut: Cut = "longest_first",
    ) -> Windows:
        """For each text or pair the encodings of its windows, which have `stride` tokens in common; none is left out.

        With `only_second` a first text that leaves less than half of a window to the second is cut to that half.
        """
        pairs = bool(texts) and isinstance(texts[0], tuple)
        shared = self._shared(stride, pairs, cut)
        if cut == "only_second":
            room = self.max_length - self.backend.num_special_tokens_to_add(pairs)
            return self._behind_questions(texts, shared, room)
        return Windows(self._windows(texts, shared, cut))

    def _shared(self, stride: int | None, pairs: bool, cut: Cut = "longest_first") -> int:
        """How many tokens neighbouring windows have in common. Raises RunFailed where that leaves nothing to go on by."""
        room = self.max_length - self.backend.num_special_tokens_to_add(pairs)
        most = room // 2 - 1 if pairs and cut == "longest_first" else room - 1
        shared = min(MOST_SHARED, self.max_length // 3, max(most, 0)) if stride is None else stride
        if shared > max(most, 0):
            text = f"texts can't be cut into windows of {self.max_length} tokens with {shared} in common"
            raise RunFailed("data", text, "raise data.max_length or lower data.stride")
        return shared

    def _windows(self, texts: Sequence[Any], stride: int, cut: Cut, words: bool = False) -> list[list[Any]]:
        self.backend.enable_truncation(self.max_length, stride=stride, strategy=cut)
        try:
            encodings = self.backend.encode_batch(texts, is_pretokenized=words)
        finally:
            self.backend.enable_truncation(self.max_length)
        return [[encoding, *encoding.overflowing] for encoding in encodings]

    def _behind_questions(self, pairs: Sequence[tuple[str, str]], stride: int, room: int) -> Windows:
        """Windows of the second texts, each behind the whole first one; fewer tokens are shared where that takes their place."""
        self.backend.no_truncation()
        lengths = self._lengths([question for question, _ in pairs])
        given = list(pairs)
        windows = Windows([] for _ in pairs)
        for index, (question, context) in enumerate(pairs):
            if lengths[index] > room // 2 and lengths[index] + self._lengths([context])[0] > room:
                beginning = self._first_tokens(question, room // 2)
                given[index], lengths[index] = (beginning, context), self._lengths([beginning])[0]
                windows.truncated += 1
        strides = [stride if stride < room - length else max(0, room - length) // 2 for length in lengths]
        for shared in dict.fromkeys(strides):
            places = [index for index, each in enumerate(strides) if each == shared]
            found = self._windows([given[index] for index in places], shared, "only_second")
            for index, parts in zip(places, found, strict=True):
                windows[index] = parts
        return windows

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _first_tokens(self, text: str, most: int) -> str:
        """The beginning of a text, cut behind one of its tokens, so that it has `most` tokens or less."""
        offsets = self.backend.encode(text, add_special_tokens=False).offsets
        cuts = (text[:end] for _, end in reversed(offsets[:most]))
        return next((cut for cut in cuts if self._lengths([cut])[0] <= most), "")

    def tokens(self, windows: Sequence[Sequence[Any]], empty: int = 0) -> Tokens:
        """Tokens of examples of several sequences each."""
        tokens = self._tokens([window for parts in windows for window in parts], empty)
        truncated = windows.truncated if isinstance(windows, Windows) else 0
        sequences = np.array([len(parts) for parts in windows], np.int64)
        return replace(tokens, sequences=sequences, truncated=truncated)

    def _tokens(self, encodings: Sequence[Any], empty: int) -> Tokens:
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        total = int(lengths.sum())
        types = None
        if self.token_types:
            types = np.fromiter(chain.from_iterable(item.type_ids for item in encodings), np.uint8, total)
        return Tokens(
            ids=np.fromiter(chain.from_iterable(ids), np.int32, total),
            lengths=lengths,
            type_ids=types,
            truncated=0,
            empty=empty,
        )


def _word_ids(encoding: Any) -> NDArray[np.int64]:
    """(t,) the word that each token belongs to, -1 for none."""
    return np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
