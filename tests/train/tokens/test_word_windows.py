"""Which window judges a word: each word once, where it has most context, and in the order of the text."""

from __future__ import annotations

import numpy as np
import pytest

from launcher.train.tokens.word_windows import NONE, judged_words


def cut(text: list[int], room: int, shared: int) -> list[np.ndarray]:
    """Windows of `room` tokens with a special token at either end, as a tokenizer cuts them."""
    starts = [0]
    while starts[-1] + room < len(text):
        starts.append(starts[-1] + room - shared)
    return [np.array([NONE, *text[start : start + room], NONE]) for start in starts]


def test_a_text_of_one_window_has_its_words_where_they_begin() -> None:
    (found,) = judged_words([np.array([NONE, 0, 1, 1, 1, 2, NONE])], step=9)
    assert found.tolist() == [NONE, 0, 1, NONE, NONE, 2, NONE]
    (found,) = judged_words([np.array([NONE, 1, 3, NONE])], step=9)
    assert found.tolist() == [NONE, 1, 3, NONE]


def test_a_word_is_judged_where_it_has_most_context() -> None:
    # Two windows of 6 words share 4. Words 2 and 3 have 3 and 2 words behind them in the first window, and 0 and 1 before them
    # in the second.
    one, other = judged_words(cut(list(range(8)), 6, 4), step=2)
    assert one.tolist() == [NONE, 0, 1, 2, 3, NONE, NONE, NONE]
    assert other.tolist() == [NONE, NONE, NONE, 4, 5, 6, 7, NONE]


def test_a_word_that_a_window_cuts_in_two_is_judged_where_it_is_whole() -> None:
    # The tokens of word 2 are 3 to 6: the first window, tokens 0 to 5, ends within it.
    one, other = judged_words(cut([0, 1, 1, 2, 2, 2, 2, 3, 4], 6, 3), step=3)
    assert one.tolist() == [NONE, 0, 1, NONE, NONE, NONE, NONE, NONE]
    assert other.tolist() == [NONE, 2, NONE, NONE, NONE, 3, 4, NONE]


@pytest.mark.parametrize("shared", [0, 1, 2, 5, 8])
def test_every_word_is_judged_once_and_in_order_by_the_window_that_a_search_finds(shared: int) -> None:
    random = np.random.default_rng(shared)
    for _ in range(60):
        text = np.repeat(np.arange(40), random.integers(0, 5, 40)).tolist()
        windows = cut(text, 9, shared)
        found = judged_words(windows, step=9 - shared)
        told = np.concatenate(found)
        assert told[told != NONE].tolist() == sorted(set(text))
        for word in set(text):
            first, last = text.index(word), len(text) - 1 - text[::-1].index(word)
            context = {
                index: min(first - start, start + len(window) - 3 - last)
                for index, window in enumerate(windows)
                if (start := index * (9 - shared)) <= first < start + len(window) - 2
            }
            (judge,) = (index for index, window in enumerate(found) if word in window)
            assert context[judge] == max(context.values())
