"""One of several choices, each read together with the question: a cross-encoder and a softmax over the choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from launcher.tasks.multiple_choice import MultipleChoice as ChoiceSpec
from launcher.tasks.shared.rows import FileRow, Row
from launcher.train.reading.sources import Source, text_of
from launcher.train.tasks.base import Array, MicroBatch, Scores, Task, softmax
from launcher.train.tasks.outcomes import Certainty, Outcomes
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens

PER_CHOICE = ("input_ids", "position_ids", "token_type_ids", "attention_mask")


class MultipleChoice(Task):
    """An example is one sequence for each choice: (context, question and choice)."""

    spec: ChoiceSpec
    auto_class = "AutoModelForMultipleChoice"

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        return np.array(targets, np.int64)

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        choices = [self.spec.choices_of(row) for _, row in rows]
        pairs: list[Any] = []
        for (name, row), given in zip(rows, choices, strict=True):
            context, *question = self._question(name, row)
            pairs += [(context, " ".join((*question, choice))) for choice in given]
        counts = np.array([len(given) for given in choices], np.int64)
        return encoder.encode_together(pairs, counts)

    def _question(self, name: str, row: Row) -> list[str]:
        return [text_of(row.values.get(column), name, row) for column in self.spec.given_texts]

    def model_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """As if every question had one choice, since the models want as many for each: (rows, tokens) -> (rows, 1, tokens)."""
        return {name: value.unsqueeze(1) if name in PER_CHOICE else value for name, value in inputs.items()}

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.labels is not None
        return functional.cross_entropy(self.decided(output, batch), batch.labels, reduction="sum")

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(questions, most choices) float32 scores, -inf where a question has fewer."""
        assert batch.sequences is not None
        scores = output.logits.float().reshape(-1).split(batch.sequences.tolist())
        return pad_sequence(scores, batch_first=True, padding_value=-torch.inf)

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        assert batch.sequences is not None
        scores = output.logits.float().reshape(-1).cpu().numpy()
        return list(np.split(scores, np.cumsum(batch.sequences)[:-1]))

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        predicted = np.array([row.argmax() for row in scores])
        return {"accuracy": float((predicted == truth).mean())}

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        chances = [softmax(row) for row in scores]
        chosen = np.array([int(row.argmax()) for row in chances])
        confidence, right = np.array([float(row.max()) for row in chances]), chosen == np.asarray(truth)
        return Outcomes(
            badness=np.where(right, 0.0, confidence),
            expected=[f"choice {int(number)}" for number in truth],
            predicted=[f"choice {number}" for number in chosen],
            confidence=confidence,
            certainty=Certainty(confidence, right),
        )

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`prediction` is the text of the choice, `choice` its number from 0, `probabilities` are in their order."""
        found = []
        for row, values in zip(rows, scores, strict=True):
            chances = softmax(values)
            best = int(chances.argmax())
            found.append(
                {
                    "prediction": self.spec.choices_of(row)[best],
                    "choice": best,
                    "probabilities": [float(p) for p in chances],
                }
            )
        return found


TASK = MultipleChoice
