"""The stretch of a context that answers a question, as in SQuAD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.tasks.shared.answers import Answer, answers, in_place, placed
from launcher.tasks.shared.base import Change, Label, TaskSpec, mended
from launcher.tasks.shared.findings import Finding, Kind
from launcher.tasks.shared.rows import Row, Value, shown


class QuestionAnswering(TaskSpec):
    metric = "f1"
    metrics = ("exact_match", "f1", "answerable_accuracy")
    reads = "all"
    fixed_shape = False
    classes = False
    about_text = True
    head_outputs = 2
    texts = (2,)
    example_columns = "data.text=[question,context]"
    outputs = ("prediction", "probabilities", "start", "end")

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """`answerable_accuracy` is that of saying that there is no answer."""
        every = super().metrics_of(names)
        return every if self.recipe.qa.unanswerable else every[:-1]

    def most_shared(self, longest: int) -> int | None:
        """A question may take the other half."""
        return longest // 2

    @property
    def cuts_windows(self) -> bool:
        return True

    @property
    def altered_columns(self) -> tuple[str, ...]:
        """A question, and not the context that its answers stand in."""
        return self.given_texts[:1]

    def context_of(self, row: Row) -> str:
        """The text that answers stand in: the second of data.text."""
        return str(row.values.get(self.text_columns[-1]) or "")

    @property
    def located_in(self) -> str:
        return self.text_columns[-1]

    def answers_of(self, row: Row) -> tuple[Answer, ...]:
        """The answers of a row as they were given, none where there are none or they can't be read."""
        (column,) = self.label_columns
        return answers(row.values.get(column)) or ()

    def label_mistake(self, row: Row, value: Value) -> str | None:
        found = answers(value)
        if found is None:
            return f'{shown(value)} is not a list of {{"text": ..., "answer_start": ...}}'
        context = self.context_of(row)
        for answer in found:
            if not answer.text.strip():
                return "an answer is empty: a question without an answer has an empty list"
            if placed(context, answer) is None:
                return f"the answer {shown(answer.text)} stands nowhere in the context"
        return None

    def label(self, row: Row) -> Label:
        """The answers, each where it really stands."""
        context = self.context_of(row)
        return tuple(there for answer in self.answers_of(row) if (there := placed(context, answer)))

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        context = self.context_of(row)
        for answer in self.answers_of(row):
            if not in_place(context, answer):
                there = context[answer.start : answer.start + len(answer.text)]
                text = f"{answer.text!r} said to begin at {answer.start}, where {there!r} is"
                yield Finding("offset", text)

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        return {
            "offset": Kind(
                "answers don't stand where answer_start says",
                "mend answer_start (characters from 0); until then the nearest occurrence is taken",
                always=True,
                in_rows=False,
                before_launch="their nearest occurrence is taken",
            )
        }

    def mended(self, row: Row, change: Change) -> Row:
        """A row whose answers are looked for again where the characters before them say that they now begin."""
        before = self.context_of(row)
        values = {**row.values}
        for column in self.text_columns:
            values[column] = mended(row.values.get(column), change)
        context = self.context_of(Row(values, row.position))
        if found := self.answers_of(row):
            (label,) = self.label_columns
            values[label] = [_moved(answer, before, context, change) for answer in found]
        return Row(values, row.position)

    def sample_texts(self) -> tuple[str, ...]:
        return ("a question", "the text that answers it")


def _moved(answer: Answer, before: str, context: str, change: Change) -> dict[str, str | int]:
    there = placed(before, answer) or answer
    text = change(there.text)
    start = len(change(before[: there.start] + "|")) - 1
    moved = placed(context, Answer(text, start)) or Answer(text, start)
    return {"text": moved.text, "answer_start": moved.start}


SPEC = QuestionAnswering
