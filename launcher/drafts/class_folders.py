"""Texts that lie in a file each, in a folder for each class (`pos/1.txt`, perhaps below `train/`), gathered into one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher import paths
from launcher.drafts.data_files import ROLES
from launcher.errors import Problem, UserError
from launcher.reading.textfiles import whole_text
from launcher.recipe.data_formats import extension

TEXT = ".txt"
UNLABELLED = frozenset({"unsup", "unlabeled", "unlabelled"})


def splits_of(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Split -> class -> its files; nothing for a folder that isn't so. One without splits is all for training."""
    inside = _folders(folder)
    named = {role: inside[word] for role, words in ROLES.items() for word in words if word in inside}
    found = (
        {role: _classes(path) for role, path in named.items()}
        if "train" in named
        else {"train": _classes(folder)}
    )
    return {role: classes for role, classes in found.items() if len(classes) > 1}


def _folders(folder: Path) -> dict[str, Path]:
    try:
        return {
            path.name: path
            for path in sorted(folder.iterdir())
            if paths.is_dir(path) and path.name[:1] != "."
        }
    except OSError as error:
        raise UserError(Problem(f"can't be read: {error.strerror}", str(folder))) from None


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The folders below one that hold files of text, and nothing else that is data."""
    found = {}
    for name, path in _folders(folder).items():
        files = sorted(entry for entry in path.iterdir() if paths.is_file(entry) and extension(entry) == TEXT)
        if files and name not in UNLABELLED:
            found[name] = files
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
            raise UserError(Problem("is there already", str(path), remedy="--force overwrites it"))
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
                row = {"text": whole_text(text).strip(), "label": name, "file": f"{name}/{text.name}"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
