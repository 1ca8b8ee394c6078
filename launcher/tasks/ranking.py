"""How relevant a document is to a query, judged by how the documents of each query are ordered."""

from __future__ import annotations

from launcher.tasks.shared import labels
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.rows import Row, Value


class Ranking(TaskSpec):
    metric = "ndcg"
    metrics = ("accuracy", "mrr", "ndcg")
    fixed_shape = False
    classes = False
    texts = (2,)
    example_columns = "data.text=[query,document]"
    outputs = ("prediction", "rank")

    @property
    def altered_columns(self) -> tuple[str, ...]:
        """A document, and not the query that several are ranked for."""
        return self.given_texts[1:]

    def label_mistake(self, row: Row, value: Value) -> str | None:
        relevance, most = labels.score(value), self.recipe.ranking.max_relevance
        if relevance is None:
            return labels.score_mistake(value)
        if 0 <= relevance <= most:
            return None
        return f"{relevance:g} is not from 0 to {most:g}, ranking.max_relevance"

    def cell_remedy(self, key: str) -> str:
        if key == "data.label":
            return "mend or remove the row, or set ranking.max_relevance to the highest there is"
        return super().cell_remedy(key)

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return labels.score(row.values.get(column))

    def sample_texts(self) -> tuple[str, ...]:
        return ("a query", "a document")


SPEC = Ranking
