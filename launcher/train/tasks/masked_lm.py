"""Words hidden in a text and guessed: masked language modelling (Devlin et al., 2019), for cloze tests and new domains.

Which words are hidden is a pure function of (seed, epoch, example): the same on any layout and after a resume, different in
every epoch. Texts longer than data.max_length are cut into windows, so that nothing is lost.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from launcher.errors import RunFailed
from launcher.tasks.shared.rows import FileRow, Row
from launcher.train.reading.sources import Source, text_of
from launcher.train.tasks.base import Array, MicroBatch, Scores, TokenTask
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens
from launcher.train.tokens.gather import Gathered, Indices, gather
from launcher.train.tokens.masking import IGNORE, MASK, Rules, hide, number_words

TOP = 5
"""Candidates shown for each mask."""


class MaskedLM(TokenTask):
    """In the token cache `marks` number the words of a sequence, IGNORE for special tokens; in a micro-batch they are the
    ids to be guessed. Without labels, in predictions, the words to guess are those that the text itself masks."""

    auto_class = "AutoModelForMaskedLM"
    peft_type = None
    # It would be larger than all adapters together.
    ready_head = True
    rows: int | None = None
    """Rows of the model's embeddings, which may be fewer than the tokenizer knows tokens, once it is known."""

    def targets(self, source: Source) -> list[Any]:
        return [None for _ in source.rows()]

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        return None

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        (column,) = self.spec.text_columns
        texts = [text_of(row.values.get(column), name, row) for name, row in rows]
        if targets is None:
            texts = [text.replace(MASK, self.tokenizer.mask_token) for text in texts]
        windows = encoder.windows(texts, stride=0)
        tokens = encoder.tokens(windows, empty=sum(not text.strip() for text in texts))
        marks = [
            number_words(window, text, self.recipe.mlm)
            for text, parts in zip(texts, windows, strict=True)
            for window in parts
        ]
        return replace(tokens, marks=np.concatenate([np.zeros(0, np.int32), *marks]))

    def gather(self, split: TokenSplit, examples: Indices, epoch: int) -> Gathered:
        found = gather(split, examples)
        assert found.marks is not None
        mask = int(self.tokenizer.mask_token_id)
        if not split.labelled:
            return replace(found, marks=np.where(found.ids == mask, found.ids, IGNORE))
        ids, marks = hide(found, examples, epoch, self.recipe.seed, self._rules)
        return replace(found, ids=ids, marks=marks)

    def check_model(self, config: Any) -> None:
        """Raise RunFailed('model') where there is nothing to hide words with."""
        if self.tokenizer.mask_token_id is None:
            text = "the tokenizer of model.name has no mask token, which task=masked-lm hides words with"
            raise RunFailed("model", text, "give a model that was trained to guess hidden words")
        self.rows = config.vocab_size

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        assert batch.marks is not None
        return functional.cross_entropy(self.decided(output, batch), batch.marks, reduction="sum")

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        return batch.token_rows(output.logits)

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        """(examples, 3): loss, right guesses and guesses; without labels, for each example its masks' candidates."""
        logits = batch.token_rows(output.logits)
        assert batch.marks is not None
        assert batch.rows is not None
        if not batch.labelled:
            best, ids = functional.softmax(logits, dim=-1).topk(min(TOP, logits.shape[-1]))
            cuts = np.cumsum(batch.rows)[:-1]
            pairs = np.stack([ids.double().cpu().numpy(), best.double().cpu().numpy()], axis=-1)
            return list(np.split(pairs, cuts))
        losses = functional.cross_entropy(logits, batch.marks, reduction="none")
        right = (logits.argmax(dim=-1) == batch.marks).float()
        terms = torch.stack([losses, right, torch.ones_like(losses)], dim=-1).double().cpu().numpy()
        example = np.repeat(np.arange(len(batch.rows)), batch.rows)
        sums = np.zeros((len(batch.rows), 3))
        np.add.at(sums, example, terms)
        return sums

    def truth(self, split: TokenSplit) -> None:
        return None

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        loss, right, guesses = np.asarray(scores).sum(axis=0)
        return {
            "perplexity": math.exp(min(loss / guesses, 700.0)),
            "accuracy": float(right / guesses),
        }

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`prediction` is the text with its masks filled; `candidates` lists the best for each mask with probabilities."""
        (column,) = self.spec.text_columns
        return [
            self._filled(
                text_of(row.values.get(column), "input", row).replace(MASK, self.tokenizer.mask_token), masks
            )
            for row, masks in zip(rows, scores, strict=True)
        ]

    def _filled(self, text: str, masks: Array) -> dict[str, Any]:
        candidates = [
            {self.tokenizer.convert_ids_to_tokens(int(token)): float(p) for token, p in mask}
            for mask in masks
        ]
        for best in candidates:
            word = self.tokenizer.convert_tokens_to_string([next(iter(best))]).strip()
            text = text.replace(self.tokenizer.mask_token, word, 1)
        return {
            "prediction": text,
            "probabilities": candidates[0] if len(candidates) == 1 else candidates,
            "candidates": candidates,
        }

    @functools.cached_property
    def _rules(self) -> Rules:
        mlm, special = self.recipe.mlm, set(self.tokenizer.all_special_ids)
        known = min(len(self.tokenizer), self.rows or len(self.tokenizer))
        ordinary = np.array([i for i in range(known) if i not in special], np.int64)
        return Rules(mlm.probability, mlm.mask, mlm.random, int(self.tokenizer.mask_token_id), ordinary)


TASK = MaskedLM
