"""The stretch of a context that answers a question, as in SQuAD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.tasks.shared import snippets
from launcher.tasks.shared.answers import NOWHERE, Answer, answers, answers_mistake, in_place, placed
from launcher.tasks.shared.base import Change, Label, TaskSpec, mended
from launcher.tasks.shared.findings import Finding, Kind
from launcher.tasks.shared.rows import Mistake, Row, Value, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample, mostly

USE = """
inputs = tokenizer(
    question, context, return_tensors="pt", truncation="only_second", return_offsets_mapping=True
)
places = inputs.pop("offset_mapping")[0].tolist()
outside = torch.tensor([part != 1 for part in inputs.sequence_ids(0)])
with torch.no_grad():
    output = model(**inputs)
start, end = output.start_logits[0], output.end_logits[0]
scores = start.masked_fill(outside, -torch.inf)[:, None] + end.masked_fill(outside, -torch.inf)
tokens = torch.arange(len(places))
length = tokens - tokens[:, None] + 1
scores = scores.masked_fill((length < 1) | (length > longest), -torch.inf)
first, last = divmod(int(scores.argmax()), len(places))
answer = context[places[first][0] : places[last][1]]
"""
UNANSWERABLE = """\
if start[0] + end[0] > scores.max() + {above}:
    answer = ""  # there is none
"""
IMPOSSIBLE = "is_impossible"
"""The column of SQuAD 2.0 that says whether a question has no answer; it wins over answers that stand there too."""
WRITTEN = {"True": True, "False": False, "TRUE": True, "FALSE": False}
"""How pandas and Excel write what is true or false to csv."""
KINDS = {
    "offset": Kind(
        "answers don't stand where answer_start says",
        "mend answer_start (characters from 0); until then the nearest occurrence is taken",
        always=True,
        in_rows=False,
        before_launch="their nearest occurrence is taken",
    ),
    "absent": Kind(
        "answers stand nowhere in their context",
        "mend them; until then nothing is learnt from them, and they count in scores",
        always=True,
        in_rows=False,
        before_launch="nothing is learnt from them, and they count in scores",
    ),
    "impossible": Kind(
        "questions have answers although is_impossible says that there is none",
        "mend one of the two; until then they have no answer",
        always=True,
        in_rows=False,
        before_launch="they are taken to have none",
    ),
    "unanswered": Kind(
        "questions have no answer, and no prediction can say so",
        "qa.unanswerable=true lets predictions be empty, or leave these questions out",
        always=True,
        in_rows=False,
        before_launch="qa.unanswerable=true lets predictions be empty",
    ),
}


class QuestionAnswering(TaskSpec):
    metric = "f1"
    called = ("AutoModelForQuestionAnswering", "QUESTION_ANS", "qa")
    metrics = ("exact_match", "f1", "answerable_accuracy")
    reads = "all"
    fixed_shape = False
    classes = False
    lesson = "an answer that stands in its context"
    about_text = True
    head_outputs = 2
    pipeline_tag = "question-answering"
    texts = (2,)
    example_columns = "data.text=[question,context]"
    outputs = ("prediction", "probabilities", "start", "end")

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        label = sample.label(_holds_answers)
        context = None if label is None else next(_contexts(sample, label), None)
        others = [column for column in sample.text_columns if column is not context]
        named = (
            column
            for column in (*others, *sample.columns)
            if "question" in column.words_of_name and column.characters
        )
        question = next(named, others[0] if others else None)
        if label is None or context is None or question is None:
            return None
        why = f"{shown(label.name)} holds answers that stand in {shown(context.name)}."
        return Guess(1.0, why, _keys(sample, question, context, label))

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
        """The answers of a row as they were given, none where there are none, whatever else the row says."""
        (column,) = self.label_columns
        return () if _is_impossible(row) else answers(row.values.get(column)) or ()

    def label_mistakes(self, row: Row) -> Iterator[Mistake]:
        yield from super().label_mistakes(row)
        flag = row.values.get(IMPOSSIBLE)
        if flag is not None and not isinstance(flag, bool) and flag not in WRITTEN:
            yield Mistake("data.label", IMPOSSIBLE, f"{shown(flag)} is neither true nor false")

    def label_mistake(self, row: Row, value: Value) -> str | None:
        return answers_mistake(value)

    def label(self, row: Row) -> Label:
        """The answers, each where it really stands, NOWHERE where the context doesn't hold it."""
        context = self.context_of(row)
        return tuple(
            placed(context, answer) or Answer(answer.text, NOWHERE) for answer in self.answers_of(row)
        )

    def teaches(self, label: Label) -> bool:
        return any(answer.start != NOWHERE for answer in label)

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        context, given = self.context_of(row), self.answers_of(row)
        if not given and not self.recipe.qa.unanswerable:
            yield Finding("unanswered", str(row.values.get(self.given_texts[0]) or ""))
        if not given and answers(row.values.get(self.label_columns[0])):
            yield Finding("impossible", str(row.values.get(self.given_texts[0]) or ""))
        for answer in given:
            if placed(context, answer) is None:
                yield Finding("absent", repr(answer.text))
            elif not in_place(context, answer):
                there = context[max(0, answer.start) : answer.start + len(answer.text)]
                text = f"{answer.text!r} said to begin at {answer.start}, where {there!r} is"
                yield Finding("offset", text)

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        return KINDS

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

    def snippet(self, model: str) -> str:
        question, context = map(snippets.literal, self.sample_texts())
        told = f"question, context = {question}, {context}\nlongest = {self.recipe.qa.max_answer}  # tokens of an answer\n"
        nothing = (
            UNANSWERABLE.format(above=self.recipe.qa.null_threshold) if self.recipe.qa.unanswerable else ""
        )
        return (
            snippets.loaded("AutoModelForQuestionAnswering", model) + told + USE + nothing + "print(answer)\n"
        )


def _is_impossible(row: Row) -> bool:
    value = row.values.get(IMPOSSIBLE)
    return value is True or (isinstance(value, str) and WRITTEN.get(value, False))


def _moved(answer: Answer, before: str, context: str, change: Change) -> dict[str, str | int]:
    there = placed(before, answer) or answer
    text = change(there.text)
    start = len(change(before[: there.start] + "|")) - 1
    moved = placed(context, Answer(text, start)) or Answer(text, start)
    return {"text": moved.text, "answer_start": moved.start}


def _holds_answers(column: Column) -> bool:
    found = [answers(value) for value in column.values]
    return mostly(entries is not None for entries in found) and any(found)


def _contexts(sample: Sample, label: Column) -> Iterator[Column]:
    """The columns that hold the answers, the longest texts first; many questions may be about a few of them."""
    texts = sample.text_columns if sample.given_text else sample.columns
    beside = [
        column for column in texts if column.characters and not f"{column.name}.".startswith(f"{label.name}.")
    ]
    for column in sorted(beside, key=lambda column: -column.characters):
        rows = zip(column.values, map(answers, label.values), strict=True)
        if mostly(found[0].text in str(text) for text, found in rows if found):
            yield column


def _keys(sample: Sample, question: Column, context: Column, label: Column) -> dict[str, Said]:
    keys = {
        "data.text": Said(
            [question.name, context.name], "The question, and the text that its answer stands in."
        ),
        "data.label": Said(label.name, "The answers, and where each begins."),
    }
    none = sum(not answers(value) for value in label.values) / len(label.values)
    if none:
        keys["qa.unanswerable"] = Said(True, f"{none:.0%} of the questions have no answer.")
    title = sample.named("title")
    if title is not None and len(title.names) > 2:
        keys["data.group"] = Said("title", "All questions about an article stay on one side of a cut.")
    return keys


SPEC = QuestionAnswering
