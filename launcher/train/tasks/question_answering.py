"""The stretch of a context that answers a question: SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018).

A long context is cut into windows that overlap by data.stride tokens; the best stretch of any window is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from launcher.tasks.question_answering import QuestionAnswering as QuestionSpec
from launcher.tasks.shared.answers import NOWHERE, Answer
from launcher.tasks.shared.rows import FileRow, Row
from launcher.train.reading.sources import Source, text_of
from launcher.train.tasks.answer_scores import exact_match, f1
from launcher.train.tasks.base import Array, MicroBatch, Resampling, Scores, Task
from launcher.train.tasks.outcomes import Outcomes
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens
from launcher.train.tokens.gather import EVALUATION, Indices

BEST = 20
"""Starts and ends that are combined in each window, as in the original BERT code."""
OUTSIDE = -1
"""Character offsets of tokens that are not of the context."""
START, END = 1, 2
"""Flags of the tokens with which the answer starts and ends."""
UNKNOWN = 4
"""Flag of the first token of a window from which nothing is learnt: there are answers, and the context holds none of them."""


NO_ANSWER = "(no answer)"


class QuestionAnswering(Task):
    """Marks are (t, 3): where a token starts and ends in the context, in characters, and whether the answer does there."""

    spec: QuestionSpec
    auto_class = "AutoModelForQuestionAnswering"
    # peft's model for it keeps token types and positions to itself.
    peft_type = None

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        return None

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        question, context = self.spec.text_columns
        pairs = [
            tuple(text_of(row.values.get(column), name, row) for column in (question, context))
            for name, row in rows
        ]
        windows = encoder.windows(pairs, self.recipe.data.stride, "only_second")
        found: Sequence[Sequence[Answer]] = targets or [()] * len(rows)
        marks = [
            token_marks(window, given)
            for parts, given in zip(windows, found, strict=True)
            for window in parts
        ]
        records = [
            {"context": pair[1], "answers": [answer.text for answer in given]}
            for pair, given in zip(pairs, found, strict=True)
        ]
        tokens = encoder.tokens(windows, empty=sum(not pair[1].strip() for pair in pairs))
        return replace(tokens, marks=np.concatenate([np.zeros((0, 3), np.int32), *marks]), records=records)

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        assert split.sequences is not None
        assert split.marks is not None
        windows = np.concatenate(
            [np.arange(split.sequences[example], split.sequences[example + 1]) for example in examples]
        )
        return float((np.asarray(split.marks[split.offsets[windows], 2]) != UNKNOWN).sum())

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Sum over windows of the mean cross-entropy of start and end; without the answer both are the first token."""
        assert batch.marks is not None
        logits = self.decided(output, batch)
        flags = pad_sequence(self._split(batch.marks[:, 2], batch), batch_first=True)
        wanted = torch.stack([((flags & flag) > 0).int().argmax(dim=1) for flag in (START, END)], dim=1)
        # As cross_entropy, which a GPU has no deterministic kernel for where there are two targets in each window.
        terms = -functional.log_softmax(logits.transpose(1, 2), dim=1).gather(1, wanted[:, None])[:, 0]
        return torch.where(flags[:, :1] == UNKNOWN, 0.0, terms).sum() / 2

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(windows, 2, longest): where the answer starts, and where it ends."""
        return self._windows(output, batch).transpose(1, 2)

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        return differences.sum() / 2

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        """For each example (k, 3) stretches as score, first and last character, best first; the first row is no answer."""
        assert batch.marks is not None
        assert batch.sequences is not None
        logits = self._windows(output, batch).double().cpu().numpy()
        offsets = self._split(batch.marks[:, :2].cpu(), batch)
        windows = [
            stretches(rows, place.numpy(), self.recipe.qa.max_answer)
            for rows, place in zip(logits, offsets, strict=True)
        ]
        cuts = np.cumsum(batch.sequences)[:-1].tolist()
        bounds = zip([0, *cuts], [*cuts, len(windows)], strict=True)
        return [best_of(windows[start:end]) for start, end in bounds]

    def truth(self, split: TokenSplit) -> Any:
        assert split.records is not None
        return split.records.all

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        predicted = self._texts(scores, truth)
        pairs = [(text, record["answers"] or [""]) for text, record in zip(predicted, truth, strict=True)]
        how = self.recipe.qa.f1
        values = {
            "exact_match": float(np.mean([exact_match(text, known, how) for text, known in pairs])),
            "f1": float(np.mean([f1(text, known, how) for text, known in pairs])),
        }
        if self.recipe.qa.unanswerable:
            right = [
                bool(text) == bool(record["answers"]) for text, record in zip(predicted, truth, strict=True)
            ]
            values["answerable_accuracy"] = float(np.mean(right))
        return values

    def _texts(self, scores: Scores, truth: Any) -> list[str]:
        """The answer to each question, empty for none."""
        return [
            self._answer(found, record["context"])[0] for found, record in zip(scores, truth, strict=True)
        ]

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """Every metric is a mean over questions."""
        each = [self.metrics([found], [record]) for found, record in zip(scores, truth, strict=True)]
        table = {name: np.array([row[name] for row in each]) for name in each[0]}
        return Resampling(
            len(each), lambda chosen: {name: float(column[chosen].mean()) for name, column in table.items()}
        )

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        predicted = self._texts(scores, truth)
        known, how = [record["answers"] or [""] for record in truth], self.recipe.qa.f1
        overlaps = [f1(text, answers, how) for text, answers in zip(predicted, known, strict=True)]
        exact = [exact_match(text, answers, how) for text, answers in zip(predicted, known, strict=True)]
        return Outcomes(
            badness=np.where(np.array(exact) > 0, 0.0, 1.0 - 0.99 * np.array(overlaps)),
            expected=[" / ".join(dict.fromkeys(answers)) or NO_ANSWER for answers in known],
            predicted=[text or NO_ANSWER for text in predicted],
        )

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`prediction` is the answer's text, empty for none; `start` and `end` its characters; `probabilities` of the best."""
        found = []
        for stretches_found, row in zip(scores, rows, strict=True):
            context = self.spec.context_of(row)
            text, start, end = self._answer(stretches_found, context)
            found.append(
                {
                    "prediction": text,
                    "start": start,
                    "end": end,
                    "probabilities": self._probabilities(stretches_found, context),
                }
            )
        return found

    def _answer(self, found: Array, context: str) -> tuple[str, int | None, int | None]:
        """(text, first character, character behind the last); ("", None, None) for no answer."""
        nothing, candidates = found[0, 0], found[1:]
        refused = self.recipe.qa.unanswerable and (
            not len(candidates) or nothing > candidates[0, 0] + self.recipe.qa.null_threshold
        )
        if refused or not len(candidates):
            return "", None, None
        start, end = int(candidates[0, 1]), int(candidates[0, 2])
        return context[start:end], start, end

    def _probabilities(self, found: Array, context: str) -> dict[str, float]:
        rows = found if self.recipe.qa.unanswerable else found[1:]
        rows = rows[np.argsort(-rows[:, 0], kind="stable")]
        chances = np.exp(rows[:, 0] - rows[:, 0].max()) if len(rows) else np.zeros(0)
        texts: dict[str, float] = {}
        for (_, start, end), p in zip(rows, chances / max(chances.sum(), 1e-300), strict=True):
            text = "" if start < 0 else context[int(start) : int(end)]
            texts[text] = texts.get(text, 0.0) + float(p)
        return dict(list(texts.items())[:5])

    def _windows(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(windows, longest, 2) float32 logits of start and end, -inf behind the end of a window."""
        both = torch.stack([output.start_logits, output.end_logits], dim=-1)
        return pad_sequence(
            self._split(batch.token_rows(both), batch), batch_first=True, padding_value=-torch.inf
        )

    def _split(self, rows: torch.Tensor, batch: MicroBatch) -> list[torch.Tensor]:
        assert batch.lengths is not None
        return list(torch.split(rows, batch.lengths.tolist()))


def token_marks(encoding: Any, answers: Sequence[Answer]) -> NDArray[np.int32]:
    """(t, 3) marks of a window: the first answer that the context holds, where the window holds it wholly.

    `encoding` is that of tokenizers.
    """
    of_context = np.array([sequence == 1 for sequence in encoding.sequence_ids])
    marks = np.full((len(of_context), 3), OUTSIDE, np.int32)
    marks[:, 2] = 0
    offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
    marks[of_context, :2] = offsets[of_context]
    answer = next((answer for answer in answers if answer.start != NOWHERE), None)
    if answer is None:
        marks[0, 2] = UNKNOWN if answers else 0
        return marks
    last = answer.start + len(answer.text)
    first_token = np.flatnonzero(
        of_context & (offsets[:, 0] <= answer.start) & (offsets[:, 1] > answer.start)
    )
    last_token = np.flatnonzero(of_context & (offsets[:, 0] < last) & (offsets[:, 1] >= last))
    if len(first_token) and len(last_token):
        marks[first_token[0], 2] |= START
        marks[last_token[0], 2] |= END
    return marks


def stretches(logits: Array, offsets: Array, longest: int) -> Array:
    """(1 + k, 3) of a window: score, first character, last; row 0 is no answer. `longest` is in tokens."""
    tokens = len(offsets)
    start, end = logits[:tokens, 0], logits[:tokens, 1]
    inside = np.flatnonzero(offsets[:, 0] != OUTSIDE)
    starts = inside[np.argsort(-start[inside], kind="stable")[:BEST]]
    ends = inside[np.argsort(-end[inside], kind="stable")[:BEST]]
    first, last = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
    allowed = (first <= last) & (last - first < longest)
    first, last = first[allowed], last[allowed]
    found = np.stack([start[first] + end[last], offsets[first, 0], offsets[last, 1]], axis=-1)
    found = found[np.argsort(-found[:, 0], kind="stable")[:BEST]]
    nothing = np.array([[start[0] + end[0], OUTSIDE, OUTSIDE]], np.float64)
    return np.concatenate([nothing, found])


def best_of(windows: Sequence[Array]) -> Array:
    """The stretches of all windows together; that there is no answer is as likely as in the window that says it least."""
    nothing = min((window[0] for window in windows), key=lambda row: float(row[0]))
    found = np.concatenate([window[1:] for window in windows])
    return np.concatenate([nothing[None], found[np.argsort(-found[:, 0], kind="stable")[:BEST]]])


TASK = QuestionAnswering
