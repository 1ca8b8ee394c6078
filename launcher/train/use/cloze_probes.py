"""Sentences with hidden words and what is expected there, tried on a masked language model before, during and after training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from launcher import tasks
from launcher.errors import RunFailed
from launcher.recipe.mlm import Probe
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts
from launcher.train.packed.collate import Collate
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.masking import MASK


@dataclass(frozen=True)
class Probes:
    """The probes of a recipe for one tokenizer."""

    asked: tuple[Probe, ...]
    split: TokenSplit
    """One example for each sentence."""
    answers: tuple[tuple[int, ...], ...]
    """The tokens expected at the masks of each."""

    def told(self, metrics: dict[str, float]) -> list[dict[str, Any]]:
        """text, answer, probability and rank of each, as an event tells them."""
        return [
            {
                "text": probe.text,
                "answer": probe.answer,
                "probability": metrics[f"probe/{number}/probability"],
                "rank": int(metrics[f"probe/{number}/rank"]),
            }
            for number, probe in enumerate(self.asked, start=1)
        ]

    def measure(
        self, forward: Callable[[Mapping[str, torch.Tensor]], Any], collate: Collate
    ) -> dict[str, float]:
        """`probe/N/probability` and `probe/N/rank` of each answer, N from 1, and the share of answers that come first.

        Every rank must call it; all get the same. An answer of several tokens is as likely as these together, each hidden
        alone, and ranks as its worst.
        """
        batch = collate(self.split, np.arange(len(self.split)))
        with torch.no_grad():
            logits = batch.token_rows(forward(batch.inputs).logits)
        assert batch.rows is not None
        values: dict[str, float] = {}
        ranks = []
        parts = torch.split(logits.log_softmax(dim=-1), batch.rows.tolist())
        for number, (chances, rank) in enumerate(_outcomes(parts, self.answers), start=1):
            values |= {f"probe/{number}/probability": chances, f"probe/{number}/rank": float(rank)}
            ranks.append(rank)
        return {"accuracy": float(np.mean([rank == 1 for rank in ranks])), **values}


def make_probes(recipe: Recipe, tokenizer: Any, position_limit: int | None) -> Probes | None:
    """The recipe's probes, None where there are none. Raises RunFailed('recipe') for one that can't be tried."""
    probes = recipe.mlm.probes
    if not probes:
        return None
    (column,) = tasks.of(recipe).text_columns
    rows = [Row({column: probe.text}, index + 1) for index, probe in enumerate(probes)]
    split = encode_texts(tokenizer, rows, recipe, name="mlm.probes", position_limit=position_limit)
    return Probes(probes, split, tuple(_answer(probe, tokenizer) for probe in probes))


def _answer(probe: Probe, tokenizer: Any) -> tuple[int, ...]:
    text = probe.text.replace(MASK, tokenizer.mask_token)
    masks = text.count(tokenizer.mask_token)
    # Byte-pair tokens know whether a blank stands before them; WordPiece doesn't care.
    blank = " " if text.partition(tokenizer.mask_token)[0].endswith(" ") else ""
    tokens = tuple(tokenizer(blank + probe.answer, add_special_tokens=False)["input_ids"])
    shown = f"mlm.probes: {probe.text!r} -> {probe.answer!r}"
    if tokenizer.unk_token_id in tokens:
        raise RunFailed("recipe", f"{shown}: the answer is not in the model's vocabulary", "ask for another")
    if not masks or masks != len(tokens):
        text = f"{shown}: the sentence has {masks} masks, the answer {len(tokens)} tokens"
        raise RunFailed("recipe", text, f"write one {MASK} for each token of the answer")
    return tokens


def _outcomes(
    parts: tuple[torch.Tensor, ...], answers: tuple[tuple[int, ...], ...]
) -> Iterator[tuple[float, int]]:
    for rows, tokens in zip(parts, answers, strict=True):
        expected = rows.gather(1, torch.tensor(tokens, device=rows.device)[:, None])
        yield float(expected.sum().exp()), int((rows > expected).sum(dim=1).max()) + 1
