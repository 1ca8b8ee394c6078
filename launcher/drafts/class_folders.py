"""Texts that lie in a file each, in a folder for each class (`pos/1.txt`, perhaps below `train/`), gathered into one file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from launcher import paths
from launcher.drafts.data_files import ROLES, entries_of, role_of
from launcher.errors import Problem, UserError
from launcher.reading.textfiles import whole_text
from launcher.recipe.data_formats import extension

TEXT = ".txt"
MANY = 10
"""Files without an extension that a class has at least."""
ENCODING = re.compile(r"iconv -f (\S+)")
UNLABELLED = frozenset({"unsup", "unlabeled", "unlabelled"})


def splits_of(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Split -> class -> its files; nothing for a folder that isn't so. One without splits is all for training."""
    inside = sorted(_folders(folder), key=lambda path: len(path.name), reverse=True)
    named = {role: path for path in inside if (role := role_of(path))}
    found = (
        {role: _classes(named[role]) for role in ROLES if role in named}
        if "train" in named
        else {"train": _classes(folder)}
    )
    return {role: classes for role, classes in found.items() if len(classes) > 1}


def _folders(folder: Path) -> list[Path]:
    return [path for path in entries_of(folder) if paths.is_dir(path) and path.name[:1] != "."]


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The folders below one that hold files of text, and nothing else that is data."""
    found = {}
    for path in _folders(folder):
        files = [entry for entry in entries_of(path) if paths.is_file(entry)]
        texts = [entry for entry in files if extension(entry) == TEXT]
        if not texts and len(files) >= MANY and all(entry.suffix == "" for entry in files):
            texts = files
        if texts and path.name not in UNLABELLED:
            found[path.name] = texts
    return found


@contextmanager
def gathered(folder: Path, place: Path, *, force: bool) -> Iterator[list[Path]]:
    """A file of json lines in `place` for each split, with the texts and their classes.

    They are removed where what follows fails. Raises UserError where one is there already and not to be overwritten.
    """
    splits = splits_of(folder)
    name = folder.resolve().name
    files = {role: place / f"{name}-{role}.jsonl" for role in splits}
    for path in files.values():
        if paths.exists(path) and not force:
            raise UserError("is there already", str(path), remedy="--force overwrites it")
    try:
        for role, classes in splits.items():
            _write(files[role], classes)
        yield list(files.values())
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise


def _write(path: Path, classes: dict[str, list[Path]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for name, texts in classes.items():
            for text in texts:
                row = {"text": _text_of(text), "label": name, "file": f"{name}/{text.name}"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _for_all(problem: Problem, folder: Path) -> Problem:
    """The same with the command that converts every file of a folder that needs it, where one converts this file."""
    found = ENCODING.search(problem.remedy or "")
    if found is None:
        return problem
    command = (
        f"""find {shlex.quote(str(folder))} -type f -exec sh -c 'iconv -f UTF-8 -t UTF-8 "$1" >/dev/null 2>&1 || """
        f"""{{ iconv -c -f {found[1]} -t UTF-8 "$1" >"$1~"; mv "$1~" "$1"; }}' - {{}} \\;"""
    )
    return replace(
        problem, remedy=f"it looks like {found[1]}; this converts all files that are so: {command}"
    )


def _text_of(path: Path) -> str:
    """What a file says. Raises UserError where it holds no text but a record of json."""
    try:
        text = whole_text(path).strip()
    except UserError as error:
        raise UserError(_for_all(problem, path.parent.parent) for problem in error.problems) from None
    if text.startswith("{") and text.endswith("}"):
        remedy = "write a file of rows with a column for each thing, such as jsonl"
        raise UserError("holds an object of json, and no text of a class", str(path), remedy=remedy)
    return text
