"""A tag for each word, such as the entities in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from launcher.errors import Conflict, Problem
from launcher.tasks.shared import labels, snippets, tagging
from launcher.tasks.shared.base import Change, Label, TaskSpec
from launcher.tasks.shared.findings import Doubt, Finding, Kind, Seen
from launcher.tasks.shared.marked_words import MARKS
from launcher.tasks.shared.rows import Mistake, Row, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample, mostly
from launcher.tasks.shared.words import tags, words

USE = """
inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", truncation=True)
owners = inputs.word_ids(0)
first = [place for place, word in enumerate(owners) if word is not None and word != owners[place - 1]]
with torch.no_grad():
    emissions = model(**inputs).logits[0, first]  # of each word's first token
# steps: from each tag to each tag; its last two rows from the beginning of a sentence, and to its end
score, pointers = steps[-2] + emissions[0], []
for emission in emissions[1:]:
    best, pointer = (score[:, None] + steps[:-2]).max(dim=0)
    score, pointers = best + emission, [*pointers, pointer]
tags = [int((score + steps[-1]).argmax())]
for pointer in reversed(pointers):
    tags.insert(0, int(pointer[tags[0]]))
print([(word, model.config.id2label[tag]) for word, tag in zip(words, tags)])
"""
NOT_IOB1 = "not IOB1"
"""Counted, and never told."""
NO_TAGS = "%s holds places of entities, not a tag for each word (docs/data.md makes tags of them)"
TAGS_SHOWN = 3
MANY_TAGS = 300
"""More than these are words."""
ENOUGH = 1000
"""Rows by which columns of words and of tags are told."""
SAME = 0.05
"""Lists of different entries, and so few different lists, are no tags but the letters of choices."""
SEQUENCE = Kind(
    "tags can't stand where they do",
    "mend the tags: an entity begins with B- (or S-), and I- goes on with one of the same type",
    always=True,
    in_rows=False,
)
IOB1 = Kind(
    "entities begin with I-, as the older IOB1 writes them",
    "nothing needs to be mended: they are read as BIO",
    in_rows=False,
    harmless=True,
)
"""What is said instead where all tags of all splits are written that way."""
NO_WORD = Kind(
    "words are empty, so that no tag of theirs is learnt or found",
    "leave them out of the lists, with their tags",
    in_rows=False,
    before_launch="leave them out of the lists, with their tags",
)
MARKED = {
    name: Kind(
        f"sentences have {mark.what}, which is learnt as a part of it",
        mark.remedy,
        in_rows=False,
        before_launch=mark.remedy,
    )
    for name, mark in MARKS.items()
}


class TokenClassification(TaskSpec):
    metric = "f1"
    called = ("AutoModelForTokenClassification", "TOKEN_CLS", "ner")
    metrics = ("f1", "precision", "recall", "lenient_f1", "accuracy")
    label_metrics = ("f1", "lenient_f1")
    losses = ("cross_entropy", "focal")
    reads = "selected"
    fixed_shape = False
    several = True
    about_text = True
    texts = (1,)
    words = True
    pipeline_tag = "token-classification"
    outputs = ("prediction", "probabilities", "entities")

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        found = [
            (column, text)
            for column in sample.columns
            for text in sample.columns
            if _tags(column, text, sample)
        ]
        if not found:
            return None
        label, text = max(
            found, key=lambda pair: (_in_scheme(pair[0]), pair[0].named_as_label, _kinds(pair[1]))
        )
        why = f"{shown(label.name)} has a tag for each word of {shown(text.name)}."
        others = dict.fromkeys(column.name for column, _ in found if column is not label)
        also = f" {', '.join(map(shown, others))} would do as well." if others else ""
        some = list(dict.fromkeys(tag for value in label.values[:ENOUGH] for tag in tags(value) or ()))[
            :TAGS_SHOWN
        ]
        keys = {
            "data.text": Said(text.name, "The words."),
            "data.label": Said(label.name, f"Tags such as {', '.join(map(shown, some))}.{also}"),
        }
        return Guess(0.99, why, keys)

    def conflicts(self) -> Iterator[Conflict]:
        yield from self._loss_conflicts()
        for name in ("insert", "swap", "delete", "back_translation"):
            if getattr(self.recipe.data.augment, name):
                yield Conflict(
                    (f"data.augment.{name}", "task"),
                    "would tear words from their tags",
                    "use data.augment.synonyms or data.augment.typos",
                )

    def _loss_conflicts(self) -> Iterator[Conflict]:
        loss = self.recipe.train.loss
        given = {
            "name": loss.name == "focal",
            "class_weights": loss.class_weights is not None,
            "label_smoothing": bool(loss.label_smoothing),
        }
        for key in given if self.recipe.tagging.crf else ():
            if given[key]:
                text = "is about words one by one, and the loss of a CRF is that of whole sentences"
                yield Conflict((f"train.loss.{key}", "tagging.crf"), text, "leave one of the two out")

    def most_shared(self, longest: int) -> int | None:
        return max(0, longest - 3)

    @property
    def cuts_windows(self) -> bool:
        return True

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        every = super().metrics_of(names)
        if names is None:
            return every
        types = tagging.types(names, tagging.scheme_of(names, self.recipe.tagging.scheme))
        return (*every, *(f"{metric}/{kind}" for kind in types if kind for metric in self.label_metrics))

    def words_of(self, row: Row) -> list[str]:
        """The words of a row."""
        (column,) = self.text_columns
        return words(row.values.get(column)) or []

    def text_mistakes(self, row: Row) -> Iterator[Mistake]:
        for column in self.text_columns:
            value = row.values.get(column)
            if words(value) is None:
                yield Mistake("data.text", column, f"{shown(value)} is not a list of words")

    def label_mistakes(self, row: Row) -> Iterator[Mistake]:
        (column,) = self.label_columns
        value, of = row.values.get(column), len(self.words_of(row))
        found = tags(value)
        if _holds_places(value):
            yield Mistake("data.label", column, NO_TAGS % shown(value))
        elif found is None and isinstance(value, list):
            first = [labels.class_name(tag) for tag in value].index(None)
            yield Mistake("data.label", column, f"tag {first + 1} of {len(value)} is empty", first)
        elif found is None:
            yield Mistake("data.label", column, f"{shown(value)} is not a list of tags")
        elif (joint := next(filter(tagging.JOINT_TAGS.fullmatch, found), None)) is not None:
            yield Mistake("data.label", column, f"{shown(joint)} is several tags: separate them by blanks")
        elif len(found) != of:
            yield Mistake("data.label", column, f"{len(found)} tags for {of} words")

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return tags(row.values.get(column))

    def class_names(self, row: Row) -> Sequence[str]:
        (column,) = self.label_columns
        return tags(row.values.get(column)) or ()

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        given = self.words_of(row)
        for number, word in enumerate(given):
            if not word.strip():
                yield Finding("no word", f"word {number + 1}", number)
        for name, mark in MARKS.items():
            if len(given) > 1 and all(mark.word.fullmatch(word) for word in given):
                yield Finding(name, given[0])
        scheme, found = _scheme(tuple(names), self.recipe.tagging.scheme), self.class_names(row)
        for number, (before, after) in enumerate(zip((None, *found), (*found, None), strict=True)):
            follows, as_iob1 = _pair(before, after, scheme)
            if not as_iob1:
                yield Finding(NOT_IOB1, "")
            if not follows:
                text = f"{after or 'the end'} after {before or 'the beginning'}"
                yield Finding("sequence", text, min(number, len(found) - 1))

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        return {"sequence": SEQUENCE if NOT_IOB1 in found else IOB1, "no word": NO_WORD, **MARKED}

    def sequences(self, row: Row, text_of: Callable[[str], str]) -> Iterator[Any]:
        yield self.words_of(row)

    def mended(self, row: Row, change: Change) -> Row:
        """A row as many words of which are left as it has tags."""
        (column,) = self.text_columns
        given = words(row.values.get(column)) if column in row.values else None
        if given is None:
            return row
        return Row({**row.values, column: [change(word) or word for word in given]}, row.position)

    def told(self, found: Mapping[str, Any]) -> str:
        """Each word with its tag, and the entities that they make."""
        (column,) = self.text_columns
        given = words(found[column]) or []
        tagged = " ".join(f"{word}/{tag}" for word, tag in zip(given, found["prediction"], strict=True))
        kinds = (": ".join(filter(None, (entity["type"], entity["text"]))) for entity in found["entities"])
        entities = "  ".join(kinds)
        return f"{tagged}   {entities}".rstrip()

    def known_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """The tags, and all that the same types may need besides; data.labels as they are."""
        scheme = tagging.scheme_of(names, self.recipe.tagging.scheme)
        if self.recipe.data.labels is not None or tagging.misfit(names, scheme):
            return tuple(names)
        return tagging.complete(names, scheme)

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        wanted = self.recipe.tagging.scheme
        scheme = tagging.scheme_of(names, wanted)
        misfit = tagging.misfit(names, scheme)
        if misfit is not None:
            message, remedy = tagging.misfit_message(misfit, names, scheme)
            return Problem(message, _place(seen, misfit), "tagging.scheme", wanted, remedy)
        odd = tagging.odd_tag(_counts(seen), scheme) if wanted == "auto" else None
        if odd is None:
            return None
        message, remedy = tagging.odd_message(*odd)
        return Problem(message, _place(seen, odd[0]), "data.label", self.recipe.data.label, remedy)

    def class_doubts(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Iterator[Doubt]:
        yield from _alike(seen)
        tagged = [name for name in names if name != tagging.OUTSIDE]
        if self.recipe.tagging.scheme != "auto" or not tagged or tagging.scheme_of(names) != tagging.NONE:
            return
        text = f"the tags ({', '.join(tagged[:TAGS_SHOWN])}) are written in no scheme such as BIO"
        remedy = "tagging.scheme=none says that this is meant"
        if all(name.isdecimal() for name in tagged):
            remedy = f"write their names (O, B-X, I-X), since nobody says what the numbers mean; {remedy}"
        yield Doubt(f"{text}: each tagged word is an entity of its own", remedy)

    def snippet(self, model: str) -> str:
        if not self.recipe.tagging.crf:
            options = ', aggregation_strategy="first"'
            return snippets.piped("token-classification", model, self.sample_texts(), options)
        told = f"words = {snippets.literal(self.sample_texts()[0])}.split()\n"
        return snippets.loaded("AutoModelForTokenClassification", model, head="steps") + told + USE


def _holds_places(value: object) -> bool:
    """Whether a cell is an object, or a list of lists or objects, as places of entities are written."""
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)


def _alike(seen: Mapping[str, Seen]) -> Iterator[Doubt]:
    """Tags of types that differ in case or blanks alone."""
    for alike in labels.alike(seen):
        yield Doubt(
            f"{' and '.join(map(repr, alike))} are taken for different tags", "write each tag in one way"
        )


def _place(seen: Mapping[str, Seen], tag: str) -> str | None:
    return seen[tag].place if tag in seen else None


def _counts(seen: Mapping[str, Seen]) -> dict[str, int]:
    return {name: found.count for name, found in seen.items()}


@lru_cache(maxsize=8)
def _scheme(names: tuple[str, ...], wanted: tagging.Wanted) -> tagging.Scheme:
    return tagging.scheme_of(names, wanted)


@lru_cache(maxsize=1 << 16)
def _pair(before: str | None, after: str | None, scheme: tagging.Scheme) -> tuple[bool, bool]:
    """Whether one tag may follow another, and whether the older IOB1 would write it so."""
    return tagging.follows(before, after, scheme), tagging.as_iob1(before, after, scheme)


def _tags(column: Column, text: Column, sample: Sample) -> bool:
    """Whether the cells of a column are tags of the words that stand in another."""
    if column is text or (sample.given_label and column.name not in sample.given_label):
        return False
    if not column.lists and not _in_scheme(column):
        return False
    cells = islice(zip(column.values, text.values, strict=True), ENOUGH)
    rows = [(tags(tagged), words(given)) for tagged, given in cells]
    alike = mostly(
        found is not None and given is not None and len(found) == len(given) for found, given in rows
    )
    longer = any(len(found or ()) > 2 for found, _ in rows)
    counted = mostly(list(found or ()) == [*map(str, range(1, 1 + len(found or ())))] for found, _ in rows)
    letters = mostly(len(set(found or ())) == len(found or ()) for found, _ in rows)
    same = letters and len({tuple(found or ()) for found, _ in rows}) <= max(1, SAME * len(rows))
    return alike and longer and not same and not counted and 2 * _kinds(column) < _kinds(text)


def _kinds(column: Column) -> int:
    """How many different words or tags there are."""
    return len({word for value in column.values[:ENOUGH] for word in tags(value) or ()})


def _in_scheme(column: Column) -> bool:
    """Whether the tags are written in a scheme such as BIO."""
    used = {tag for value in column.values[:ENOUGH] for tag in tags(value) or ()}
    return 1 < len(used) <= MANY_TAGS and tagging.scheme_of(used) != tagging.NONE


SPEC = TokenClassification
