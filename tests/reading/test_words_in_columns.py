"""Sentences with a word on each line: comments before them, words that begin with #, and Universal Dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.reading.files import read_rows
from launcher.reading.options import ReadOptions

PLAIN = ReadOptions()


def read(path: Path, content: str, options: ReadOptions = PLAIN) -> list[dict[str, Any]]:
    path.write_text(content, encoding="utf-8")
    return [row.values for row in read_rows(path, options)]


@pytest.mark.parametrize(
    "comment",
    [
        "# id 0000-f300\tdomain=train",
        "# sent 12 train",
        "# text = EU rejects",
        "#begin document x;",
        "# newdoc",
        "#",
    ],
)
def test_comments_before_a_sentence_are_no_words(tmp_path: Path, comment: str) -> None:
    sentence = f"{comment}\nEU _ _ B-ORG\nrejects _ _ O\n\n"
    first, second = read(tmp_path / "a.conll", sentence * 2)
    assert first["text"] == second["text"] == ["EU", "rejects"]
    assert first["label"] == ["B-ORG", "O"]


def test_comments_are_skipped_where_a_tab_separates_columns(tmp_path: Path) -> None:
    options = ReadOptions(delimiter="\t")
    (row,) = read(tmp_path / "a.conll", "# id 7\tdomain=train\nNew York\tB-LOC\n", options)
    assert row == {"text": ["New York"], "label": ["B-LOC"]}


@pytest.mark.parametrize("word", ["#\tO", "#brexit\tB-TAG", "# O", "#1 O"])
def test_a_word_that_begins_with_the_sign_of_comments_is_a_word(tmp_path: Path, word: str) -> None:
    (row,) = read(tmp_path / "a.conll", f"{word}\nis O\nhere B-LOC\n#\tO\n")
    assert row["text"] == [word.split(maxsplit=1)[0], "is", "here", "#"]


def test_a_first_word_with_a_tag_of_another_sentence_is_a_word(tmp_path: Path) -> None:
    _, row = read(tmp_path / "a.conll", "1 NUM\n# SYM\n\n# SYM\n2 NUM\n")
    assert row == {"text": ["#", "2"], "label": ["SYM", "NUM"]}


def test_words_alone_may_begin_so_too(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.conll", "# id 7\n#brexit\nnow\n")
    assert row == {"text": ["#brexit", "now"]}


GERMAN = """# newdoc id = d1
# text = Ich bin im Haus
1\tIch\tich\tPRON\tPPER\tCase=Nom|Number=Sing\t4\tnsubj\t_\t_
2\tbin\tsein\tAUX\t_\t_\t4\tcop\t_\t_
3-4\tim\t_\t_\t_\t_\t_\t_\t_\t_
3\tin\tin\tADP\t_\t_\t5\tcase\t_\t_
4\tdem\tder\tDET\t_\t_\t5\tdet\t_\t_
5\tHaus\tHaus\tNOUN\t_\t_\t0\troot\t_\tSpaceAfter=No
5.1\tgewesen\tsein\tAUX\t_\t_\t_\t_\t0:x\t_

# a comment and nothing else

1\tNew York\tNew York\tPROPN\t_\t_\t0\troot\t_\t_
"""


def test_universal_dependencies_are_read_by_name_without_multiword_tokens_and_empty_nodes(
    tmp_path: Path,
) -> None:
    first, second = read(tmp_path / "a.conllu", GERMAN)
    assert first["form"] == ["Ich", "bin", "in", "dem", "Haus"]
    assert first["upos"] == ["PRON", "AUX", "ADP", "DET", "NOUN"]
    assert first["feats"][0] == "Case=Nom|Number=Sing"
    assert first["head"] == ["4", "4", "5", "5", "0"]
    assert list(first) == ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
    assert second["form"] == ["New York"]
    assert [row.position for row in read_rows(tmp_path / "a.conllu", PLAIN)] == [3, 13]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tIch\tPRON\n", "columns: 3, but CoNLL-U has 10"),
        ("a\t" + "\t".join("_" * 9) + "\n", "'a' is no id"),
    ],
)
def test_a_line_that_is_not_of_that_form_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=r"data\.format=conll") as caught:
        read(tmp_path / "a.conllu", GERMAN + line)
    assert f"a.conllu:14: {message}" in str(caught.value)


def test_ten_columns_have_ten_names(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text(GERMAN, encoding="utf-8")
    with pytest.raises(UserError, match=r"has 10 columns, and data\.columns names 2"):
        list(read_rows(tmp_path / "a.conllu", ReadOptions(columns=("word", "tag"))))


@pytest.mark.parametrize("first", ["1\tin", "1-2\tim"])
def test_universal_dependencies_under_another_name_are_told(tmp_path: Path, first: str) -> None:
    word = first + "\t_" * 8 + "\n"
    rest = "".join(f"{number}\tdem" + "\t_" * 8 + "\n" for number in (1, 2) if first[1] == "-" or number > 1)
    (tmp_path / "a.conll").write_text(word + rest, encoding="utf-8")
    with pytest.raises(UserError, match=r"data\.format=conllu"):
        list(read_rows(tmp_path / "a.conll", ReadOptions()))
