"""A tag for each word, such as the entities in a sentence: softmax over each word's tags, or a linear-chain CRF.

The first token of a word carries its tag, the others and the special tokens are left out, so that words that a tokenizer
cuts up count once. A sentence longer than data.max_length is cut into windows that overlap by data.stride tokens. Each of its
words is judged in one of them, where it has most context: loss, CRF, decoding and metrics are those of the whole sentence. A word
that the tokenizer makes nothing of counts as O in every metric and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from launcher.errors import RunFailed
from launcher.reading.label_check import unknown_label
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared import tagging
from launcher.tasks.shared.rows import FileRow, Row
from launcher.tasks.shared.tagging import OUTSIDE
from launcher.tasks.shared.words import joined, joint
from launcher.tasks.token_classification import TokenClassification as TagSpec
from launcher.train.reading.sources import Source, place
from launcher.train.tasks import crf, extra_head
from launcher.train.tasks.base import Array, MicroBatch, Resampling, Scores, TokenTask
from launcher.train.tasks.crf import Sentences, Transitions
from launcher.train.tasks.entity_scores import entity_figures, entity_metrics, legal_steps, sentence_counts
from launcher.train.tasks.losses import class_weights, cross_entropy
from launcher.train.tasks.outcomes import Certainty, Outcomes, confusion_of
from launcher.train.tasks.weighted import WeightedTask
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens
from launcher.train.tokens.gather import EVALUATION, Indices
from launcher.train.tokens.masking import IGNORE

WORD = 0
"""Mark of a word's first token where there are no tags."""


class TokenClassification(WeightedTask, TokenTask):
    spec: TagSpec
    auto_class = "AutoModelForTokenClassification"
    peft_type = "TOKEN_CLS"

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        super().__init__(recipe, tokenizer)
        self.classes: tuple[str, ...] = ()
        """The tags by number, as soon as `fit` or `recall` has told them."""

    # From rows to tokens

    def label_names(self, train: Source, targets: Sequence[Any]) -> tuple[str, ...]:
        """The tags of the training data, and those that their types need besides; data.labels as they are."""
        names = super().label_names(train, targets)
        scheme_for(self.recipe, names)  # also of tags that the data set itself declares
        return self.spec.known_classes(names)

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        words = [self._words(name, row) for name, row in rows]
        tags = None if targets is None else self._tags(rows, targets, names)
        number = {name: index for index, name in enumerate(names)}
        tokens, windows = encoder.encode_words(words, self.recipe.data.stride)
        marks, records = [], []
        for index, parts in enumerate(windows):
            word = np.concatenate(parts)
            begins, mark = word >= 0, np.full(len(word), IGNORE, np.int32)
            kept = word[begins]
            mark[begins] = WORD if tags is None else [number[tags[index][each]] for each in kept]
            marks.append(mark)
            missing = np.setdiff1d(np.arange(len(words[index])), kept).tolist()
            records.append({"tags": None if tags is None else tags[index], "missing": missing})
        marked = np.concatenate([np.zeros(0, np.int32), *marks])
        return Tokens(**{**vars(tokens), "marks": marked, "records": records})

    def _words(self, name: str, row: Row) -> list[str]:
        for mistake in self.spec.text_mistakes(row):
            text = f"{place(name, row)}: {mistake.column}: {mistake.message}"
            raise RunFailed("data", text, "give words, or a text whose words blanks separate")
        return self.spec.words_of(row)

    def _tags(
        self, rows: Sequence[FileRow], targets: Sequence[Any], names: tuple[str, ...]
    ) -> list[list[str]]:
        """Legal tags of each row; RunFailed where one is not among `names`."""
        scheme, known = scheme_for(self.recipe, names), set(names)
        rewritten = [tagging.rewritten(tags, scheme) for tags in targets]
        for (name, row), tags in zip(rows, rewritten, strict=True):
            for tag in tags:
                if tag not in known:
                    message, remedy = unknown_label(tag, names, self.recipe.data.labels is not None)
                    raise RunFailed("data", f"{place(name, row)}: {message}", remedy)
        return rewritten

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        return None

    # The model

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        self.classes = tuple(label_names)
        marks = np.asarray(train.marks)
        self.weights = class_weights(self.recipe.train.loss, label_names, marks[marks != IGNORE])

    def recall(self, config: Any) -> None:
        super().recall(config)
        self.classes = self.names_in(config)

    def extra_head(self, config: Any) -> torch.nn.Module | None:
        return Transitions(config.num_labels) if self.recipe.tagging.crf else None

    # Loss and metrics

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        """Sum of the weights of the words' tags: the number of words where there are no weights."""
        if self.weights is None:
            return super().units(split, examples, epoch)
        marks = self.gather(split, examples, epoch).marks
        assert marks is not None
        return float(np.asarray(self.weights)[marks[marks != IGNORE]].sum())

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Sum over words of the cross-entropy, or over sentences of -log P(their tags); and the penalty."""
        assert batch.marks is not None
        rows, options = batch.token_rows(output.logits), self.recipe.tagging
        if not options.crf and not options.penalty:
            return self._of_words(rows, batch.marks)
        sentences, places = _sentences(rows, batch)
        steps = _steps(output, rows)
        every = crf.log_partition(sentences, steps)
        if options.crf:
            tags = sentences.lay_out(batch.marks, places)
            loss = (every - crf.score(sentences, tags, steps)).sum()
        else:
            loss = self._of_words(rows, batch.marks)
        if options.penalty:
            legal = crf.log_partition(sentences, crf.forbid(steps, self._legal()))
            loss = loss + options.penalty * (every - legal).sum()
        return loss

    def _of_words(self, rows: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Sum over words of the cross-entropy, or focal loss, of their tags; float32 scalar."""
        settings, weights = self.recipe.train.loss, self.weights_on(rows)
        if settings.name == "focal":
            return cross_entropy(rows, marks, settings, weights).sum()
        return functional.cross_entropy(
            rows, marks, weights, reduction="sum", label_smoothing=settings.label_smoothing
        )

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(words, tags); with a CRF, what it adds its transitions to."""
        return batch.token_rows(output.logits)

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        weights = self.weights_on(differences)
        if weights is None:
            return differences.sum()
        assert batch.marks is not None
        return (differences * weights[batch.marks]).sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        """For each example (tags (w,) of its words by number, probabilities (w, L)), words without tokens left out."""
        rows = batch.token_rows(output.logits)
        sentences, _ = _sentences(rows, batch)
        steps = _steps(output, rows)
        if self.recipe.tagging.constrain:
            steps = crf.forbid(steps, self._legal())
        tags = crf.best_tags(sentences, steps).cpu().numpy()
        probabilities = crf.marginals(sentences, steps).cpu().numpy()
        lengths = sentences.lengths.tolist()
        return [(tags[i, :length], probabilities[i, :length]) for i, length in enumerate(lengths)]

    def truth(self, split: TokenSplit) -> Any:
        assert split.records is not None
        return split.records.all

    def check_metrics(self, validation: TokenSplit) -> None:
        asked = [(key, metric) for key, metric in self.spec.asked_metrics if "/" in metric]
        if not asked:
            return
        tags = {tag for record in self.truth(validation) for tag in record["tags"]}
        there = tagging.types(tags, scheme_for(self.recipe, self.classes))
        for key, metric in asked:
            name, _, kind = metric.partition("/")
            if kind not in there:
                text = f"{key}={metric}: no entity of the validation data is {kind}"
                remedy = " or ".join(("other validation data", *(f"{key}={name}/{each}" for each in there)))
                raise RunFailed("data", text, remedy)

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        gold, predicted = self._both(scores, truth)
        return entity_metrics(gold, predicted, scheme_for(self.recipe, self.classes))

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """By the counts of each sentence, which add up."""
        gold, predicted = self._both(scores, truth)
        counts = sentence_counts(gold, predicted, scheme_for(self.recipe, self.classes))
        return Resampling(len(gold), counts.metrics)

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes:
        """Classes are types of entities; what is confused, and believed, are the tags of words."""
        gold, predicted = self._both(scores, truth)
        number = {name: index for index, name in enumerate(names)}
        real, found = (
            np.array([number.get(tag, 0) for tags in side for tag in tags], np.int64)
            for side in (gold, predicted)
        )
        kept = np.concatenate(
            [np.zeros(0), *(chances[np.arange(len(tags)), tags] for tags, chances in scores)]
        )
        right = [
            tags[word] == record["tags"][word]
            for tags, record in zip(predicted, truth, strict=True)
            for word in _present(record, len(tags))
        ]
        return Outcomes(
            badness=np.array(
                [
                    sum(a != b for a, b in zip(*pair, strict=True))
                    for pair in zip(gold, predicted, strict=True)
                ]
            ),
            expected=list(map(" ".join, gold)),
            predicted=list(map(" ".join, predicted)),
            classes=entity_figures(gold, predicted, scheme_for(self.recipe, self.classes)),
            confusion=confusion_of(real, found, names, "words"),
            certainty=Certainty(kept, np.array(right), "words"),
        )

    def _both(self, scores: Scores, truth: Any) -> tuple[list[list[str]], list[list[str]]]:
        """(true, predicted) tags of all words of each sentence."""
        predicted = [
            self._tags_of_all(tags, record, len(record["tags"]))
            for (tags, _), record in zip(scores, truth, strict=True)
        ]
        return [record["tags"] for record in truth], predicted

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """`prediction` and `probabilities` have an item for each word; `entities` count words from 0."""
        assert split.records is not None
        scheme = scheme_for(self.recipe, label_names)
        (column,) = self.spec.text_columns
        found = []
        for (tags, probabilities), record, row in zip(scores, split.records.all, rows, strict=True):
            words = self.spec.words_of(row)
            names = self._tags_of_all(tags, record, len(words))
            certain: list[dict[str, float] | None] = [None] * len(words)
            for word, of_word in zip(_present(record, len(words)), probabilities, strict=True):
                certain[word] = dict(zip(label_names, map(float, of_word), strict=True))
            blank = "" if joint(row.values.get(column)) else " "
            entities = [
                {
                    "type": entity.type,
                    "text": joined(words[entity.start : entity.end], blank),
                    "start": entity.start,
                    "end": entity.end,
                    "score": _mean_probability(names, certain, entity),
                }
                for entity in tagging.entities(names, scheme)
            ]
            found.append({"prediction": names, "entities": entities, "probabilities": certain})
        return found

    def _legal(self) -> NDArray[np.bool_]:
        return legal_steps(self.classes, scheme_for(self.recipe, self.classes))

    def _tags_of_all(self, tags: Array, record: dict[str, Any], words: int) -> list[str]:
        """Names of the tags of all words, O where a word has no tokens."""
        names = [OUTSIDE] * words
        for word, tag in zip(_present(record, words), tags, strict=True):
            names[word] = self.classes[tag]
        # What an O between two words has cut in two must be legal still.
        rewrite = record["missing"] and self.recipe.tagging.constrain
        return tagging.rewritten(names, scheme_for(self.recipe, self.classes)) if rewrite else names


def scheme_for(recipe: Recipe, names: Sequence[str]) -> tagging.Scheme:
    """The scheme of the tags; RunFailed where the recipe names one that they aren't written in."""
    scheme = tagging.scheme_of(names, recipe.tagging.scheme)
    other = tagging.misfit(names, scheme)
    if other is not None:
        raise RunFailed("data", *tagging.misfit_message(other, names, scheme))
    return scheme


def _present(record: dict[str, Any], words: int) -> list[int]:
    missing = set(record["missing"])
    return [word for word in range(words) if word not in missing]


def _mean_probability(
    names: Sequence[str], certain: Sequence[dict[str, float] | None], entity: tagging.Entity
) -> float:
    words = range(entity.start, entity.end)
    known = [(certain[word] or {}).get(names[word], 0.0) for word in words]
    return sum(known) / len(known)


def _sentences(rows: torch.Tensor, batch: MicroBatch) -> tuple[Sentences, torch.Tensor]:
    """The emissions of the words, sentence by sentence, whatever windows these are cut into."""
    assert batch.rows is not None
    return Sentences.of(rows, batch.rows)


def _steps(output: Any, rows: torch.Tensor) -> torch.Tensor:
    """The CRF's steps, or those of a softmax: all 0."""
    steps = output.get(extra_head.NAME)
    return rows.new_zeros(rows.shape[-1] + 2, rows.shape[-1]) if steps is None else steps


TASK = TokenClassification
