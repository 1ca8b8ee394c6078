"""Text as people have it: other encodings, other line ends, other separators; read, or named with the key that helps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.reading.files import count_rows, read_rows
from launcher.reading.options import ReadOptions

PLAIN = ReadOptions()
ROWS = [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
HEAD = "text,label\n"
CHINESE = "text,label\n" + "这个酒店的房间非常干净服务员态度很好下次还会来住。,1\n" * 3


def read(path: Path, options: ReadOptions = PLAIN) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(path, options)]


def mistake(path: Path, content: bytes | str, options: ReadOptions = PLAIN) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read(path, options)
    return str(caught.value)


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "a.csv").write_bytes((mark + "text,label\ngood,1\nbad,0\n").encode(encoding))
    assert read(tmp_path / "a.csv") == ROWS
    assert count_rows(tmp_path / "a.csv", PLAIN) == 2


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CHINESE.encode("gb18030"), "GB18030"),
        (
            ("text,label\n" + "это очень хороший фильм, но конец мне совсем не понравился,1\n" * 3).encode(
                "cp1251"
            ),
            "CP1251",
        ),
        ("text,label\nこの映画はとても面白かったです,1\nつまらなかったです,0\n".encode("cp932"), "CP932"),
        ("text,label\nこの映画はとても面白かったです,1\nつまらなかったです,0\n".encode("euc_jp"), "EUC-JP"),
        ((HEAD + "хорошо,1").encode("cp1251"), "CP1251"),
        ((HEAD + "хорошо,1").encode("koi8_r"), "KOI8-R"),
        ((HEAD + "ЭТО ОЧЕНЬ ПЛОХОЙ ФИЛЬМ! ЗРЯ ПОТРАТИЛ ВРЕМЯ,0").encode("cp1251"), "CP1251"),
        ((HEAD + "Отличная картина! Всем советую,1").encode("cp866"), "CP866"),
        ((HEAD + "Отличная картина! Всем советую,1").encode("iso8859_5"), "ISO8859-5"),
        ((HEAD + "Πολύ καλή ταινία,1").encode("cp1253"), "CP1253"),
        ((HEAD + "סרט טוב מאוד אני ממליץ עליו לכולם,1").encode("cp1255"), "CP1255"),
        ("text,label\na nice café \u2013 a \u201cnaïve\u201d one,1\n".encode("cp1252"), "CP1252"),
        (("text,label\n" + "l'été à la plage était très bien,1\n" * 3).encode("cp1252"), "CP1252"),
    ],
    ids=[
        *(
            "gb18030",
            "cp1251",
            "cp932",
            "euc_jp",
            "short",
            "koi8_r",
            "capitals",
            "cp866",
            "iso8859_5",
            "cp1253",
        ),
        *("cp1255", "quotes", "cp1252"),
    ],
)
def test_another_encoding_is_guessed(tmp_path: Path, content: bytes, encoding: str) -> None:
    found = mistake(tmp_path / "a.csv", content)
    assert "a.csv:2: is not UTF-8" in found
    assert f"iconv -f {encoding} -t UTF-8 a.csv" in found


@pytest.mark.parametrize(
    "name", ["my films.csv", "it's; touch EXECUTED.csv", "$(touch EXECUTED).csv", "电影.csv"]
)
def test_the_command_that_converts_a_file_works_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    found = mistake(tmp_path / name, CHINESE.encode("gb18030"))
    subprocess.run(["sh", "-c", found[found.index("iconv") :]], cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "NEW.csv"])
    assert (tmp_path / "NEW.csv").read_text(encoding="utf-8") == CHINESE


def test_one_line_of_another_encoding_among_utf8_is_named(tmp_path: Path) -> None:
    content = "text,label\nété,1\n".encode() + "été,0\n".encode("latin-1")
    found = mistake(tmp_path / "a.csv", content)
    assert "a.csv:3: is not UTF-8: byte 0xe9 at 1" in found
    assert "lines above it are UTF-8" in found


def test_utf16_without_a_mark_and_half_a_utf16_file_are_named(tmp_path: Path) -> None:
    assert "iconv -f UTF-16LE" in mistake(tmp_path / "a.csv", "text,label\na,1\n".encode("utf-16-le"))
    assert "iconv -f UTF-16BE" in mistake(tmp_path / "b.csv", "text,label\na,1\n".encode("utf-16-be"))
    chinese = "text\tlabel\n这部电影\t1\n非常难看\t0\n".encode("utf-16-le")
    assert "iconv -f UTF-16LE" in mistake(tmp_path / "d.tsv", chinese)
    assert "is not whole UTF-16" in mistake(tmp_path / "c.csv", "text,label\na,1\n".encode("utf-16")[:-1])


# Line ends


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\r"good",1\rbad,0\r'),
        ("a.tsv", "text\tlabel\rgood\t1\rbad\t0"),
        ("a.jsonl", '{"text": "good", "label": "1"}\r{"text": "bad", "label": "0"}\r'),
        ("a.json", '[{"text": "good", "label": "1"},\r{"text": "bad", "label": "0"}]\r'),
    ],
)
def test_lines_may_end_as_on_old_macs(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read(tmp_path / name) == ROWS
    assert count_rows(tmp_path / name, PLAIN) == 2


def test_texts_and_words_may_end_so_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\rtwo\r")
    assert read(tmp_path / "a.txt") == [{"text": "one"}, {"text": "two"}]
    (tmp_path / "a.conll").write_bytes(b"a O\rb O\r\rc O\r")
    assert [row["text"] for row in read(tmp_path / "a.conll")] == [["a", "b"], ["c"]]


def test_mixed_line_ends_in_a_csv_are_named(tmp_path: Path) -> None:
    found = mistake(tmp_path / "a.csv", b"text,label\na,1\rb,0\nc,1\n")
    assert "a.csv:2: holds a carriage return (CR) within a line" in found
    assert "tr '\\r' '\\n' < a.csv" in found


# Separators


def test_the_line_that_tells_excel_the_separator_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'sep=;\r\ntext;label\r\n"good";1\r\nbad;0\r\n')
    assert [(row.position, row.values) for row in read_rows(tmp_path / "a.csv", PLAIN)] == [
        (3, ROWS[0]),
        (4, ROWS[1]),
    ]
    (tmp_path / "b.csv").write_bytes(b"sep=;\ntext;label\ngood;1\nbad;0\n")
    assert (read(tmp_path / "b.csv"), count_rows(tmp_path / "b.csv", PLAIN)) == (ROWS, 2)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("text;label\ngood, very;1\n", 'data.delimiter=";"'),
        ("text|label\ngood, very|1\n", 'data.delimiter="|"'),
        ("text\tlabel\ngood, very\t1\n", "data.format=tsv"),
    ],
)
def test_another_separator_is_named_alone(tmp_path: Path, content: str, key: str) -> None:
    found = mistake(tmp_path / "a.csv", content)
    assert f"-> {key} (columns seem to be separated by" in found
    assert "data.quoting" not in found


def test_a_delimiter_at_the_end_of_every_line_is_named(tmp_path: Path) -> None:
    assert "the line ends with a delimiter" in mistake(tmp_path / "a.csv", "text,label\ngood,1,\n")


# JSON


def test_nan_is_an_empty_cell(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": NaN, "label": [NaN, 1]}\n')
    (tmp_path / "a.json").write_text('[{"text": NaN, "label": [NaN, 1]}]')
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "a.json") == [{"text": None, "label": [None, 1]}]


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("a.jsonl", '[{"text": "a"}, {"text": "b"}]', "data.format=json"),
        ("a.jsonl", json.dumps([{"text": "a"}], indent=2), "data.format=json"),
        ("a.jsonl", json.dumps({"data": [{"text": "a"}]}, indent=2), "data.format=json"),
        ("a.jsonl", '{"text": "a"},\n{"text": "b"},\n', "remove the comma at the end of the line"),
        ("a.jsonl", '{"text": "a"}{"text": "b"}\n', "write each object on a line of its own"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b",\n "n": 1}\n', "jq -c . a.jsonl > NEW.jsonl"),
        ("a.jsonl", '{\n  "text": "a"\n}\n' * 2, "jq -c . a.jsonl > NEW.jsonl"),
        ("a.jsonl", '{\n  "text": "a"\n}', "jq -c . a.jsonl > NEW.jsonl"),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', "data.format=jsonl"),
        ("a.json", '{"text": "a"} {"text": "b"}', "jq -s . a.json > NEW.json"),
        ("a.json", '{\n  "text": "a"\n}\n' * 2, "jq -s . a.json > NEW.json"),
        ("a.json", '[{"text": "a"}]\n[{"text": "b"}]\n', "jq -s add a.json > NEW.json"),
        ("a.json", '{"text": "a"},\n{"text": "b"}\n', "write [ before the first and ] behind the last"),
        ("a.json", '{"text": "a"}', "write it between [ and ]"),
        ("a.json", '[{"text": "a"},]', "remove the comma before it"),
        ("a.json", '{"text": {"0": "a"}, "label": {"0": 1}}', 'orient="records"'),
        ("a.json", '{"text": ["a"], "label": [1]}', 'orient="records"'),
        ("a.json", '{"columns": ["text"], "index": [0], "data": [["a"]]}', 'orient="records"'),
        (
            "a.json",
            '{"train": [{"text": "a"}], "test": [{"text": "a"}]}',
            "write each to a file of its own: jq '.[\"train\"]' a.json > NEW.json",
        ),
        (
            "a.json",
            '{"version": "1", "rows": [{"text": "a"}]}',
            "write it to a file of its own: jq '.[\"rows\"]'",
        ),
        (
            "a.json",
            '{"x1": {"text": "a", "n": 1}, "x2": {"text": "b", "n": 2}}',
            "jq '[.[]]' a.json > NEW.json",
        ),
        ("a.jsonl", "{'text': 'a'}\n", "Python's json.dumps writes them"),
        ("a.json", '// made by hand\n[{"text": "a"}]', "take comments out"),
    ],
)
def test_json_of_another_shape_is_named_with_what_helps(
    tmp_path: Path, name: str, content: str, remedy: str
) -> None:
    assert remedy in mistake(tmp_path / name, content).partition("->")[2]


# What is no file


def test_of_many_files_a_pattern_is_told_how_to_name_them_all(tmp_path: Path) -> None:
    """A list of some of them would train on these alone."""
    for number in range(12):
        (tmp_path / f"{number:02d}.csv").write_text("text,label\n")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "*.csv")
    told = str(caught.value)
    assert "of the 12 files make a list, and give @NEW.txt" in told
    subprocess.run(["sh", "-c", told.partition("@NEW.txt: ")[2]], cwd=tmp_path, check=True)
    listed = (tmp_path / "NEW.txt").read_text()
    assert listed == "[" + ",".join(f"{tmp_path}/{number:02d}.csv" for number in range(12)) + "]\n"


def test_a_pattern_an_address_and_a_workbook_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    for path, remedy in [
        (
            tmp_path / "*.csv",
            f"patterns aren't expanded: write a list of files [a.csv,b.csv], here: [{tmp_path}/a.csv]",
        ),
        (Path(f"{tmp_path}/https:/example.org/a.csv"), "https addresses aren't read: download the file"),
        (tmp_path / "none*.csv", f"no file of {tmp_path} is named like that"),
    ]:
        with pytest.raises(UserError) as caught:
            read(path)
        assert remedy in str(caught.value)


def test_a_carriage_return_within_a_line_of_tsv_is_named_too(tmp_path: Path) -> None:
    found = mistake(tmp_path / "a.tsv", "text\tlabel\na\t1\rb\t0\n")
    assert "a.tsv:2: holds a carriage return" in found


def test_columns_of_pandas_in_a_jsonl_file_are_named(tmp_path: Path) -> None:
    found = mistake(tmp_path / "a.jsonl", '{"text":{"0":"a","1":"b"},"label":{"0":1,"1":0}}\n')
    assert "holds columns, not rows" in found
    assert 'orient="records"' in found
