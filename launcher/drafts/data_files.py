"""Which of the files that somebody has are for training, validation and testing, by their names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from launcher import paths
from launcher.errors import UserError
from launcher.reading.binary_kinds import AS_CSV, AS_SAVED
from launcher.reading.opening import inner_name
from launcher.reading.textfiles import lines
from launcher.recipe.data_formats import EXTENSIONS, extension
from launcher.runs.finding import list_runs

ROLES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "dev", "val", "devel", "development", "matched", "testa", "eval"),
    "test": ("test", "tst", "testing", "testb"),
}
"""Words in the names of files, the clearest first."""
NO_DATA = re.compile(
    r"(readme|license|licence|notice|changelog|citation|contributing|\.|dataset_info\.json|dataset_dict\.json|state\.json).*",
    re.IGNORECASE,
)
NO_TABLES = (".xml", ".html", ".htm", ".yaml", ".yml", ".toml", ".py", ".ipynb", ".arff", ".sql")
"""Extensions of files of text that hold no rows."""
SHARD = re.compile(r"\d+(-of-\d+)")
"""What tells the parts of a file from each other."""
QUERIES, DOCUMENTS = {"queries"}, {"corpus", "collection", "documents", "passages"}
"""Words in the names of files that hold one half of each pair."""
FEW = 500
"""Lines that a file is told by."""
SHEETS = (".xlsx", ".xls", ".ods")
ARROW, PLACES = ".arrow", ".ann"
TAGS = 'write {"words": [...], "tags": ["B-NAME", "I-NAME", "O", ...]} in each row (docs/data.md makes them of places)'
"""What to do with places of entities."""
ARCHIVES = {
    ".zip": "unzip",
    ".tar": "tar xf",
    ".tgz": "tar xf",
    ".gz": "tar xf",
    ".7z": "7z x",
    ".rar": "unrar x",
}
"""Extensions of files that hold other files, and what unpacks them."""


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
    roles: dict[str, list[Path]] = {"train": [], "validation": [], "test": [], "": []}
    others: list[Path] = []
    for path in dict.fromkeys(given):
        if paths.is_dir(path):
            found, beside = _data_files(path)
            others += beside
        else:
            found = [(role_of(path), path)]
        for role, file in found:
            roles[role] += [file] if file not in roles[role] else []
    if not roles["train"] and any("train" in path.name.lower() for path in roles[""]):
        unnamed, roles[""] = roles[""], []
        for path in unnamed:
            roles[_role_within(path)].append(path)
    train, unnamed = roles["train"], roles[""]
    left_out = unnamed if train else []
    train = train or unnamed or roles["validation"] or roles["test"]
    validation = _clearest(roles["validation"], "validation") if roles["validation"] != train else []
    test = _clearest(roles["test"], "test") if roles["test"] != train else []
    left_out += [
        path for path in roles["validation"] + roles["test"] if path not in (*train, *validation, *test)
    ]
    return DataFiles(tuple(train), tuple(validation), tuple(test), (*left_out, *others))


def _data_files(folder: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    """The files of data in a folder, each with its role, and the others: those of the extension that most have, or what
    lies in its folders where these are named as splits.

    Raises UserError where there are none.
    """
    entries = entries_of(folder)
    _refuse_ours(folder)
    found = [path for path in entries if paths.is_file(path) and not NO_DATA.fullmatch(path.name)]
    by_extension: dict[str, list[Path]] = {}
    for path in found:
        if _extension(path) in EXTENSIONS:
            by_extension.setdefault(_extension(path), []).append(path)
    if any(path.suffix == PLACES for path in found):
        reason = f"holds places of entities in files of their own ({PLACES}), as brat writes them"
        raise UserError(reason, str(folder), remedy=TAGS)
    texts = [] if by_extension else [path for path in found if _is_text(path)]
    if len(texts) == 1 or any(map(role_of, texts)):
        by_extension[""] = texts
    _refuse_apart(folder)
    if by_extension:
        most = max(by_extension.values(), key=lambda files: (any(map(role_of, files)), len(files)))
        others = [
            path for path in found if path not in most and (_extension(path) in EXTENSIONS or role_of(path))
        ]
        return [(role_of(path), path) for path in most], others
    inside = [path for path in entries if paths.is_dir(path) and path.name[:1] != "."]
    splits = [path for path in inside if role_of(path)] or (inside if len(inside) == 1 else [])
    if not splits:
        raise UserError("holds no files of data", str(folder), remedy=_remedy(entries))
    within = [(role_of(path), *_data_files(path)) for path in splits]
    files = [(role or own, path) for role, inner, _ in within for own, path in inner]
    return files, [path for _, _, others in within for path in others]


def _refuse_apart(folder: Path) -> None:
    """Raises UserError where queries and what is to be found lie in files of their own, which others join by ids."""
    found = [path for path in entries_of(folder) if paths.is_file(path)]
    apart = {path.name: words for path in found if (words := set(_words(path)) & {*QUERIES, *DOCUMENTS})}
    if any(words <= QUERIES for words in apart.values()) and any(
        words <= DOCUMENTS for words in apart.values()
    ):
        reason = f"holds queries and what is to be found in files of their own: {', '.join(apart)}"
        remedy = "write a row for each two that go together (docs/data.md joins BEIR)"
        raise UserError(reason, str(folder), remedy=remedy)


def _refuse_ours(folder: Path) -> None:
    """Raises UserError where a folder is a run or a model, or holds runs: nothing in it is data."""
    place = shlex.quote(str(folder))
    if paths.exists(folder / "plan.json") and paths.exists(folder / "recipe.yaml"):
        reason = "is a run, and holds no data"
        remedy = f"launch reproduce {place} trains it once more; for a new recipe name files of data"
    elif next(list_runs(folder), None) is not None:
        reason, remedy = "holds runs, and no data", f"launch status --runs-dir {place} lists them"
    elif paths.exists(folder / "config.json") and paths.exists(folder / "model.safetensors"):
        reason, remedy = (
            "is a model, and holds no data",
            f"name files of data; model.name={place} starts from it",
        )
    else:
        return
    raise UserError(reason, str(folder), remedy=remedy)


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder. Raises UserError where that can't be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"can't be read: {error.strerror}", str(folder)) from None


def _extension(path: Path) -> str:
    """The extension that names the format, of a zip file that of the one file in it."""
    if path.suffix.lower() != ".zip" or extension(path) in EXTENSIONS:
        return extension(path)
    try:
        return extension(inner_name(path) or "")
    except UserError:
        return ""


def _is_text(path: Path) -> bool:
    """Whether a file with a name that tells no format holds lines of text."""
    if path.suffix.lower() in (*ARCHIVES, *NO_TABLES):
        return False
    try:
        return any(line.strip() for _, line in islice(lines(path), FEW))
    except UserError:
        return False


def _remedy(entries: Sequence[Path]) -> str:
    inner = [path.name for path in entries if paths.is_dir(path)]
    packed = [path for path in entries if path.suffix.lower() in ARCHIVES]
    known = ", ".join(EXTENSIONS)
    if any(path.suffix == ARROW for path in entries):
        return AS_SAVED
    if any(path.suffix.lower() in SHEETS for path in entries):
        return AS_CSV
    if packed:
        command = ARCHIVES[packed[0].suffix.lower()]
        return f"unpack what is there first: {command} {shlex.quote(packed[0].name)}"
    if inner:
        return (
            f"name one of the folders in it ({', '.join(inner[:5])}), or files with these extensions: {known}"
        )
    apart = "; where texts and labels lie in files of their own: paste TEXTS LABELS > NEW.tsv" * (
        len(entries) > 1
    )
    return f"name files with these extensions: {known}{apart}"


def _words(path: Path) -> list[str]:
    return re.findall(r"[a-z]+", path.name.lower())


def role_of(path: Path) -> str:
    """train, validation or test as the name says, "" where it says nothing."""
    return next((role for role, words in ROLES.items() if set(words) & set(_words(path))), "")


def _role_within(path: Path) -> str:
    """The role of a file whose name holds such a word within another: engtrain, engtest."""
    return next(
        (role for role, words in ROLES.items() if any(word in path.name.lower() for word in words[:3])), ""
    )


def _clearest(files: Sequence[Path], role: str) -> list[Path]:
    """The one file whose name says its role with fewest other words; nobody validates on two versions of the same rows.

    With `00000-of-00003` in its name, the others of this number are parts of it.
    """
    found = sorted(files, key=lambda path: (len(_words(path)), _rank(path, role), path.name))[:1]
    whole = [path.parent / SHARD.sub(r"\1", path.name) for path in found]
    return [path for path in files if path in found or path.parent / SHARD.sub(r"\1", path.name) in whole]


def _rank(path: Path, role: str) -> int:
    return min((ROLES[role].index(word) for word in _words(path) if word in ROLES[role]), default=0)
