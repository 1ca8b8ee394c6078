"""Which of the files that somebody has are for training, validation and testing, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import paths
from launcher.errors import Problem, UserError
from launcher.recipe.data_formats import EXTENSIONS, extension

ROLES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "dev", "val", "devel", "development", "matched"),
    "test": ("test", "tst", "testing"),
}
"""Words in the names of files, the clearest first."""
NO_DATA = re.compile(r"(readme|license|licence|notice|changelog|citation|contributing|\.).*", re.IGNORECASE)


@dataclass(frozen=True)
class DataFiles:
    """The files of each split."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    """Files of a folder for which there was no place."""


def sorted_out(given: Sequence[Path]) -> DataFiles:
    """The files given, and those of folders, each where its name says. Raises UserError where there are none."""
    folders = [path for path in given if paths.is_dir(path)]
    files, others = [path for path in given if path not in folders], list[Path]()
    for folder in folders:
        found, beside = _data_files(folder)
        files += found
        others += beside
    roles: dict[str, list[Path]] = {"train": [], "validation": [], "test": [], "": []}
    for path in dict.fromkeys(files):
        roles[_role(path)].append(path)
    train, unnamed = roles["train"], roles[""]
    left_out = unnamed if train else []
    train = train or unnamed or roles["validation"] or roles["test"]
    validation = _clearest(roles["validation"], "validation") if roles["validation"] != train else []
    test = _clearest(roles["test"], "test") if roles["test"] != train else []
    left_out += [
        path for path in roles["validation"] + roles["test"] if path not in (*train, *validation, *test)
    ]
    return DataFiles(tuple(train), tuple(validation), tuple(test), (*left_out, *others))


def _data_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of data in a folder: those of the extension that most have, and the others.

    Raises UserError where there are none.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(Problem(f"can't be read: {error.strerror}", str(folder))) from None
    found = [path for path in entries if paths.is_file(path) and not NO_DATA.fullmatch(path.name)]
    by_extension: dict[str, list[Path]] = {}
    for path in found:
        if extension(path) in EXTENSIONS:
            by_extension.setdefault(extension(path), []).append(path)
    if not by_extension:
        raise UserError(Problem("holds no files of data", str(folder), remedy=_remedy(entries)))
    most = max(by_extension.values(), key=lambda files: (any(map(_role, files)), len(files)))
    return most, [path for files in by_extension.values() if files is not most for path in files]


def _remedy(entries: Iterable[Path]) -> str:
    inner = [path.name for path in entries if paths.is_dir(path)]
    known = ", ".join(EXTENSIONS)
    if inner:
        return (
            f"name one of the folders in it ({', '.join(inner[:5])}), or files with these extensions: {known}"
        )
    return f"name files with these extensions: {known}"


def _words(path: Path) -> list[str]:
    return re.findall(r"[a-z]+", path.name.lower())


def _role(path: Path) -> str:
    """train, validation or test as the file's name says, "" where it says nothing."""
    return next((role for role, words in ROLES.items() if set(words) & set(_words(path))), "")


def _clearest(files: Sequence[Path], role: str) -> list[Path]:
    """The one file whose name says its role with fewest other words; nobody validates on two versions of the same rows."""
    return sorted(files, key=lambda path: (len(_words(path)), _rank(path, role), path.name))[:1]


def _rank(path: Path, role: str) -> int:
    return min(ROLES[role].index(word) for word in _words(path) if word in ROLES[role])
