"""Any number of labels for a text: names in one cell, or a 0/1 column for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from launcher.errors import Problem
from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Doubt, Seen
from launcher.tasks.shared.rows import Row, Value, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample, mostly
from launcher.tasks.shared.written_lists import looks_written, unwritten

USE = """
with torch.no_grad():
    probabilities = model(**inputs).logits[0].sigmoid().tolist()
limits = getattr(model.config, "thresholds", None) or [0.5] * len(probabilities)
found = [index for index, p in enumerate(probabilities) if p >= limits[index]]
print([model.config.id2label[index] for index in found])
"""
SHOWN = 3
"""Labels that a message shows."""
MARKS = ("|", ";", ",", "\uff1b", "\uff0c", "、")
"""What separates labels even where there are too few combinations to tell by."""
NO_NAME = "|"
"""The one of them that no name of a class has."""


class MultiLabel(TaskSpec):
    metric = "micro_f1"
    called = ("multi_label_classification",)
    metrics = ("accuracy", "exact_match", "macro_f1", "micro_f1")
    fair_metrics = ("macro_f1",)
    losses = ("cross_entropy", "focal", "custom")
    deep_head = True
    windows = True
    explained = True
    several = True
    flags = True

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        return _listed(sample) or _delimited(sample) or _flagged(sample)

    @property
    def least_classes(self) -> int:
        return 1

    @property
    def learns_differences(self) -> bool:
        return True

    def label_mistake(self, row: Row, value: Value) -> str | None:
        if not isinstance(self.recipe.data.label, str):
            return labels.flag_mistake(value)
        if looks_written(value) and value not in (self.recipe.data.labels or ()):
            return f"{shown(value)} is a list in a form that isn't read"
        if _is_vector(unwritten(value)):
            return f"{shown(value)} is a 0 or 1 for each label, not a list of labels: write the names of those with 1"
        wrong = labels.class_names(value, self.recipe.data.label_delimiter) is None
        return f"{shown(value)} is not a list of labels" if wrong else None

    def cell_remedy(self, key: str) -> str:
        if key != "data.label" or not isinstance(self.recipe.data.label, str):
            return super().cell_remedy(key)
        return f'write ["a", "b"], or a{self.recipe.data.label_delimiter}b, or name another column'

    def label(self, row: Row) -> Label:
        data = self.recipe.data
        if isinstance(data.label, str):
            return labels.class_names(row.values.get(data.label), data.label_delimiter)
        return tuple(bool(labels.flag(row.values.get(column))) for column in data.label)

    def teaches(self, label: Label) -> bool:
        return any(label)

    def class_names(self, row: Row) -> Sequence[str]:
        data = self.recipe.data
        if isinstance(data.label, str):
            return labels.class_names(row.values.get(data.label), data.label_delimiter) or ()
        return [column for column in data.label if labels.flag(row.values.get(column))]

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        return self.joint_problem(tuple(seen))

    def joint_problem(self, names: Sequence[str]) -> Problem | None:
        data = self.recipe.data
        likely = labels.likely_delimiter(names) if data.labels is None else None
        if likely is None or not labels.are_several(names, likely):
            return None
        example = next(name for name in names if likely in name.strip(likely))
        message = f"takes {example!r} for one label, though its parts are labels too"
        remedy = (
            f'data.label_delimiter="{likely}" takes them apart; data.labels=[...] says that they are names'
        )
        return Problem(message, None, "data.label_delimiter", data.label_delimiter, remedy)

    def class_doubts(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Iterator[Doubt]:
        likely = labels.likely_delimiter(tuple(seen))
        if likely is None:
            yield from super().class_doubts(names, seen)
            return
        some = ", ".join([repr(name) for name in seen if likely in name][:SHOWN])
        text = f"{len(seen):,} labels consist of each other's parts ({some}), and each is taken for one label"
        yield Doubt(text, f'data.label_delimiter="{likely}" takes them apart')

    def snippet(self, model: str) -> str:
        loaded = snippets.loaded("AutoModelForSequenceClassification", model)
        return loaded + snippets.encoded(self.sample_texts()) + USE


def _is_vector(value: Value) -> bool:
    """Whether a list holds nothing but 0 and 1, which would name a label twice."""
    numbers = value if isinstance(value, list) else []
    return len(numbers) > len({*map(str, numbers)}) and all(item in (0, 1) for item in numbers)


def _listed(sample: Sample) -> Guess | None:
    """One column with a list of names in each cell, few of them different."""
    label = sample.label(_is_list_of_classes)
    text = sample.said_texts(label.name) if label else None
    if label is None or text is None:
        return None
    several = sum(len(names) > 1 for names in label.lists) / max(1, len(label.lists))
    more = f"{several:.0%} of them with more than one" if several else "each with one"
    why = f"{shown(label.name)} holds lists of labels, {more}."
    said = Said(label.name, "A list in each cell.")
    return Guess(0.97 if label.named_as_label else 0.87, why, {"data.text": text, "data.label": said})


def _is_list_of_classes(column: Column) -> bool:
    if column.is_about_labels:
        return False
    names = [labels.class_names(found, "|") for found in column.lists]
    if not names or not mostly(found is not None for found in names):
        return False
    every = [name for found in names for name in found or ()]
    lengths = {len(found or ()) for found in names}
    return 1 < len(set(every)) <= len(every) / 2 and (len(lengths) > 1 or lengths == {1})


def _delimited(sample: Sample) -> Guess | None:
    """One column whose names consist of each other's parts."""
    label = sample.label(
        lambda column: not column.is_text and not column.numbers and bool(_delimiter(column))
    )
    text = sample.said_texts(label.name) if label else None
    if label is None or text is None:
        return None
    delimiter = _delimiter(label)
    share = sum(delimiter in str(value) for value in label.filled) / len(label.filled)
    why = f"{share:.0%} of the cells of {shown(label.name)} hold several labels, with {delimiter!r} between them."
    example = next(name for name in label.names if delimiter in name)
    keys = {
        "data.text": text,
        "data.label": Said(label.name, f"Such as {shown(example)}."),
        "data.label_delimiter": Said(delimiter, "What separates the labels of a cell."),
    }
    sure = 0.87 if _told_apart(label) else 0.6
    return Guess(0.96 if label.named_as_label else sure, why, keys)


def _delimiter(column: Column) -> str:
    """What separates several labels in some cells; "" where there is no such thing."""
    return _told_apart(column) or next((mark for mark in MARKS if _parts_recur(column, mark)), "")


def _told_apart(column: Column) -> str:
    """What separates labels that also stand alone, in many combinations."""
    names = tuple(column.names)
    likely = labels.likely_delimiter(names)
    return likely if likely and labels.are_several(names, likely) else ""


def _parts_recur(column: Column, mark: str) -> bool:
    """Whether classes with this mark consist of parts that others have too, in a column of few classes."""
    split = (
        [[part.strip() for part in name.split(mark)] for name in column.names] if column.is_classes else []
    )
    joint = [parts for parts in split if len(parts) > 1]
    times = Counter(part for parts in split for part in parts)
    shared = sum(mark == NO_NAME or all(times[part] > 1 for part in parts) for parts in joint)
    return bool(joint) and "" not in times and 2 * shared > len(joint)


def _flagged(sample: Sample) -> Guess | None:
    """Columns of 0 and 1; of two that say the opposite of each other one is enough, and no list of labels."""
    flags = [column for column in sample.columns if column.is_flag and not column.is_id]
    if sample.given_label:
        flags = [column for column in flags if column.name in sample.given_label]
    else:
        flags = _written_alike(flags)
    text = sample.said_texts() if len(flags) > 1 else None
    if text is None:
        return None
    rows = zip(*(map(labels.flag, column.values) for column in flags), strict=True)
    each_has_one = all(sum(map(bool, row)) == 1 for row in rows)
    if each_has_one and len(flags) == 2:
        return None
    names = [column.name for column in flags]
    number = "each row has one of them" if each_has_one else "rows have any number of them"
    why = f"{len(names)} columns hold 0 or 1, and {number}."
    said = Said(names, "A column for each label, 1 where a row has it.")
    return Guess(0.92 if len(names) > 2 else 0.82, why, {"data.text": text, "data.label": said})


def _written_alike(flags: Sequence[Column]) -> list[Column]:
    """Those that are written as most are: a yes or no among columns of 0 and 1 says something of the row."""
    words = [column for column in flags if any(str(value).strip().isalpha() for value in column.filled)]
    others = [column for column in flags if column not in words]
    return words if len(words) > len(others) else others


SPEC = MultiLabel
