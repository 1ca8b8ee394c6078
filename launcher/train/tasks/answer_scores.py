"""Exact match and F1 of answers: of words as the official evaluation of SQuAD, of characters as those of CMRC 2018 and KorQuAD.

SQuAD: Rajpurkar et al., 2016 and 2018. CMRC 2018: Cui et al., 2019, arXiv:1810.07366, where F1 is that of the longest run of
tokens that both have; a Chinese character is a token there, and so is a word in other letters. KorQuAD: Lim et al., 2019,
arXiv:1909.07005, where the order of characters doesn't count: Korean words end in particles that answers lack.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from launcher.tasks.shared.words import HAN, IDEOGRAPHS

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
CHARACTERS = rf"{IDEOGRAPHS}\uac00-\ud7a3\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Of Chinese, Japanese and Korean, and of Thai, Lao, Burmese and Khmer, which have no blanks between words either."""
TOKENS = re.compile(rf"[{CHARACTERS}]|[^\W{CHARACTERS}]+")
"""Such characters, and words of other scripts; no punctuation."""
How = Literal["auto", "words", "characters"]


def normalise(text: str) -> str:
    """Lower case, without punctuation, English articles and superfluous blanks."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, answers: Sequence[str], how: How = "auto") -> float:
    """1 where the prediction is one of the answers."""
    if _by_characters(answers, how):
        return float(any(_tokens(predicted) == _tokens(answer) for answer in answers))
    return float(any(normalise(predicted) == normalise(answer) for answer in answers))


def f1(predicted: str, answers: Sequence[str], how: How = "auto") -> float:
    """The overlap with the answer that fits best: harmonic mean of precision and recall."""
    if _by_characters(answers, how):
        measured = _f1_of_run if any(re.search(HAN, answer) for answer in answers) else _f1
        return max(measured(_tokens(predicted), _tokens(answer)) for answer in answers)
    return max(_f1(normalise(predicted).split(), normalise(answer).split()) for answer in answers)


def _by_characters(answers: Sequence[str], how: How) -> bool:
    found = how == "auto" and any(re.search(f"[{CHARACTERS}]", answer) for answer in answers)
    return found or how == "characters"


def _tokens(text: str) -> list[str]:
    return TOKENS.findall(text.lower())


def _f1(predicted: list[str], answer: list[str]) -> float:
    if not predicted or not answer:
        return float(predicted == answer)
    common = sum((Counter(predicted) & Counter(answer)).values())
    return 2 * common / (len(predicted) + len(answer))


def _f1_of_run(predicted: list[str], answer: list[str]) -> float:
    if not predicted or not answer:
        return float(predicted == answer)
    run = SequenceMatcher(None, predicted, answer, autojunk=False).find_longest_match()
    return 2 * run.size / (len(predicted) + len(answer))
