"""YAML files: the types of YAML 1.2, where every value stands, and what is refused unread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import Problem, UserError
from launcher.loading import yaml_source
from launcher.loading.yaml_source import MAX_VALUES, Node, dump, parse, quoted, read_text, scalar
from launcher.recipe import MOST_BYTES


def mistakes(text: str) -> list[str]:
    problems: list[Problem] = []
    try:
        parse(text, "x.yaml", problems)
    except UserError as error:
        problems = list(error.problems)
    return [f"{problem.where}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2.5e+3", -2500.0),
        ("010", 10),
        ("+7", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        # What YAML 1.1 reads differently is text.
        *(
            (word, word)
            for word in (
                "no",
                "yes",
                "on",
                "off",
                "y",
                "N",
                "12:30:00",
                "1_000",
                "0b11",
                "2024-01-01",
                "=",
                "1e",
            )
        ),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
    assert parse(f"key: {text}", "x.yaml", []).plain() == {"key": value}


def test_quoted_scalars_are_text() -> None:
    assert parse("a: '3'\nb: \"no\"\nc: |\n  4\n", "x.yaml", []).plain() == {"a": "3", "b": "no", "c": "4\n"}


def test_every_value_knows_the_line_of_its_key() -> None:
    tree = parse("# first\na: 1\nb:\n  c:\n    - 2\n    - 3\n", "x.yaml", [])
    assert isinstance(tree.value, dict)
    inner = tree.value["b"]
    assert isinstance(inner.value, dict)
    assert (tree.value["a"].line, inner.line, inner.value["c"].line) == (2, 3, 4)


def test_repeated_keys_are_all_named_with_both_lines() -> None:
    problems: list[Problem] = []
    parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "x.yaml", problems)
    assert [(problem.where, problem.field, problem.message) for problem in problems] == [
        ("x.yaml:4", "b.c", "is given twice, on lines 3 and 4"),
        ("x.yaml:5", "a", "is given twice, on lines 1 and 5"),
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [touch hacked]", "x.yaml:2: tags (!name) are not allowed"),
        ("a: !!str 1", "x.yaml:1: tags (!name) are not allowed"),
        ("a: ! b", "x.yaml:1: tags (!name) are not allowed"),
        ("a: &one 1\nb: *one", "x.yaml:1: anchors (&name) are not allowed"),
        ("a: *one", "x.yaml:1: aliases (*name) are not allowed"),
        ("a: {<<: {b: 1}}", "x.yaml:1: merge keys (<<) are not allowed"),
        ("a: 1\n---\nb: 2", "x.yaml:2: starts a second document"),
        ("a: {{name}}", "x.yaml:1: a list or mapping can't be a key"),
        ("- a\n- b", "x.yaml:1: is not a mapping of keys to values"),
        ("just words", "x.yaml:1: is not a mapping of keys to values"),
        ("", "x.yaml: is empty"),
        ("# a comment\n", "x.yaml: is empty"),
        ("a: 1\n\tb: 2", "x.yaml:2: is not valid YAML: found a tab character that violates indentation"),
        ("a: b: c", "x.yaml:1: is not valid YAML: mapping values are not allowed in this context"),
        ("a: 1\nb: \x00", "x.yaml:2: contains the invisible character U+0000"),
        ("a: 1\n\nb: \x1b[2J", "x.yaml:3: contains the invisible character U+001B"),
        ("a: # \u202e", "x.yaml:1: contains the invisible character U+202E"),
        ("a: \u2066b", "x.yaml:1: contains the invisible character U+2066"),
        ("a: \u200f", "x.yaml:1: contains the invisible character U+200F"),
        ('a: 1\nb: "\\u202e"', "x.yaml:2: contains the invisible character U+202E"),
        ('a: "\\0"', "x.yaml:1: contains the invisible character U+0000"),
        ("[" * 60, "x.yaml:1: is nested more than 50 levels deep"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, mistake: str) -> None:
    assert mistakes(text) == [mistake]


def test_a_syntax_error_is_one_sentence_at_its_line() -> None:
    (mistake,) = mistakes('a: 1\nb: "open\nc: 2\n')
    assert mistake.startswith("x.yaml:4: is not valid YAML: found unexpected end of stream")
    assert "^" not in mistake
    assert "\n" not in mistake


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))])


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 900_000,
        "[{" * 400_000,
        "- " * 400_000,
        "? " * 400_000,
        "a: [" + "1," * 400_000 + "]",
        "".join(f"k{i}: 1\n" for i in range(80_000)),
        "a: " + "x " * 400_000 + "\nb: !!python/none",
        'a: "' + "\n" * 900_000,
    ],
    ids=[
        "aliases",
        "lists",
        "mixed",
        "dashes",
        "keys of keys",
        "long list",
        "many keys",
        "late tag",
        "open quote",
    ],
)
def test_hostile_files_are_refused_as_fast_as_others_are_read(text: str) -> None:
    def seconds(work: Callable[[], object]) -> float:
        """The least of three times: other work on the machine only adds."""
        moments = [time.process_time()]
        for _ in range(3):
            work()
            moments.append(time.process_time())
        return min(after - before for before, after in pairwise(moments))

    honest = "".join(f"k{number}: {number}\n" for number in range(MAX_VALUES // 2 - 1))
    assert mistakes(honest) == []
    assert mistakes(text)
    assert seconds(lambda: mistakes(text)) < 5 * seconds(lambda: mistakes(honest))


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mistakes("a: !!python/object/apply:os.mkdir [hacked]")
    assert list(tmp_path.iterdir()) == []


def unreadable(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_text(path, path.name)
    return str(caught.value)


def test_files_that_are_not_small_text_files(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: caf\u00e9".encode("latin-1"))
    (tmp_path / "large.yaml").write_bytes(b"#" * (MOST_BYTES + 1))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert unreadable(tmp_path / "latin.yaml") == "latin.yaml:2: is not valid UTF-8\n    -> save it as UTF-8"
    assert unreadable(tmp_path / "large.yaml") == "large.yaml: is larger than 1 MB"
    assert unreadable(tmp_path / "pipe.yaml") == "pipe.yaml: is not a regular file"
    assert unreadable(tmp_path / "missing.yaml") == "missing.yaml: can't be read: No such file or directory"
    assert unreadable(tmp_path / "loop.yaml").startswith("loop.yaml: can't be read: ")
    assert unreadable(tmp_path) == f"{tmp_path.name}: is a directory, not a file"
    # What Python says of it differs from version to version.
    assert unreadable(tmp_path / "a\0b").startswith("a\0b: can't be read: ")


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert parse(read_text(path, path.name), path.name, []).plain() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ('"a, b"', "a, b"),
        (r'"tab\there"', "tab\there"),
        ("'it''s'", "it's"),
        ('"null"', "null"),
        ("plain", None),
        ('"a" and "b"', None),
        ("it's", None),
        ('"', None),
        (r'"\q"', None),
    ],
)
def test_quoted_text(text: str, inner: str | None) -> None:
    assert quoted(text) == inner


@pytest.mark.skipif(yaml_source.PARSER is yaml.SafeLoader, reason="the parser in C is not installed")
@pytest.mark.parametrize(
    "text", ["a: 1\nb: [x, 'y', {c: ~}]\n", "a: |\n  b\n# c\nd: !t 1", "a: &x 1", "a: 1\na: 2\n---\nb: 1"]
)
def test_the_parser_in_python_reads_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML comes without its parser in C, the other one takes its place."""

    def outcome() -> tuple[Node | None, list[str]]:
        found = mistakes(text)
        try:
            return parse(text, "x.yaml", []), found
        except UserError:
            return None, found

    in_c = outcome()
    monkeypatch.setattr(yaml_source, "PARSER", yaml.SafeLoader)
    assert outcome() == in_c


shown = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")).filter(
    lambda character: yaml_source.hidden_character(character) is None
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(shown | st.sampled_from("\n\t"), max_size=30)
    | st.sampled_from(
        ["no", "3e-4", "12:30:00", "010", "", "~", "null", "- a", "a: b", "#", "'", '"', "[a]", "!x", "*y"]
    )
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(shown, min_size=1), inner, max_size=4)
    ),
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(shown, min_size=1).filter(lambda key: key != "<<"), trees, min_size=1, max_size=5)
)
def test_what_is_dumped_reads_back_as_it_was(tree: dict[str, Any]) -> None:
    assert parse(dump(tree), "x.yaml", []).plain() == tree


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["alpha", "beta"]),
        st.floats(allow_nan=False) | st.sampled_from(["no", "on", "1:30", "~"]),
    )
)
def test_readers_of_yaml_1_1_read_the_same_values(tree: dict[str, Any]) -> None:
    assert (yaml.safe_load(dump(tree)) or {}) == tree
