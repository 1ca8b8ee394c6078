"""Vectors of texts, near each other where the texts mean the same: a bi-encoder (Reimers and Gurevych, 2019).

A row is an anchor and its positive, maybe with negatives, or two texts and a score of how alike they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from launcher.errors import Conflict
from launcher.tasks.shared import labels, sentence_transformers, snippets
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Doubt, Finding, Kind
from launcher.tasks.shared.rows import Mistake, Row, Value, shown, text_mistake
from launcher.tasks.shared.sample import Column, Guess, Said, Sample
from launcher.tasks.shared.written_lists import unwritten

OF_SCORES = ("cosent", "cosine")
"""Losses of pairs with scores."""
OF_PAIRS = ("spearman", "pearson")
"""Metrics of pairs with scores; the others are of pairs without."""
OF_RETRIEVAL = ("recall@1", "recall@10", "mrr", "ndcg")
ANCHORS = frozenset({"anchor", "query", "question"})
POSITIVES = frozenset({"positive", "pos"})
DOCUMENTS = frozenset({"document", "doc", "passage", "answer"})
NEGATIVE = re.compile(r"(?:hard[ _-]?)?neg(?:ative)?s?(?:[ _-]?\d+)?")
HALF = Kind(
    "rows lack one of their two texts",
    "fill it in, or leave the rows out",
    always=True,
    in_rows=False,
    before_launch="they are learnt as pairs all the same",
)
PAIR, TRIPLE = 2, 3
"""Columns of an anchor, its positive and a negative."""
SHOWN = 4
"""Numbers of a vector that a line shows."""


class Embedding(TaskSpec):
    metric = "ndcg"
    called = (
        "feature-extraction",
        "FEATURE_EXTRACTION",
        "SentenceTransformer",
        "sentence-similarity",
        "similarity",
        "retrieval",
    )
    metrics = (*OF_PAIRS, *OF_RETRIEVAL)
    reads = "all"
    fixed_shape = False
    losses = ("infonce", *OF_SCORES, "triplet")
    classes = False
    head_outputs = 0
    example_columns = "data.text=[anchor,positive]"
    negatives = True
    negatives_by = "vectors"
    pipeline_tag = "sentence-similarity"
    library = "sentence-transformers"
    keeps_length = True
    outputs = ("embedding", "similarity")
    array = "embedding"
    corpus_key = "embedding.corpus"

    # What is learnt

    @property
    def loss(self) -> str:
        """The loss that the recipe chooses."""
        return self.recipe.train.loss.name or self.losses[0]

    @property
    def learns_scores(self) -> bool:
        """Whether the training data have scores of pairs."""
        return self.loss in OF_SCORES

    @property
    def chosen_metric(self) -> str:
        return self.recipe.eval.metric or ("spearman" if self.learns_scores else self.metric)

    @property
    def learns_differences(self) -> bool:
        return self.learns_scores

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        shorter = self.recipe.embedding.dimensions or ()
        return ("loss", *self.metrics, *(f"{metric}/{size}" for size in shorter for metric in self.metrics))

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        anchor, positive = _named_pair(sample)
        if anchor is not None and positive is not None:
            why = f"{shown(positive.name)} is what belongs to {shown(anchor.name)}: vectors of both are to be near."
            return Guess(0.97, why, _keys(anchor, positive, sample))
        texts = sample.text_columns
        anchor = next((column for column in texts if column.words_of_name & ANCHORS), None)
        others = [column for column in texts if column is not anchor]
        document = next((column for column in others if column.words_of_name & DOCUMENTS), None)
        if sample.is_nameless and len(texts) == len(sample.columns) == TRIPLE:
            why = "Three texts and nothing else: what is looked for, what is to be found for it, and what isn't."
            return Guess(0.5, why, _keys(texts[0], texts[1], sample, texts[2:]))
        negatives = [column for column in texts if NEGATIVE.fullmatch(column.name.lower())]
        rest = [column for column in texts if column not in negatives]
        if negatives and len(rest) == PAIR:
            why = (
                f"{shown(negatives[0].name)} is by its name what does not belong to the two texts beside it."
            )
            return Guess(0.9, why, _keys(rest[0], rest[1], sample))
        if sample.given_text and len(texts) == PAIR:
            why = "Two texts that were named, taken for such as belong together."
            return Guess(0.1, why, _keys(texts[0], texts[1], sample))
        if anchor is None or document is None or sample.label(lambda column: column.is_classes) is not None:
            return None
        why = f"{shown(document.name)} seems to belong to {shown(anchor.name)}, and nothing is their label."
        return Guess(0.5, why, _keys(anchor, document, sample))

    def conflicts(self) -> Iterator[Conflict]:
        recipe = self.recipe
        for key, used in {
            "train.r_drop": recipe.train.r_drop,
            "train.fgm": recipe.train.fgm,
            "distill.teacher": recipe.distill.teacher,
            "model.head.layers": recipe.model.head.layers,
        }.items():
            if used:
                yield Conflict((key, "task"), "isn't there for vectors of texts", "leave it out")
        if self.negative_columns and self.learns_scores:
            text = f"negatives are for infonce and triplet, not for train.loss.name={self.loss}"
            yield Conflict(("data.negatives", "train.loss.name"), text, "leave them out")
        if self.loss == "triplet" and not self.negative_columns:
            text = "a triplet is an anchor, a positive and a negative"
            yield Conflict(("train.loss.name", "data.negatives"), text, "add data.negatives=COLUMN")
        if self.loss != "infonce" and len(self.given_texts) != 2:
            text = "compares two texts"
            yield Conflict(("train.loss.name", "data.text"), text, "name two columns in data.text")
        if recipe.data.augment.any and len(self.given_texts) == 1:
            yield Conflict(
                ("data.text", "data.augment.copies"),
                "is one column, and altered copies of a text would be negatives of the text itself",
                "turn data.augment off, or name two columns, the second of which is altered",
            )
        sizes = recipe.embedding.dimensions or ()
        if len(set(sizes)) < len(sizes):
            yield Conflict(("embedding.dimensions",), "names a size twice", "name each once")

    # What it starts from

    def doubts_of_model(self, read: Callable[[str], Any]) -> Iterator[str]:
        return sentence_transformers.differences(self.recipe.embedding, read)

    def width_conflicts(self, width: int) -> Iterator[Conflict]:
        if any(size > width for size in self.recipe.embedding.dimensions or ()):
            text = f"the model's vectors have {width} entries"
            yield Conflict(("embedding.dimensions", "model.name"), text, f"name sizes up to {width}")

    def text_length(self, read: Callable[[str], Any]) -> int | None:
        return sentence_transformers.text_length(read)

    # Columns

    @property
    def altered_columns(self) -> tuple[str, ...]:
        """Of pairs that are negatives of each other the second text alone, by which the first has one more positive."""
        return self.given_texts[1:] if self.loss == "infonce" else self.given_texts

    @property
    def is_pair(self) -> bool:
        """Each text is a sequence of its own."""
        return False

    @property
    def sequences_each(self) -> int:
        return 2 + len(self.negative_columns)

    @property
    def negative_columns(self) -> tuple[str, ...]:
        given = self.recipe.data.negatives
        return (given,) if isinstance(given, str) else given or ()

    @property
    def text_columns(self) -> tuple[str, ...]:
        return self.given_texts + self.negative_columns

    @property
    def label_columns(self) -> tuple[str, ...]:
        return super().label_columns if self.learns_scores else ()

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Scores, which data may have that the training knows nothing of."""
        return (*self.negative_columns, *super().label_columns)

    def column_doubts(self, columns: Sequence[str]) -> Iterator[Doubt]:
        for column in () if self.learns_scores else super().label_columns:
            if column in columns:
                text = f"the column {shown(column)} is not read: {self.loss} takes each pair for two that belong together"
                remedy = f"leave pairs out that don't; train.loss.name={OF_SCORES[0]} learns scores"
                yield Doubt(text, remedy)

    @property
    def corpus(self) -> str | None:
        return self.recipe.embedding.corpus

    def texts_to_predict(self, columns: Sequence[str]) -> tuple[str, ...]:
        """One of the two columns is enough: a file of queries, or of documents."""
        return tuple(name for name in self.given_texts if name in columns) or self.given_texts

    # Rows

    def text_mistakes(self, row: Row) -> Iterator[Mistake]:
        for column in self.given_texts:
            wrong = text_mistake(row.values.get(column))
            if wrong:
                yield Mistake("data.text", column, wrong)
        for column in self.negative_columns:
            wrong = _negatives_mistake(row.values.get(column))
            if wrong:
                yield Mistake("data.negatives", column, wrong)

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        texts = [str(row.values.get(column) or "").strip() for column in self.given_texts]
        if any(texts) and not all(texts):
            yield Finding("half", "".join(texts))

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        return {"half": HALF}

    def cell_remedy(self, key: str) -> str:
        if key == "data.negatives":
            return "name columns of texts, or of lists of texts"
        if key == "data.label":
            return f"{labels.SCORE_REMEDY}, or set embedding.max_score to the highest there is"
        return super().cell_remedy(key)

    def label_mistake(self, row: Row, value: Value) -> str | None:
        score, most = labels.score(value), self.recipe.embedding.max_score
        if score is None:
            return labels.score_mistake(value)
        return None if 0 <= score <= most else f"{score:g} is not from 0 to {most:g}, embedding.max_score"

    def label(self, row: Row) -> Label:
        """How alike the texts are, None where the row doesn't say it."""
        (column,) = super().label_columns
        return labels.score(row.values.get(column))

    def sequences(self, row: Row, text_of: Callable[[str], str]) -> Iterator[Any]:
        yield from map(text_of, self.given_texts)
        yield from self.negatives_of(row)

    def negatives_of(self, row: Row) -> list[str]:
        """The texts of a row's negatives; empty cells are none."""
        cells = (unwritten(row.values.get(column)) for column in self.negative_columns)
        texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
        return [str(text) for text in texts if text not in (None, "")]

    # Use

    def positive_pair(self, row: Row) -> tuple[str, str, float] | None:
        """Of pairs with scores, those that are more alike than not."""
        if len(self.given_texts) != 2:
            return None
        anchor, positive = (str(row.values.get(column) or "") for column in self.given_texts)
        score, most = self.label(row), self.recipe.embedding.max_score
        if not self.learns_scores or score is None:
            score = most
        return (anchor, positive, score) if anchor and positive and score > most / 2 else None

    def sample_texts(self) -> tuple[str, ...]:
        return ("a sentence of yours",)

    def rows_of(self, texts: Sequence[str]) -> list[Row]:
        """A row for each text, as the first of its pair."""
        return [Row({self.given_texts[0]: text}, number) for number, text in enumerate(texts, 1)]

    def told(self, found: Mapping[str, Any]) -> str:
        vector = found["embedding"]
        if found["similarity"] is not None:
            return f"{found['similarity']:.4f}"
        numbers = ", ".join(f"{value:.4f}" for value in vector[:SHOWN])
        return f"[{numbers}, ...]   {len(vector)} numbers"

    def snippet(self, model: str) -> str:
        texts = snippets.literal([self.sample_texts()[0], "another sentence"])
        return (
            "from sentence_transformers import SentenceTransformer\n\n"
            f"model = SentenceTransformer({snippets.literal(model)})\n"
            f"vectors = model.encode_query({texts})  # documents: model.encode_document\n"
            "print(vectors[0].tolist())\n"
            "print(model.similarity(vectors, vectors))\n"
        )


def _named_pair(sample: Sample) -> tuple[Column | None, Column | None]:
    """Columns that say by their names that they are anchor and positive, however short or often the same their texts are."""
    texts = [column for column in sample.columns if column.characters and not column.numbers]
    texts = sample.text_columns if sample.given_text else texts
    anchor = next((column for column in texts if column.words_of_name & ANCHORS), None)
    others = (column for column in texts if column is not anchor)
    return anchor, next((column for column in others if column.words_of_name & POSITIVES), None)


def _negatives_mistake(value: Value) -> str | None:
    given = unwritten(value)
    cells = given if isinstance(given, list) else [given]
    return next((wrong for cell in cells if (wrong := text_mistake(cell))), None)


def _keys(anchor: Column, positive: Column, sample: Sample, others: Sequence[Column] = ()) -> dict[str, Said]:
    said = {"data.text": Said([anchor.name, positive.name], "What is looked for, then what is to be found.")}
    named = [column for column in sample.columns if NEGATIVE.fullmatch(column.name.lower())]
    negatives = [column.name for column in others or named]
    if negatives:
        value = negatives[0] if len(negatives) == 1 else negatives
        said["data.negatives"] = Said(value, "What is near, and isn't what is looked for.")
    return said


SPEC = Embedding
