"""Which window of a long text judges each of its words: the one in which the word has most context on its poorer side.

As BERT's own code chooses the window of a token in question answering ("max context"; Devlin et al., 2019). Windows overlap,
so that a word at the edge of one stands farther inside of another; each word is judged once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]
NONE = -1
"""No word: of a special token, or of a token that begins none that this window judges."""


def judged_words(windows: Sequence[Array], step: int) -> list[Array]:
    """For each window (t,) the word that begins at each token and is judged there, NONE elsewhere.

    `windows` (t,) name the word that each token belongs to, NONE for special tokens; each window begins `step` tokens behind the
    one before. From window to window the words go on in their order, so that together they are the text.
    """
    if len(windows) == 1:
        (word,) = windows
        return [np.where(np.diff(word, prepend=NONE) != 0, word, NONE)]
    held = [np.flatnonzero(window != NONE) for window in windows]
    starts = step * np.arange(len(windows))
    ends = starts + np.array([len(places) for places in held])
    text = np.full(int(ends[-1]), NONE, np.int64)
    for window, places, start, end in zip(windows, held, starts, ends, strict=True):
        text[start:end] = window[places]
    first = np.flatnonzero(np.diff(text, prepend=NONE))
    chosen = _best_windows(first, np.append(first[1:], len(text)), starts, ends)
    found = [np.full(len(window), NONE, np.int64) for window in windows]
    for index, (judged, places, start) in enumerate(zip(found, held, starts, strict=True)):
        own = first[chosen == index]
        judged[places[own - start]] = text[own]
    return found


def _best_windows(first: Array, behind: Array, starts: Array, ends: Array) -> Array:
    """(words,) the window that judges each word, by the tokens (words,) it begins with and ends before.

    Of those that hold its first token it is the one with most tokens on the side where there are fewer, the earlier of equals.
    """
    before, after = first - starts[:, None], ends[:, None] - behind
    context = np.minimum(before, after)
    holds = (before >= 0) & (first < ends[:, None])
    best: Array = np.where(holds, context, np.iinfo(np.int64).min).argmax(axis=0)
    return best
