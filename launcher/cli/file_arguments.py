"""The file that a verb is given to read, how it is read, and where what comes of it is written."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.cli import options

KEY_VALUE = re.compile(r"[a-z_]+(\.[a-z0-9_]+)*=")


def file_and_words(given: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """The file among the words given, and the `data.KEY=VALUE` words."""
    words = [word for word in given if KEY_VALUE.match(word)]
    files = [word for word in given if word not in words]
    if len(files) > 1:
        raise options.misused(f"give one file, not {len(files)}")
    return (files[0] if files else None), words


@contextmanager
def recipe_for_file(run: Path, file: str | None, words: list[str], *, labelled: bool) -> Iterator[list[str]]:
    """The argument that says how a file is read, after what can be known of it without a model was looked at."""
    from launcher.cli.train_process import write_recipe
    from launcher.errors import UserError
    from launcher.loading.resolve import dump_recipe, read_recipe_file
    from launcher.planning.given_data import recipe_for
    from launcher.planning.run_data import recipe_with_data
    from launcher.reading.inference_files import check_given
    from launcher.runs.directory import RunDir
    from launcher.runs.provenance import read_data_used

    if file is None:
        if words:
            raise UserError("says how a file is read", "override", words[0], None, "give the file, too")
        if labelled:
            recipe_with_data(RunDir(run), extra=True)
        yield []
        return
    recipe = recipe_for(read_recipe_file(RunDir(run).recipe), Path(file), words, Path.cwd())
    sure = any(word.startswith("data.header=") for word in words)
    used = read_data_used(RunDir(run))
    known = () if used is None else used.labels
    check_given(Path(file).absolute(), recipe, labelled=labelled, sure_of_header=sure, known=known)
    if not words:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="launch-recipe-") as directory:
        yield ["--recipe", str(write_recipe(Path(directory), dump_recipe(recipe)))]


def existing(file: str | None) -> list[str]:
    """The argument that names the file, none where there is none. Raises UserError where it can't be read."""
    from launcher.errors import UserError
    from launcher.reading.opening import missing_files

    if file is None:
        return []
    if problems := missing_files([Path(file)]):
        raise UserError(problems)
    return [str(Path(file).absolute())]


def output_words(file: str | None, given: str | None, kind: str) -> list[str]:
    """Where predictions go: the file given, one beside the input, or, for texts, none."""
    from launcher import paths
    from launcher.errors import UserError

    if given is None and file is None:
        return []
    form = ".jsonl" if file is not None and Path(file).suffix == ".jsonl" else ".csv"
    target = Path(given or f"{file}.{kind}{form}")
    check_writable(target, "--output")
    if file is not None and paths.exists(target) and target.samefile(file):
        remedy = "give another name: the predictions would take the place of what they are made from"
        raise UserError("is the input itself", None, "--output", str(target), remedy)
    return ["--output", str(target.absolute())]


@contextmanager
def telling_of_part(words: list[str]) -> Iterator[None]:
    """Where what is written to these `output_words` doesn't come to its end, say what is there of it."""
    from launcher.cli.output import say
    from launcher.runs.files import part_of

    before = [_changed_at(part_of(Path(word))) for word in words]
    try:
        yield
    except BaseException:
        for word, was in zip(words, before, strict=True):
            part = part_of(Path(word))
            if _changed_at(part) != was:
                say(f"note: what was predicted so far is in {part}")
        raise


def _changed_at(path: Path) -> int | None:
    """When a file was last written, None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def check_writable(target: Path, option: str) -> None:
    """Raise UserError where no file can be made there, which is better known before a model is run."""
    from launcher import paths
    from launcher.errors import UserError

    reason = paths.refusal(target)
    if paths.is_dir(target):
        reason = "it is a directory"
    elif paths.exists(target) and not paths.is_file(target):
        reason = "it is a device or a pipe, whose place a file would take"
    elif not paths.is_dir(target.parent):
        reason = f"there is no directory {target.parent}"
    try:
        if reason is None:
            # Permissions alone don't tell: /proc and a full disk refuse root, too.
            tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        reason = str(error.strerror)
    if reason is not None:
        remedy = f"give another file: {option} FILE"
        raise UserError(f"can't be written: {reason}", None, option, str(target), remedy)
