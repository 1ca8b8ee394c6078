"""Local data files are read exactly, and every mistake in one names the file and the line."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import Problem, UserError
from launcher.reading.files import content_hash, count_rows, peek, read_rows, split_sizes
from launcher.reading.options import ReadOptions

PLAIN = ReadOptions()
Write = Callable[[str, bytes | str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def values(path: Path, options: ReadOptions = PLAIN) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(path, options)]


def problem(path: Path, options: ReadOptions = PLAIN) -> Problem:
    with pytest.raises(UserError) as caught:
        list(read_rows(path, options))
    (only,) = caught.value.problems
    return only


# Formats


def test_csv_is_quoted_and_positions_are_the_lines_where_rows_begin(write: Write) -> None:
    path = write("a.csv", 'text,label\r\n"two\nlines, one ""field""",1\r\n\r\nplain,0\r\n')
    assert [(row.position, row.values) for row in read_rows(path, PLAIN)] == [
        (2, {"text": 'two\nlines, one "field"', "label": "1"}),
        (5, {"text": "plain", "label": "0"}),
    ]


def test_tsv_is_not_quoted(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"an opening quote\t1\nand, a comma\t0\n')
    assert values(path) == [
        {"text": '"an opening quote', "label": "1"},
        {"text": "and, a comma", "label": "0"},
    ]


def test_quoting_and_delimiter_can_be_given(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"a\ttab"\t1\n')
    assert values(path, ReadOptions(quoting=True)) == [{"text": "a\ttab", "label": "1"}]
    path = write("a.csv", 'text;label\n"as it is;1\n')
    assert values(path, ReadOptions(quoting=False, delimiter=";")) == [{"text": '"as it is', "label": "1"}]


def test_a_headerless_file_takes_the_names_given_and_ignores_further_columns(write: Write) -> None:
    path = write("a.csv", "one\t1\textra\ntwo\t2\n")
    options = ReadOptions(format="tsv", header=False, columns=("text", "label"))
    assert values(path, options) == [{"text": "one", "label": "1"}, {"text": "two", "label": "2"}]


def test_a_headerless_file_without_names_numbers_its_columns(write: Write) -> None:
    path = write("a.csv", "one,1\n")
    assert values(path, ReadOptions(header=False)) == [{"column1": "one", "column2": "1"}]


@pytest.mark.parametrize("content", ['[{"text": "a", "label": 1}]', '{"data": [{"text": "a", "label": 1}]}'])
def test_json_is_a_list_of_objects(write: Write, content: str) -> None:
    assert values(write("a.json", content)) == [{"text": "a", "label": 1}]


def test_jsonl_skips_blank_lines_and_keeps_types(write: Write) -> None:
    path = write("a.jsonl", '{"text": "a\\u2028b", "label": ["x"]}\n\n{"text": null, "label": 2.5}\n')
    assert [(row.position, row.values) for row in read_rows(path, PLAIN)] == [
        (1, {"text": "a\u2028b", "label": ["x"]}),
        (3, {"text": None, "label": 2.5}),
    ]


def test_parquet(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", None], "label": [1, 0]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == [{"text": "a", "label": 1}, {"text": None, "label": 0}]
    assert count_rows(tmp_path / "a.parquet", PLAIN) == 2


def test_txt_is_one_text_a_line_whatever_else_unicode_calls_a_line_end(write: Write) -> None:
    path = write("a.txt", "one\u2028still one\x85still\r\n\nthree")
    assert [row.values["text"] for row in read_rows(path, PLAIN)] == [
        "one\u2028still one\x85still",
        "",
        "three",
    ]
    assert count_rows(path, PLAIN) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\r\na,1\r\n"),
        ("a.tsv", "text\tlabel\r\na\t1\r\n"),
        ("a.json", '[{"text": "a", "label": "1"}]\r\n'),
        ("a.jsonl", '{"text": "a", "label": "1"}\r\n'),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_make_no_difference(
    write: Write, name: str, content: str
) -> None:
    assert values(write(name, b"\xef\xbb\xbf" + content.encode())) == [{"text": "a", "label": "1"}]


def test_a_field_may_be_longer_than_pythons_limit(write: Write) -> None:
    long = "word " * 60_000
    assert values(write("a.csv", f'text,label\n"{long}",1\n'))[0]["text"] == long


# Round trips

CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLAIN_CELL = st.text(st.characters(exclude_characters="\0\t\n\r", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(CELL, CELL), min_size=1))
def test_csv_written_by_python_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    assert [(row["text"], row["label"]) for row in values(path)] == rows
    assert peek(path, PLAIN, rows=1).count == len(rows)


@given(st.lists(st.tuples(PLAIN_CELL, PLAIN_CELL), min_size=1))
def test_tsv_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    path.write_bytes("".join(f"{a}\t{b}\n" for a, b in [("text", "label"), *rows]).encode())
    assert [(row["text"], row["label"]) for row in values(path)] == rows
    assert peek(path, PLAIN, rows=1).count == len(rows)


SCALAR = st.none() | st.integers() | st.floats(allow_nan=False) | CELL
OBJECT = st.dictionaries(CELL, SCALAR | st.lists(SCALAR))


@given(st.lists(OBJECT, min_size=1), st.booleans())
def test_jsonl_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], escape: bool) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes("".join(json.dumps(row, ensure_ascii=escape) + "\n" for row in rows).encode())
    assert values(path) == rows
    assert peek(path, PLAIN, rows=1).count == len(rows)


# Mistakes


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [("text,label\na,1\nb,1,2\n", 3, "3 fields"), ("text,label\na\n", 2, "1 field,")],
)
def test_a_row_of_another_length_is_refused(write: Write, content: str, line: int, found: str) -> None:
    mistake = problem(write("a.csv", content))
    assert str(mistake.where).endswith(f"a.csv:{line}")
    assert found in mistake.message
    assert "2 columns (text, label)" in mistake.message
    assert all(key in str(mistake.remedy) for key in ("data.quoting", "data.delimiter", "data.columns"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            'text,label\n"say \\"yes\\", she said",1\n',
            r"a\.csv:2: has a quote behind a backslash.*sed 's",
        ),
        ("a.csv", 'text,label\n"say \\"yes\\"",1\n', r"a\.csv:2: has a quote behind a backslash.*sed 's"),
        ("a.csv", "Export of May\ntext,label\ngood,1\n", r"a\.csv:2: .*a title of the table.*sed 1d a\.csv"),
        ("a.tsv", "a\tb\tc\n1\t2\t3\nx\n1\t2\n", r"a\.tsv:3: .*2 lines in all so.*awk -F'\\t' 'NF==3'"),
        ("a.tsv", "a\tb\tc\n1\t2\n1\t2\n", r"a\.tsv:2: .*and all other lines are so.*mend the header"),
    ],
)
def test_the_cause_of_other_fields_is_told_with_a_remedy_that_helps(
    write: Write, name: str, content: str, message: str
) -> None:
    with pytest.raises(UserError, match=r"(?s)" + message):
        list(read_rows(write(name, content), ReadOptions()))


def test_tabs_in_a_csv_point_to_tsv(write: Write) -> None:
    options = ReadOptions(header=False, columns=("text", "label"))
    assert "data.format=tsv" in str(problem(write("a.csv", "one\t1\n"), options).remedy)


@pytest.mark.parametrize(
    "content", ['text,label\na,1\n"never closed,1\nb,0\n', 'text,label\na,1\n"he" said,1\n']
)
def test_a_stray_quote_is_refused_instead_of_swallowing_lines(write: Write, content: str) -> None:
    mistake = problem(write("a.csv", content))
    assert str(mistake.where).endswith("a.csv:3")
    assert "data.quoting=false" in str(mistake.remedy)


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("a.tsv", b"text\tlabel\na\t1\n\xe9t\xe9\t0\n", "a.tsv:3", "not UTF-8: byte 0xe9 at 1"),
        ("a.csv", b"text,label\na\0b,1\n", "a.csv:2", "NUL"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1", "names text more than once"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl:2", "is not JSON"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": "b", "id": 1, "text": "c"}\n',
            "a.jsonl:2",
            "names 'text' more than once",
        ),
        ("a.json", b'[{"text": {"a": 1, "a": 2}}]', "a.json", "names 'a' more than once"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl:2", "not an object"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1", "half a surrogate pair"),
        ("a.json", b'{"text": "a"}', "a.json", "holds one object"),
        ("a.json", b'{"text": "a"}\n{"text": "b"}', "a.json:2", "begins a second object"),
        ("a.json", b'[{"text": "a"},\n 1]', "a.json:2", "not an object"),
        ("a.json", b"[" * 100_000, "a.json", "nested too deep"),
        (
            "a.jsonl",
            b'{"text": "a", "label": ' + b"1" * 5000 + b"}\n",
            "a.jsonl:1",
            "a number of more than 4,300 digits",
        ),
        ("a.parquet", b"PAR1" + b"\0" * 500, "a.parquet", "is a parquet file that isn't whole"),
        ("a.tar.gz", gzip.compress(b"\0" * 257 + b"ustar\0" + b"\0" * 300), "a.tar.gz", "is a tar archive"),
        (
            "a.csv",
            b"text,label\n" + b"x" * (1 << 25) + b",1\n",
            "a.csv:2",
            "is longer than 16,777,216 characters",
        ),
        ("a.txt", b"y " * (1 << 24), "a.txt:1", "is longer than 16,777,216 characters"),
        ("a.csv", b'text,label\n"' + b"x,1\n" * (1 << 23), "a.csv:2", "does it ever end?"),
        ("a.csv", b"\xef\xbb\xbf\n<!DOCTYPE html><html>\n<p>log in,1\n", "a.csv", "is a web page (HTML)"),
        ("a.jsonl", b"<HTML lang=en>\n", "a.jsonl", "is a web page (HTML)"),
        ("a.json", b"", "a.json", "is empty"),
        ("a.csv", b"", "a.csv", "is empty"),
        ("a.parquet", b"text", "a.parquet", "is not a parquet file"),
        ("a.xlsx", b"text", "a.xlsx", "workbook"),
        ("a.dat", b"text", "a.dat", "can't tell the format"),
        ("a", b"text", "a", "no extension"),
    ],
)
def test_what_cannot_be_read_is_named(
    write: Write, name: str, content: bytes, where: str, message: str
) -> None:
    mistake = problem(write(name, content))
    assert str(mistake.where).endswith(f"/{where}")
    assert message in mistake.message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("data/trian.tsv", "data/train.tsv"),
        ("data/train.csv", "data/train.tsv"),
        ("data/Train.tsv", "data/train.tsv"),
        ("data/train.json", "data/train.jsonl.gz"),
        ("data/devel.jsonl.gz", "data/dev.tsv"),
        ("dat/train.tsv", "data/train.tsv"),
        ("dat/trian.tsv", "data/train.tsv"),
        ("train.tsv", "data/train.tsv"),
        ("train", "data/train.tsv"),
        ("data/nowhere/train.tsv", "data/train.tsv"),
        ("data/pupils.tsv", None),
        ("data/x.tsv", None),
        ("elsewhere/dev2.tsv", None),
    ],
)
def test_a_misspelt_file_has_its_nearest_neighbour_named(
    tmp_path: Path, given: str, meant: str | None
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train.tsv", "train.jsonl.gz", "dev.tsv", "z.tsv"):
        (tmp_path / "data" / name).write_text("text\tlabel\n")
    remedy = str(problem(tmp_path / given).remedy)
    if meant is not None:
        assert remedy == f"did you mean {tmp_path / meant}?"
    else:
        folder = (tmp_path / given).parent
        shown = f"files in {folder}: dev.tsv, train.jsonl.gz, train.tsv, z.tsv"
        assert remedy == (shown if folder.is_dir() else f"there is no directory {folder} either")


def test_a_directory_is_not_a_file(write: Write) -> None:
    path = write("train.tsv", "text\tlabel\n")
    mistake = problem(path.parent, ReadOptions(format="tsv"))
    assert "is a directory" in mistake.message
    assert "train.tsv" in str(mistake.remedy)


@pytest.mark.parametrize(
    ("name", "content"), [("a.tsv", "text\tlabel\n"), ("a.jsonl", "\n\n"), ("a.json", "[]")]
)
def test_a_file_without_rows_cannot_be_peeked_at(write: Write, name: str, content: str) -> None:
    with pytest.raises(UserError, match="holds no rows"):
        peek(write(name, content), PLAIN)


# Peeking, hashing, sizes


def test_peek_reads_the_first_rows_and_counts_the_others(write: Write) -> None:
    path = write("a.csv", "text,label\n" + "".join(f"{n},0\n\n" for n in range(50)))
    seen = peek(path, PLAIN, rows=3)
    assert (seen.columns, len(seen.rows), seen.count, seen.complete) == (("text", "label"), 3, 50, False)
    assert peek(path, PLAIN, rows=50).complete


def test_content_hash_is_of_the_content_alone(write: Write) -> None:
    assert content_hash(write("a.csv", "x")) == content_hash(write("b.tsv", "x"))
    assert content_hash(write("a.csv", "x")) != content_hash(write("a.csv", "y"))


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (100, (0.7, 0.15, 0.15), (70, 15, 15)),
        (10, (0.7, 0.15, 0.15), (6, 2, 2)),
        (1, (0.7, 0.15, 0.15), (1, 0, 0)),
        (1, (0.0, 0.5, 0.5), (0, 1, 0)),
        (100, (0.5, 0.1), (50, 10)),
        (0, (0.7, 0.3), (0, 0)),
    ],
)
def test_split_sizes(count: int, fractions: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    assert split_sizes(count, fractions) == sizes


# Public data, as published


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("mrpc/msr_paraphrase_train.txt", ReadOptions(format="tsv"), 4076),
        ("mrpc/msr_paraphrase_test.txt", ReadOptions(format="tsv"), 1725),
        ("sst2/train.tsv", PLAIN, 60614),
        ("sst2/dev.tsv", PLAIN, 6735),
        ("sst2/test.tsv", PLAIN, 872),
        ("stsb/sts-train.csv", "stsb", 5749),
        ("stsb/sts-dev.csv", "stsb", 1500),
        ("stsb/sts-test.csv", "stsb", 1379),
        ("chnsenticorp/train.tsv", ReadOptions(header=False, columns=("text", "label")), 9600),
        ("chnsenticorp/dev.tsv", ReadOptions(header=False, columns=("text", "label")), 1200),
    ],
)
def test_public_data_sets_are_read_row_by_row(
    shared_data: Path, name: str, options: ReadOptions | str, rows: int
) -> None:
    names = ("genre", "file", "year", "id", "score", "sentence1", "sentence2")
    how = ReadOptions(format="tsv", header=False, columns=names) if isinstance(options, str) else options
    found = values(shared_data / name, how)
    assert len(found) == rows == count_rows(shared_data / name, how)
    if isinstance(options, str):
        assert all(0 <= float(row["score"]) <= 5 for row in found)
