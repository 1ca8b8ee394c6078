"""Sentences in columns (CoNLL, BIO and IOB2 files): a line for each word, an empty line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice
from pathlib import Path

from launcher.errors import UserError
from launcher.reading.messages import into_new, mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import lines
from launcher.tasks.shared.rows import Row

BLANKS = re.compile(r"[ \t]+")
"""What separates columns; no other space of Unicode, since a Chinese text may have an ideographic one as a word."""
BETWEEN_DOCUMENTS = "-DOCSTART-"
TAG = re.compile(r"[BIOESLUMW](-.+)?")
"""A tag of BIO, BIOES, BILOU or BMES."""
NUMBERED = (["1"], ["1", "2"], ["1-2", "1"])
"""How the words of a sentence of CoNLL-U begin."""
HEADER = re.compile(
    r"(words?|tokens?|text|form|lemma|(pos|ner|chunk|bio)[ _-]?(tags?)?|tags?|labels?|entit(y|ies))",
    re.IGNORECASE,
)
"""What columns are called where a file begins with their names."""
LINES_AHEAD = 2000
"""Lines from which it is learnt how many columns there are and what stands in the last one."""

Line = tuple[int, str]


def rows(path: Path, options: ReadOptions) -> Iterator[Row]:
    """Each sentence as {column: strings by word}, at the line of its first word.

    Without names the first column is `text`, the last `label`, those between `column2`, `column3`, ... Raises
    UserError at a line that hasn't as many columns as the first.
    """
    names, delimiter = options.columns, options.delimiter
    extra_is_fine = names is not None
    _refuse_header(path, delimiter)
    for words in _sentences(lines(path), delimiter):
        if names is None and [fields[0] for _, fields in words[:2]] in NUMBERED and len(words[0][1]) == 10:
            text = "has ten columns that begin with the number of the word, as CoNLL-U has"
            raise mistake(
                path, words[0][0], text, "data.format=conllu, or data.columns=[...] if it is another form"
            )
        names = names or default_names(len(words[0][1]))
        for number, fields in words:
            if len(fields) != len(names) and not (extra_is_fine and len(fields) > len(names)):
                raise _ragged(path, number, fields, names)
        columns = ([fields[column] for _, fields in words] for column in range(len(names)))
        yield Row(dict(zip(names, columns, strict=True)), words[0][0])


def _refuse_header(path: Path, delimiter: str | None) -> None:
    """Raises UserError where the first line names the columns, which would be learnt as a word."""
    first, *others = [
        _fields(line, delimiter) for _, line in islice(lines(path), LINES_AHEAD) if _is_word(line)
    ] or [[]]
    named = len(first) > 1 and all(HEADER.fullmatch(name.strip()) for name in first)
    if named and all(first[-1] != fields[-1] for fields in others):
        text = f"the first line names columns ({', '.join(first)}), and columns of words have no such line"
        raise mistake(path, 1, text, f"take it out: sed 1d {into_new(path)}")


def default_names(width: int) -> tuple[str, ...]:
    """Names of `width` columns: text first, label last."""
    if width == 1:
        return ("text",)
    return ("text", *(f"column{number}" for number in range(2, width)), "label")


def _sentences(numbered: Iterator[Line], delimiter: str | None) -> Iterator[list[tuple[int, list[str]]]]:
    """Line numbers and fields of the words of each sentence, without the comments before it."""
    ahead = list(islice(numbered, LINES_AHEAD))
    widths, last = _learn(ahead, delimiter)
    for inside, group in groupby(chain(ahead, numbered), key=lambda line: _is_word(line[1])):
        if not inside:
            continue
        words = [(number, _fields(line, delimiter)) for number, line in group]
        first = next(
            (index for index, (_, word) in enumerate(words) if not _is_comment(word, widths, last)), None
        )
        if first is None:
            continue
        last.update(fields[-1] for _, fields in words[first:])
        yield words[first:]


def _learn(ahead: Sequence[Line], delimiter: str | None) -> tuple[set[int], set[str]]:
    """How many columns there are, and what the last one holds, in lines that can't be comments."""
    found = [_fields(line, delimiter) for _, line in ahead if _is_word(line) and not line.startswith("#")]
    return {len(fields) for fields in found}, {fields[-1] for fields in found}


def _is_comment(fields: Sequence[str], widths: set[int], last: set[str]) -> bool:
    """Whether a line before the first word is one of `# id = 7` and its like, and not a word that begins with `#`.

    A word has as many columns as the others, and in the last one something that others have, or a tag.
    """
    if not fields[0].startswith("#"):
        return False
    if not widths or len(fields) not in widths:
        return bool(widths)
    return len(fields) > 1 and fields[-1] not in last and not TAG.fullmatch(fields[-1])


def _ragged(path: Path, number: int, fields: Sequence[str], names: Sequence[str]) -> UserError:
    text = f"columns: {len(fields)}, but {len(names)} expected ({', '.join(names)})"
    matter = "if only the first columns matter" if len(fields) > len(names) else "names what there is"
    remedy = f"mend the line, or set data.delimiter if columns are separated by one character; data.columns=[...] {matter}"
    of_texts = "; data.format=txt if each line is a text" if path.suffix == ".txt" else ""
    return mistake(path, number, text, remedy + of_texts)


def _is_word(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(BETWEEN_DOCUMENTS)


def _fields(line: str, delimiter: str | None) -> list[str]:
    return BLANKS.split(line.strip(" \t")) if delimiter is None else line.split(delimiter)
