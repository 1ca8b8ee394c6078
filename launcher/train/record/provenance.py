"""Records what an attempt is made of: versions, machine, a hash of the code, and the data files to the line.

Rank 0 does it once the data are read. The digests of lines take a second for ten million of them; of larger files, and of
formats without lines beyond ROWS_BYTES, only the whole is hashed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from launcher.reading.data_section import files, read_options
from launcher.reading.files import content_hash, read_rows, resolve_format
from launcher.reading.opening import open_file, size_of
from launcher.recipe.recipe import Recipe
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json, write_text
from launcher.runs.line_digests import digests_of, write_digests
from launcher.runs.provenance import (
    DataFile,
    DataUsed,
    Environment,
    constraints_text,
    environment_here,
    read_environment,
)
from launcher.runs.records import tree_of

LINES_BYTES, ROWS_BYTES = 512 << 20, 32 << 20
"""Most bytes of a file whose lines are digested, and of one whose rows a parser has to find."""
WITHOUT_LINES = ("parquet", "json", "squad")


def record_environment(run: RunDir, attempt: AttemptDir) -> None:
    """Write that of the run, or of this attempt where it is another."""
    here = environment_here(torch.get_num_threads(), gpu_names())
    first = read_environment(run)
    if first is None:
        run.provenance.mkdir(mode=0o700, exist_ok=True)
        write_text(run.constraints, constraints_text(here.python, here.packages))
        write_json(run.environment, tree_of(here))
    elif _same(here, first):
        attempt.environment.unlink(missing_ok=True)
    else:
        write_json(attempt.environment, tree_of(here))


def _same(here: Environment, first: Environment) -> bool:
    return dataclasses.replace(here, others={}) == dataclasses.replace(first, others={})


def gpu_names() -> list[str]:
    """The GPUs that torch sees here."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def record_data(
    run: RunDir, recipe: Recipe, fingerprint: str, examples: dict[str, int], labels: tuple[str, ...]
) -> None:
    """Write what the first attempt trains on; later ones are refused where it isn't the same any more."""
    if run.data_used.exists():
        return
    run.line_digests(0).parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    data = recipe.data
    given = {"train": data.train, "validation": data.validation, "test": data.test}
    paths = [(split, path) for split, value in given.items() for path in files(value)]
    used = [_data_file(run, recipe, number, split, path) for number, (split, path) in enumerate(paths)]
    write_json(run.data_used, tree_of(DataUsed(fingerprint, examples, labels, tuple(used))))


def _data_file(run: RunDir, recipe: Recipe, number: int, split: str, path: Path) -> DataFile:
    found = DataFile(split, str(path.absolute()), path.stat().st_size, content_hash(path))
    form = resolve_format(path, read_options(recipe.data))
    most, unit = (ROWS_BYTES, "row") if form in WITHOUT_LINES else (LINES_BYTES, "line")
    if size_of(path) > most:
        return found
    digests = digests_of(_rows(path, recipe) if unit == "row" else _lines(path))
    write_digests(run.line_digests(number), digests)
    return dataclasses.replace(found, unit=unit, count=digests.count, each=digests.each)


def _lines(path: Path) -> Iterator[bytes]:
    with open_file(path) as file:
        for line in file:
            yield line.rstrip(b"\r\n")


def _rows(path: Path, recipe: Recipe) -> Iterator[bytes]:
    for row in read_rows(path, read_options(recipe.data)):
        yield repr(row.values).encode("utf-8", "surrogatepass")
