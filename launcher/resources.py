"""Where the files shipped beside the code are: recipes, templates and DeepSpeed bases."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

Kind = Literal["recipes", "slurm", "ds_configs"]
PROFILES: Literal["slurm"] = "slurm"
"""The directory of cluster profiles and of the templates of job scripts."""


def resource_dir(kind: Kind) -> Path:
    """The shipped directory: inside the package when installed, at the top of the repository in a checkout."""
    package = Path(__file__).resolve().parent
    packed = package / "_data" / kind
    return packed if packed.is_dir() else package.parent / kind


def resource(kind: Kind, name: str) -> Path:
    """One shipped file, such as `resource("slurm", "job.sbatch.j2")`."""
    return resource_dir(kind) / name


@functools.cache
def module_names(package: str) -> tuple[str, ...]:
    """Names of the modules in one of our packages as recipes write them: `question_answering.py` is question-answering."""
    files = (Path(__file__).resolve().parent / package).glob("[!_]*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files))


def default_family() -> str:
    """The family of a model from scratch where a recipe names none."""
    file = Path(__file__).resolve().parent / "families" / "shared" / "default.txt"
    return file.read_text(encoding="utf-8").strip()
