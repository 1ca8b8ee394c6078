"""#SBATCH lines of a job script: how values are written in them, and which of them a job of many runs asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from launcher.errors import UserError

OF_ONE_RUN = tuple(f"#SBATCH --{name}" for name in ("job-name=", "output=", "open-mode=", "chdir="))
"""Lines of a job script that an array of many has for itself."""
GPU_OPTIONS = ("#SBATCH --gpus-per-node=", "#SBATCH --gres=gpu:")
_SBATCH_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# sbatch takes these words for its own wherever they stand in a line.
_SBATCH_WORDS = re.compile(r"(het|pack)(job)", re.IGNORECASE)


def array_request(script: str) -> tuple[str, ...]:
    """The #SBATCH lines of a job script, but those that name its run."""
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH ")]
    return tuple(line for line in lines if not line.startswith(OF_ONE_RUN))


def for_many(request: Sequence[str], count: int) -> Iterator[str]:
    """What `count` runs that share a job ask for: a GPU is shared, cores of a job without one and main memory are not."""
    has_gpu = any(line.startswith(GPU_OPTIONS) for line in request)
    for line in request:
        name, equals, value = line.partition("=")
        amount = re.fullmatch(r"([0-9]+)([KMGT]?)", value)
        if amount is None or not (
            name.endswith(" --mem") or (name.endswith("--cpus-per-task") and not has_gpu)
        ):
            yield line
        else:
            yield f"{name}{equals}{int(amount[1]) * count}{amount[2]}"


def sbatch_quote(value: str) -> str:
    """A value as sbatch reads it in an #SBATCH line: words may be quoted, and a backslash always quotes."""
    if _SBATCH_SAFE.fullmatch(value):
        return _SBATCH_WORDS.sub(r"\1\\\2", value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _SBATCH_WORDS.sub(r"\1\\\2", escaped) + '"'


def log_path(path: str) -> str:
    """A path for --output, where Slurm replaces `%j` and the like unless there is a backslash anywhere."""
    if "\\" in path:
        remedy = "choose a runs_dir without a backslash"
        raise UserError("Slurm can't write logs to such a path", field="runs_dir", value=path, remedy=remedy)
    return path.replace("%", "%%")
