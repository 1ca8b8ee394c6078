"""One of several labels for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.tasks.shared import labels
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.findings import Doubt, Seen
from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.sample import SHOWN, Guess, Said, Sample


class Classification(TaskSpec):
    metric = "accuracy"
    called = (
        "AutoModelForSequenceClassification",
        "SEQ_CLS",
        "single_label_classification",
        "text-classification",
        "sequence-classification",
        "sentiment-analysis",
        "nli",
    )
    metrics = ("accuracy", "macro_f1", "micro_f1", "mcc", "f1")
    fair_metrics = ("macro_f1", "mcc")
    losses = ("cross_entropy", "focal", "custom")
    deep_head = True
    windows = True
    explained = True

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        label = sample.label(lambda column: column.is_classes)
        text = sample.said_texts(label.name) if label else None
        if label is None or text is None:
            return None
        why = f"{shown(label.name)} has {len(label.names)} values that come again and again: classes."
        others = [
            shown(column.name)
            for column in sample.columns
            if column.is_classes
            and not column.is_about_labels
            and column.name not in (label.name, *text.value)
        ]
        also = f" {', '.join(others[:SHOWN])} could be it too." if others else ""
        said = Said(label.name, f"{label.told}.{also}")
        return Guess(0.55 + label.named_as_label, why, {"data.text": text, "data.label": said})

    def class_doubts(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Iterator[Doubt]:
        yield from super().class_doubts(names, seen)
        fractions = [name for name in names if (number := labels.score(name)) is not None and number % 1]
        if fractions and all(labels.score(name) is not None for name in names):
            text = (
                f"the classes are numbers with fractions, such as {fractions[0]}, and each is one by itself"
            )
            yield Doubt(text, "task=regression learns scores")

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """`f1` is that of the second of two classes."""
        every = super().metrics_of(names)
        return every if names is None or len(names) == 2 else tuple(name for name in every if name != "f1")


SPEC = Classification
