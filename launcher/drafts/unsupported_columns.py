"""Columns that seem to be what is to be learnt and that no task reads as they are written.

Where one of them is there, rows are not taken for texts alone without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from launcher.drafts.data_files import TAGS
from launcher.errors import Problem
from launcher.reading.formats.conll import TAG
from launcher.tasks.shared import labels, tagging
from launcher.tasks.shared.marked_words import MARKS, Mark
from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.sample import MOST, Column, Guess, Sample, mostly
from launcher.tasks.shared.written_lists import unwritten, unwritten_object

NUMBER = re.compile(r"[-+]?[$€£¥]?\s?\d+(?:[., '’]\d{3})*(?:[.,]\d+)?\s?[%$€£¥]?")  # noqa: RUF001
"""A number as people write it: with a decimal comma, thousands apart, a currency or a per cent sign."""
FASTTEXT = re.compile(r"__[a-z]+__\S+\s")
CODE = re.compile(r"(?:[A-Z]{2,}|\w+:\w+|[+-]?\d{1,2})(?=\s)")
"""What a line begins with that has its label before its text, with a blank between."""
MARK = re.compile(r"_?[^\w\s'\"“”]{1,3}_|[^\w\s'\"“”]{2,3}")
"""What may stand between the columns of a line instead of a tab, such as _!_ or ||| or ::."""
TAGGED = re.compile(r"\S+[/_][A-Za-z]{1,5}(?:-[A-Z]+)?")
"""A word with its tag behind it."""
RANGES = re.compile(r"(?:\d+:\d+|None)(?:[|,](?:\d+:\d+|None))*")
"""First and last characters of the answers that several people gave."""
CERTAIN = 0.9
"""Of a guess that a label is named, or columns that belong together."""
QUERIES = {"question", "questions", "query"}
ANSWERS = {"answer", "answers"}
"""Words in the names of columns that are learnt from without being classes."""
POSITIVES = {"pos", "positive", "positives"}
"""Words in the names of columns of what belongs to a query."""
TEXT_WORDS = 3
"""Words that the texts of a list have at least, on average; names and keywords have fewer."""
ALONE = "task=masked-lm takes the texts alone"
NAMED = "data.label=COLUMN names it (add it where it stands in another file)"
WORDS = "write words and a tag for each, in columns or as lists"
SENTENCES = (
    "write the words and tags of a sentence as two lists (docs/data.md does so), "
    "or as CoNLL columns with an empty line behind it"
)
COLUMNS = "write a column for each thing that is to be read"
QUESTIONS = (
    'write {"question": ..., "context": ..., "answers": {"text": [...], "answer_start": [...]}} in each row'
)
ROWS = "write a row for each of them that belongs to a text; data.negatives takes lists of those that don't"
MOST_SHOWN = 60
SPANS = "say where parts of a text begin and end"


class _Kind(NamedTuple):
    """Cells that are written in a way that no task reads."""

    fits: Callable[[Any], bool]
    what: str
    remedy: str


def unread_labels(sample: Sample) -> Iterator[Problem]:
    """What is wrong with each column that seems to be what is to be learnt."""
    texts = {column.name for column in sample.text_columns}
    told: tuple[str, ...] = ()
    for column in sample.columns:
        if column.filled and column.name not in texts and not column.name.startswith(told):
            kind = (
                _kind(column)
                or _of_words(column)
                or (_of_names(column) if column.is_given or column.named_as_label else None)
            )
            if kind is not None:
                yield _problem(column, kind)
                told += (f"{column.name}.",)
        elif column.name in texts and (within := _places(column) or _within_texts(column)) is not None:
            yield _problem(column, within)
    if len(pair := sample.compared) > 1:
        names = " and ".join(shown(column.name) for column in pair)
        text = f"{names} hold pairs of texts, and no column says what of them is to be learnt"
        together = f"task=embedding data.text=[{pair[0].name},{pair[1].name}] takes them for texts that belong together"
        yield Problem(text, remedy=f"{NAMED}, data.text=COLUMN takes one of them; {together}; {ALONE}")


def _places(column: Column) -> _Kind | None:
    """Places of entities, where a table holds them as the JSON that they are written in."""
    fits = mostly(_is_spans(unwritten_object(value)) for value in column.filled)
    return _Kind(_is_spans, SPANS, TAGS) if fits else None


def _within_texts(column: Column) -> _Kind | None:
    """What is to be learnt where it stands in the texts themselves."""
    if mostly(_is_fasttext(value) for value in column.filled):
        remedy = r"sed 's/^__[a-z]*__\([^ ]*\) */\1\t/' FILE > NEW.tsv gives columns"
        return _Kind(_is_fasttext, "have a label before the text, as fastText writes it", remedy)
    codes = Counter(code[0] for value in column.filled if (code := CODE.match(str(value))))
    if 1 < len(codes) <= len(column.filled) / 2 and codes.total() >= MOST * len(column.filled):
        remedy = r"sed 's/ /\t/' FILE > NEW.tsv gives columns"
        return _Kind(_never, "have a label before the text, with a blank between", remedy)
    if mostly(_is_tagged(str(value)) for value in column.filled):
        return _Kind(_never, "have a tag behind each word", WORDS)
    if mark := _mark(list(map(str, column.filled))):
        pattern = re.sub(r"([][/.*^$])", r"\\\1", mark)
        remedy = f"sed 's/{pattern}/\\t/g' FILE > NEW.tsv gives columns"
        return _Kind(_never, f"hold {shown(mark)} equally often, as between columns", remedy)
    return None


def _mark(texts: Sequence[str]) -> str | None:
    """What stands between several parts of each text, as many in all."""
    marks = [found[0] for found in MARK.finditer(texts[0] if texts else "")]
    for mark in dict.fromkeys(marks):
        parts = [list(map(str.strip, text.split(mark))) for text in texts]
        count = len(parts[0])
        if count > 1 and mostly(len(some) == count and all(some[:-1]) for some in parts):
            return mark
    return None


def _is_tagged(text: str) -> bool:
    words = text.split()
    return len(words) > 1 and mostly(bool(TAGGED.fullmatch(word)) for word in words)


def _of_words(column: Column) -> _Kind | None:
    """A tag in each row, as in a table that has a row for each word."""
    tags = set(column.names)
    if mostly(tagging.JOINT_TAGS.fullmatch(tag) is not None for tag in column.names.elements()):
        return _Kind(_never, "are several tags that no blanks separate", "separate them by blanks")
    if "O" in tags and len(tags) > 1 and all(TAG.fullmatch(tag) and len(tag.split()) == 1 for tag in tags):
        return _Kind(_never, "tag one word in each row", SENTENCES)
    return None


def unread_rows(sample: Sample, guess: Guess) -> Iterator[Problem]:
    """What is wrong with rows of a word and its tag each, with answers beside their contexts, or with choices of which nothing
    says which is right, whatever else is guessed of them.
    """
    certain = guess.certainty >= CERTAIN
    yield from (_problem(column, kind) for column in sample.columns if (kind := _of_words(column)))
    for column in () if sample.given_label else sample.columns:
        if column.named_as_label and (kind := _places(column)) is not None:
            yield _problem(column, kind)
        elif column.words_of_name & POSITIVES and mostly(
            _is_texts(unwritten(cell)) for cell in column.filled
        ):
            yield _problem(column, _Kind(_is_texts, "are lists of texts", ROWS))
    for words in sample.columns:
        if "data.label" in guess.keys and words.name == guess.keys["data.text"].value:
            yield from (_problem(words, _marked(mark)) for mark in MARKS.values() if _are_marked(words, mark))
    answer, context = (None, None) if certain else _apart(sample)
    if answer is not None and context is not None:
        text = f"the cells of {shown(answer.name)} are answers that stand in {shown(context.name)}"
        yield Problem(
            text, remedy=f"{QUESTIONS} (docs/data.md does so), or task=TASK says what else they are for"
        )
    elif not certain and (ranges := _ranges(sample)) is not None:
        text = f"the cells of {shown(ranges.name)} say where answers begin and end, such as {shown(ranges.filled[0])}"
        yield Problem(text, remedy=f"{QUESTIONS}, or task=TASK says what else they are for")
    elif not certain and "data.label" not in guess.keys and (some := sample.chosen_from):
        names = ", ".join(shown(column.name) for column in some)
        text = f"{names} look like texts to choose from, and no column says which is right"
        yield Problem(text, remedy=f"{NAMED}, or task=TASK says what else they are for")


def _are_marked(column: Column, mark: Mark) -> bool:
    """Whether the cells are lists of words, and each word has such a mark."""
    words = [word for found in column.lists for word in found]
    return len(words) > len(column.lists) and mostly(
        mark.word.fullmatch(str(word)) is not None for word in words
    )


def _marked(mark: Mark) -> _Kind:
    return _Kind(_never, f"have {mark.what}", mark.remedy)


def _ranges(sample: Sample) -> Column | None:
    """A column of the places of answers, as NewsQA writes them."""
    named = (column for column in sample.columns if column.words_of_name & ANSWERS and column.filled)
    return next(
        (one for one in named if mostly(RANGES.fullmatch(str(cell)) is not None for cell in one.filled)), None
    )


def _apart(sample: Sample) -> tuple[Column | None, Column | None]:
    """A column of plain answers to questions, and that of the texts in which they stand."""
    if not any(column.words_of_name & QUERIES and column.is_text for column in sample.columns):
        return None, None
    longest = max(sample.text_columns, key=lambda column: column.characters, default=None)
    if longest is None:
        return None, None
    for column in sample.columns:
        if column.words_of_name & {*ANSWERS, "text"} and column is not longest and column.characters:
            rows = zip(column.values, longest.values, strict=True)
            cells = [str(part) in str(whole) for part, whole in rows if part not in (None, "")]
            if len(column.names) > len(sample.columns) and mostly(cells):
                return column, longest
    return None, None


def _problem(column: Column, kind: _Kind) -> Problem:
    example = shown(column.filled[0])
    example = example if len(example) <= MOST_SHOWN else f"{example[:MOST_SHOWN]}..."
    text = f"the cells of {shown(column.name)} {kind.what}, such as {example}"
    return Problem(text, remedy=f"{kind.remedy}; {ALONE}")


def _kind(column: Column) -> _Kind | None:
    """How all cells are written, where that is like nothing that is read."""
    read = [unwritten(value) for value in column.filled]
    if all(value in ([], {}) for value in read):
        if not column.named_as_label and not column.words_of_name & ANSWERS:
            return None  # nobody learns from comments that none has written
        return _Kind(_never, "are all empty", "nothing can be learnt from them: give rows with more")
    return next((kind for kind in KINDS if mostly(map(kind.fits, read))), None)


def _of_names(column: Column) -> _Kind | None:
    if any(isinstance(unwritten(value), list | dict) for value in column.filled):
        return _Kind(_never, "are lists or objects that no task reads", COLUMNS)
    if len(column.names) == 1:
        return _Kind(_never, "are all alike: there is nothing to tell apart", "give rows of each class")
    if len(column.names) > len(column.filled) / 2:
        remedy = "data.label=COLUMN names another"
        return _Kind(
            _never,
            f"have {len(column.names):,} values in {len(column.filled):,} rows: too many for classes",
            remedy,
        )
    return None


def _is_spans(value: Any) -> bool:
    """Whether a cell tells parts of a text by where they begin and end, as annotation tools write them."""
    if isinstance(value, dict):
        return bool(value) and all(map(_is_spans, value.values()))
    if not isinstance(value, list):
        return False
    return all(
        _is_span(entry) or (isinstance(entry, list) and bool(entry) and _is_spans(entry)) for entry in value
    )


def _is_span(entry: Any) -> bool:
    if isinstance(entry, dict):
        names = {name.lower() for name in entry}
        inner = (value for value in entry.values() if isinstance(value, dict | list))
        return any("start" in name for name in names) or any(map(_is_spans_of, inner))
    whole = [part for part in entry if isinstance(part, int)] if isinstance(entry, list) else []
    return len(whole) == 2 and len(entry) <= 3


def _is_spans_of(value: Any) -> bool:
    return _is_span(value) if isinstance(value, dict) else bool(value) and _is_spans(value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict | list) for entry in value)


def _is_questions(value: Any) -> bool:
    return _is_objects(value) and all(
        isinstance(entry, dict) and any("question" in name or "query" in name for name in entry)
        for entry in value
    )


def _is_texts(value: Any) -> bool:
    texts = value if isinstance(value, list) and all(isinstance(one, str) for one in value) else []
    return bool(texts) and sum(len(text.split()) for text in texts) >= TEXT_WORDS * len(texts)


def _is_marked_number(value: Any) -> bool:
    text = str(value).strip()
    return isinstance(value, str) and NUMBER.fullmatch(text) is not None and labels.score(text) is None


def _is_fasttext(value: Any) -> bool:
    return isinstance(value, str) and FASTTEXT.match(value) is not None


def _never(_: Any) -> bool:
    return False


KINDS: Sequence[_Kind] = (
    _Kind(_is_questions, "are lists of questions", QUESTIONS),
    _Kind(_is_texts, "are lists of texts", ROWS),
    _Kind(_is_spans, SPANS, TAGS),
    _Kind(_is_objects, "are lists of objects or of lists", COLUMNS),
    _Kind(_is_marked_number, "are numbers, but not written plainly", "write 1234.5 for 1.234,5 or $1,234.50"),
)
