"""Which words of a text are hidden for masked language modelling, and by what.

Everything drawn is a hash of (seed, epoch, example, place): no generator is carried along, so that any rank can draw what
any other draws, in any order.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.errors import RunFailed
from launcher.recipe.mlm import MaskedWords
from launcher.train.tokens.gather import Gathered, Indices

MASK = "[MASK]"
"""What a text to predict may hold in place of the model's own mask token."""
IGNORE = -100
"""Mark of a token that the loss leaves out."""
Uints = NDArray[np.uint64]


@dataclass(frozen=True)
class Rules:
    """How words are hidden; the defaults of the recipe are BERT's (Devlin et al., 2019)."""

    probability: float
    """Share of the words that are to be guessed."""
    mask: float
    """Share of their tokens that [MASK] replaces."""
    random: float
    """Share of their tokens that any other token replaces; the rest stay as they are."""
    mask_id: int
    vocabulary: NDArray[np.int64]
    """(V,) tokens to replace by."""


def hide(
    found: Gathered, examples: Indices, epoch: int, seed: int, rules: Rules
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(ids with words hidden, ids to guess or IGNORE), both (t,); `found.marks` number the words, IGNORE for none.

    Each word is hidden with `rules.probability`, and of every example at least one.
    """
    assert found.marks is not None
    each = found.tokens_each()
    example = np.repeat(examples, each)
    sequence = np.repeat(np.arange(len(found.lengths)), found.lengths)
    starts = np.cumsum(each) - each
    place = np.arange(len(found.ids)) - np.repeat(starts, each)
    window = sequence - np.repeat(sequence[starts], each)
    drawn = _uniform(seed, epoch, example, window, found.marks)
    drawn[found.marks == IGNORE] = np.inf
    least = np.repeat(np.minimum.reduceat(drawn, starts), each)
    hidden = (drawn < rules.probability) | ((drawn == least) & np.isfinite(drawn))
    fate = _uniform(seed, epoch, example, place, np.array(-1))
    other = rules.vocabulary[_hash(seed, epoch, example, place, np.array(-2)) % len(rules.vocabulary)]
    ids = np.where(hidden & (fate < rules.mask), rules.mask_id, found.ids)
    ids = np.where(hidden & (fate >= rules.mask) & (fate < rules.mask + rules.random), other, ids)
    return ids, np.where(hidden, found.ids, IGNORE)


def number_words(encoding: Any, text: str, mlm: MaskedWords) -> NDArray[np.int32]:
    """(t,) number of the word that each token belongs to, IGNORE for special tokens; each token is one by default.

    `encoding` is that of tokenizers. Raises RunFailed of class `launch` where the segmenter isn't installed.
    """
    special = np.array(encoding.special_tokens_mask, bool)
    if mlm.segmenter is not None:
        starts = _word_starts(text)
        words = [bisect_right(starts, start) for start, _ in encoding.offsets]
    elif mlm.whole_word:
        words = [-1 if word is None else word for word in encoding.word_ids]
    else:
        words = list(range(len(special)))
    return np.where(special, IGNORE, np.array(words, np.int32)).astype(np.int32)


def _word_starts(text: str) -> list[int]:
    """Where words begin, as jieba cuts Chinese text."""
    try:
        import jieba
    except ImportError:
        remedy = "pip install 'launch-encoders[chinese]', or mlm.segmenter=null"
        raise RunFailed("launch", "mlm.segmenter=jieba: jieba is not installed", remedy) from None
    jieba.setLogLevel("ERROR")
    return [start for _, start, _ in jieba.tokenize(text)]


def _uniform(*parts: Any) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on the parts alone."""
    return (_hash(*parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _hash(*parts: Any) -> Uints:
    """A 64-bit hash of broadcast integers: splitmix64's finalizer (Steele et al., 2014) after each."""
    state = np.zeros(np.broadcast_shapes(*(np.shape(part) for part in parts)), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state + np.asarray(part, np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state
