"""Damage: what may have happened to a run directory or a recipe, drawn from a seed so that each case comes again."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from launcher.loading.resolve import load
from launcher.recipe.recipe import leaf_values

CONTROL = "\x1b]0;X\x07\u202eabc\u2066\x9b31m\r\ufeff"
HUGE_LINE = 3_000_000
MANY_LINES = 100_000
DEEP = 60_000
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**400, 0.5, -1e308, 1e-320, "", "x", CONTROL, "²", "1e999"),
    *("../../etc/passwd", "/dev/zero", "/dev/stdin", "$(touch MARKER)", "; touch MARKER", "\x00", "\ud800"),
    *([], {}, [[]], [1, "a", None], {"a": {"b": []}}, ["x"] * 3, {CONTROL: CONTROL}, {"": ""}),
)
"""Values of every type, some of them hostile."""

# A run directory


def damage_run(template: Path, target: Path, random: Random) -> str:
    """Copy a run directory and damage one to three of its files; returns what was done."""
    shutil.copytree(template, target)
    done = []
    for _ in range(random.choice((1, 1, 2, 3))):
        files = sorted(path for path in target.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            break
        path = random.choice(files)
        way = random.choice(OF_RECORDS if path.suffix in (".json", ".jsonl") else OF_FILES)
        done.append(f"{way.__name__[1:]} {path.relative_to(target)}")
        way(path, random)
    return ", ".join(done)


def _truncated(path: Path, random: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content) + 1)])


def _flipped(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 3, 50))):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _replaced(path: Path, random: Random) -> None:
    path.write_text(_dump(random.choice(WRONG)), "utf-8", "surrogatepass")


def _nested(path: Path, random: Random) -> None:
    opening = random.choice(("[", '{"a":', '{"event":'))
    path.write_text(opening * DEEP, "utf-8")


def _long(path: Path, random: Random) -> None:
    path.write_text(random.choice(("x", "9", "\x1b", '"')) * HUGE_LINE + "{}\n" * MANY_LINES, "utf-8")


def _missing(path: Path, _: Random) -> None:
    path.unlink()


def _fifo(path: Path, _: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(random.choice(("/dev/zero", "/etc/passwd", "nowhere", path.name, "/dev/full", "..")))


def _directory(path: Path, _: Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text(CONTROL)


def _renamed(path: Path, random: Random) -> None:
    path.rename(path.with_name(random.choice(("²", "a\nb", "\x1b[31m", "x" * 200, "\u202ex"))))


def _unreadable(path: Path, _: Random) -> None:
    path.write_bytes(b"\xff\xfe\x00{" + path.read_bytes().decode("utf-8", "replace").encode("utf-16"))


def _wrong_types(path: Path, random: Random) -> None:
    """Values of one or more places in the JSON are others."""
    _edit(path, lambda tree: _replace_some(tree, random, random.choice((0.02, 0.2, 1.0))))


def _control_everywhere(path: Path, _: Random) -> None:
    """Every string of the JSON has control characters."""
    _edit(path, lambda tree: _map_strings(tree, lambda text: text + CONTROL))


def _unknown_keys(path: Path, random: Random) -> None:
    _edit(
        path,
        lambda tree: {**tree, CONTROL: 1, "newer": random.choice(WRONG)} if isinstance(tree, dict) else tree,
    )


def _keys_gone(path: Path, random: Random) -> None:
    def without(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {key: without(value) for key, value in tree.items() if random.random() > 0.1}

    _edit(path, without)


OF_FILES: Sequence[Callable[[Path, Random], None]] = (
    *(
        _truncated,
        _flipped,
        _replaced,
        _nested,
        _long,
        _missing,
        _fifo,
        _link,
        _directory,
        _renamed,
        _unreadable,
    ),
)
OF_RECORDS = (*OF_FILES, *(_wrong_types, _control_everywhere, _unknown_keys, _keys_gone) * 4)


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the JSON of a file, or of each of its lines."""
    text = path.read_text("utf-8", "replace")
    parts = text.splitlines() if path.suffix == ".jsonl" else [text]
    changed = []
    for part in parts:
        try:
            changed.append(_dump(change(json.loads(part))))
        except (ValueError, RecursionError):  # it is damaged already
            changed.append(part)
    path.write_text("\n".join(changed) + "\n", "utf-8", "surrogatepass")


def _replace_some(tree: Any, random: Random, share: float) -> Any:
    if isinstance(tree, dict):
        return {key: _replace_some(value, random, share) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replace_some(value, random, share) for value in tree]
    return random.choice(WRONG) if random.random() < share else tree


def _map_strings(tree: Any, change: Callable[[str], str]) -> Any:
    if isinstance(tree, dict):
        return {key: _map_strings(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_map_strings(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# A recipe

ODD_VALUES = (
    *(
        "yes",
        "no",
        "on",
        "0o17",
        "0x1F",
        "1_000",
        "12:30:00",
        "3e-4",
        ".5",
        "1.",
        "~",
        "null",
        "NaN",
        ".inf",
        "-.inf",
    ),
    *(
        "'",
        '"',
        "[",
        "{",
        "|",
        ">",
        "&a x",
        "*a",
        "!!python/object/apply:os.system ['touch MARKER']",
        "!!binary zz",
    ),
    *(
        "!!set {a}",
        "!!timestamp 2001-01-01",
        "2001-01-01",
        "<<: *x",
        "? a",
        "- - -",
        "@file",
        "@/dev/zero",
        "%TAG",
        "`x`",
    ),
    *(
        "9" * 5000,
        "1e400",
        "-0",
        "[1,2,",
        "{a: }",
        "'\\x1b]0;X'",
        '"\\x1b]0;X\\a\\u202e"',
        "\t",
        "\x1b[31m",
        "\u202e",
        "\x00",
    ),
    *(
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        ".",
        "..",
        "x" * 100_000,
        "[" * 2000,
        "{a: " * 2000,
        "[]",
        "{}",
    ),
    *(
        "$(touch MARKER)",
        "`touch MARKER`",
        "; touch MARKER",
        "{{ 7*7 }}",
        "%(x)s",
        "${HOME}",
        "诸葛亮",
        "\ufeff1",
        "²",
        "१",
    ),
)
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def damage_recipe(text: str, random: Random) -> tuple[bytes, str]:
    """The bytes of a damaged recipe, and what was done."""
    ways = random.choices(OF_TEXTS, k=random.choice((1, 1, 1, 2, 4)))
    for way in ways:
        text = way(text, random)
    last = random.choice((*[_utf8] * 12, _utf16, _latin1, _with_bom, _cut_bytes))
    return last(text, random), ", ".join(way.__name__[1:] for way in (*ways, last))


def _misspelt(text: str, random: Random) -> str:
    return _change_line(text, random, lambda line: _with_typo(line, random))


def _other_value(text: str, random: Random) -> str:
    return _change_line(
        text, random, lambda line: re.sub(r":.*", lambda _: f": {random.choice(ODD_VALUES)}", line)
    )


def _wrong_value(text: str, random: Random) -> str:
    def wrong(line: str) -> str:
        return re.sub(r":.*", lambda _: ": " + json.dumps(random.choice(WRONG)), line)

    return _change_line(text, random, wrong)


def _moved(text: str, random: Random) -> str:
    return _change_line(text, random, lambda line: " " * random.randrange(5) + line.lstrip())


def _tabbed(text: str, random: Random) -> str:
    return _change_line(text, random, lambda line: "\t" + line)


def _doubled(text: str, random: Random) -> str:
    return _change_line(text, random, lambda line: f"{line}\n{line}")


def _unknown(text: str, random: Random) -> str:
    return f"{text}\n{random.choice(ODD_VALUES)}: {random.choice(ODD_VALUES)}\n"


def _known_key(text: str, random: Random) -> str:
    """Any key of the schema with any value."""
    parts = random.choice(_keys()).split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(parts)]
    return f"{text}\n" + "\n".join(lines) + f" {random.choice(ODD_VALUES)}\n"


@functools.cache
def _keys() -> list[str]:
    loaded = load(["recipe=smoke"], environ={}, cwd=Path.cwd())
    return [key for key, _ in leaf_values(loaded.recipe.tree())]


def _laughing(text: str, _: Random) -> str:
    return text + "\n" + LAUGHS


def _merged(text: str, random: Random) -> str:
    return text + random.choice(
        ("\nx: &x {<<: *x}\n", "\n<<: {seed: 1}\n", "\n--- \nseed: 2\n", "\n...\n", "\n&a a: *a\n")
    )


def _garbled(text: str, random: Random) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + random.choice(ODD_VALUES) + text[place + random.randrange(3) :]


def _shortened(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def _deep(text: str, random: Random) -> str:
    return text + "\nx: " + random.choice(("[", "{a: ", "- ")) * random.choice((50, 5_000, 50_000))


def _replaced_whole(_: str, random: Random) -> str:
    return random.choice((*ODD_VALUES, "", "[]", "a", "1", LAUGHS, "\n" * 10_000, "#" * 100_000))


OF_TEXTS: Sequence[Callable[[str, Random], str]] = (
    *(_misspelt, _other_value, _wrong_value, _known_key) * 4,
    *(_moved, _tabbed, _doubled, _unknown, _laughing, _merged, _garbled, _shortened, _deep, _replaced_whole),
)


def _change_line(text: str, random: Random, change: Callable[[str], str]) -> str:
    lines = text.split("\n")
    places = [place for place, line in enumerate(lines) if ":" in line]
    if places:
        place = random.choice(places)
        lines[place] = change(lines[place])
    return "\n".join(lines)


def _with_typo(line: str, random: Random) -> str:
    place = random.randrange(max(1, line.find(":")))
    return line[:place] + random.choice("abcdefgz_-. ") + line[place + random.randrange(2) :]


def _utf8(text: str, _: Random) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _utf16(text: str, _: Random) -> bytes:
    return text.encode("utf-16", "surrogatepass")


def _latin1(text: str, _: Random) -> bytes:
    return ("# é\n" + text).encode("latin-1", "replace")


def _with_bom(text: str, _: Random) -> bytes:
    return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")


def _cut_bytes(text: str, random: Random) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    place = random.randrange(len(content) + 1)
    return content[:place] + bytes([random.randrange(128, 256)]) + content[place:]
