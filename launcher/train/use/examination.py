"""Looks closely at the predictions of a split: what a run keeps of it, and what `launch eval --output` writes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launcher.runs.examination import MOST_LETTERS, MOST_MISTAKES, Examination, Mistake
from launcher.runs.files import write_json
from launcher.runs.records import tree_of
from launcher.train.tasks import Task
from launcher.train.tasks.base import Scores
from launcher.train.tasks.outcomes import Outcomes
from launcher.train.tokens.cache import TokenSplit
from launcher.visible import shortened


def examine(
    task: Task,
    tokenizer: Any,
    scores: Scores,
    split: TokenSplit,
    name: str,
    metrics: Mapping[str, float | None],
    label_names: Sequence[str],
    step: int | None = None,
) -> Examination:
    """What there is to see in the scores of a labelled split."""
    outcomes = task.outcomes(scores, task.truth(split), label_names)
    plain = {
        key: None if value is None or not np.isfinite(value) else value for key, value in metrics.items()
    }
    if outcomes is None:
        return Examination(name, len(split), plain, step)
    return Examination(
        name,
        len(split),
        plain,
        step,
        outcomes.classes,
        outcomes.confusion,
        outcomes.calibration(),
        tuple(_mistakes(outcomes, tokenizer, split, choices=task.spec.choices)),
        int(np.count_nonzero(outcomes.badness)) if outcomes.is_exact else None,
    )


def keep(directory: Path, examination: Examination) -> None:
    """Write it into a run's `evaluated/`; a full disk is no reason to end a training."""
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, exist_ok=True)
        write_json(directory / f"{examination.split}.json", tree_of(examination.bounded()))


def _mistakes(outcomes: Outcomes, tokenizer: Any, split: TokenSplit, *, choices: bool) -> list[Mistake]:
    """The worst predictions, the worst first."""
    worst = np.argsort(-outcomes.badness, kind="stable")[:MOST_MISTAKES]
    return [
        Mistake(
            (texts_and_choices if choices else texts_of)(tokenizer, split, index),
            shortened(outcomes.expected[index], MOST_LETTERS),
            shortened(outcomes.predicted[index], MOST_LETTERS),
            None if outcomes.confidence is None else float(outcomes.confidence[index]),
        )
        for index in map(int, worst)
        if outcomes.badness[index] > 0
    ]


def texts_of(tokenizer: Any, split: TokenSplit, index: int) -> tuple[str, ...]:
    """The texts of an example's first sequence as the model read them."""
    return _texts(tokenizer, split, index if split.sequences is None else int(split.sequences[index]))


def texts_and_choices(tokenizer: Any, split: TokenSplit, index: int) -> tuple[str, ...]:
    """What an example asks, and the choices that it has, each with its number."""
    assert split.sequences is not None
    every = [
        _texts(tokenizer, split, number)
        for number in range(int(split.sequences[index]), int(split.sequences[index + 1]))
    ]
    given = (f"{number}: {texts[-1] if texts else ''}" for number, texts in enumerate(every))
    return (*every[0][:-1], *given)


def _texts(tokenizer: Any, split: TokenSplit, sequence: int) -> tuple[str, ...]:
    ids = np.asarray(split.ids[split.offsets[sequence] : split.offsets[sequence + 1]])
    ends = np.flatnonzero(np.isin(ids, [token for token in (tokenizer.sep_token_id,) if token is not None]))
    parts = (tokenizer.decode(part, skip_special_tokens=True).strip() for part in np.split(ids, ends))
    return tuple(shortened(part, MOST_LETTERS) for part in parts if part)
