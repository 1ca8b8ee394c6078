"""How relevant a document is to a query, judged by how the documents of each query are ordered."""

from __future__ import annotations

import re

from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.rows import Row, Value, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample

QUERIES = frozenset({"query", "question", "search", "keyword"})
DOCUMENTS = frozenset(
    re.findall("[a-z]+", "document doc passage answer sentence product title url text item")
)
USE = """
inputs = tokenizer([query] * len(documents), documents, return_tensors="pt", padding=True, truncation=True)
with torch.no_grad():
    relevance = most * model(**inputs).logits[:, 0].sigmoid()
for score, document in sorted(zip(relevance.tolist(), documents), reverse=True):
    print(round(score, 4), document)
"""
REPEATED = 1.5
"""Rows for each query; with fewer there is nothing to be ordered."""


class Ranking(TaskSpec):
    metric = "ndcg"
    metrics = ("accuracy", "mrr", "map", "ndcg", "ndcg@1", "ndcg@5")
    losses = ("pointwise", "pairwise", "listwise", "lambda")
    fixed_shape = False
    pipeline_tag = "text-ranking"
    classes = False
    texts = (2,)
    example_columns = "data.text=[query,document]"
    negatives_by = "pairs"
    keeps_length = True
    outputs = ("prediction", "rank")

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        label = sample.label(_is_relevance)
        texts = sample.text_columns if label else []
        query = next((column for column in texts if column.words_of_name & QUERIES), None)
        found = [column for column in texts if column is not query and column.words_of_name & DOCUMENTS]
        document = max(found, key=lambda column: column.characters, default=None)  # more than its title
        if label is None or query is None or document is None:
            return None
        each = len(query.values) / len(set(map(str, query.values)))
        if each < REPEATED:
            return None
        why = f"{shown(query.name)} comes {each:.1f} times with different texts in {shown(document.name)}: what is best for it?"
        return Guess(0.96, why, _keys(query, document, label))

    @property
    def altered_columns(self) -> tuple[str, ...]:
        """A document, and not the query that several are ranked for."""
        return self.given_texts[1:]

    @property
    def learns_differences(self) -> bool:
        return True

    def label_mistake(self, row: Row, value: Value) -> str | None:
        relevance, most = labels.score(value), self.recipe.ranking.max_relevance
        if relevance is None:
            return labels.score_mistake(value)
        if 0 <= relevance <= most:
            return None
        return f"{relevance:g} is not from 0 to {most:g}, ranking.max_relevance"

    def cell_remedy(self, key: str) -> str:
        if key == "data.label":
            return f"{labels.SCORE_REMEDY}, or set ranking.max_relevance to the highest there is"
        return super().cell_remedy(key)

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return labels.score(row.values.get(column))

    def positive_pair(self, row: Row) -> tuple[str, str, float] | None:
        query, document = (str(row.values.get(column) or "") for column in self.text_columns)
        relevance = self.label(row)
        return (query, document, relevance) if relevance and query and document else None

    def sample_texts(self) -> tuple[str, ...]:
        return ("a query", "a document")

    def snippet(self, model: str) -> str:
        query, document = map(snippets.literal, self.sample_texts())
        given = f'query, documents = {query}, [{document}, "another document"]\n'
        most = f"most = {self.recipe.ranking.max_relevance:g}  # the highest relevance in the training data\n"
        return snippets.loaded("AutoModelForSequenceClassification", model) + given + most + USE


def _keys(query: Column, document: Column, label: Column) -> dict[str, Said]:
    most = max(label.numbers)
    keys = {
        "data.text": Said([query.name, document.name], "The query first, then what is ranked for it."),
        "data.label": Said(label.name, f"How relevant it is: {label.told}."),
        "data.group": Said(query.name, "All rows of a query stay on one side of a cut."),
    }
    if most > 1:
        keys["ranking.max_relevance"] = Said(most, f"The highest in {shown(label.name)}.")
    return keys


def _is_relevance(column: Column) -> bool:
    return len(column.numbers) == len(column.values) and column.is_classes and min(column.numbers) >= 0


SPEC = Ranking
