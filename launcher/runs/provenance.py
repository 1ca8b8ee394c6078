"""What a run was made of beside its recipe and plan: who gave each value, the code, the versions, the machine, the data.

provenance/
  origins.json      key of the recipe -> who gave its value, but for defaults
  launched.json     Python, torch, launcher and a hash of its code where it was launched or resumed last; there only for
                    several nodes that start the same Python
  code.patch        how the code differed from its commit when it was launched; there only where it did
  environment.json  Python, packages, machine, and a hash of the code, as the first attempt found them
  constraints.txt   the same packages, for `pip install --constraint`
  data.json         every data file: bytes, sha256, lines
  model.json        the hub's commit of the model that is started from; there only where it comes from a hub
  lines/N           digests of the lines of file N

An attempt in another environment has an environment.json of its own. Standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import __version__
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.line_digests import Digests, read_digests
from launcher.runs.records import Extensible, read_json, read_record, tree_of

DISTRIBUTION = "launch-encoders"
PACKAGE = Path(__file__).resolve().parents[1]
CODE = (".py", ".txt", ".j2", ".html", ".css", ".js")
_DIST_INFO = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[^-]+)\.dist-info")


@dataclass(frozen=True)
class Environment(Extensible):
    """Where an attempt ran."""

    python: str
    system: str
    machine: str
    """The CPU's name."""
    gpus: tuple[str, ...]
    threads: int
    """Of a process, for one operation."""
    code: str
    """`code_digest` of the launcher package."""
    packages: Mapping[str, str]
    """Version of each installed package by its name in lower case with hyphens."""


@dataclass(frozen=True)
class Versions(Extensible):
    """What all nodes of a run must have alike."""

    python: str
    torch: str | None
    """None where it is not installed."""
    launcher: str
    code: str | None
    """`code_digest` of the launcher package."""


@dataclass(frozen=True)
class DataFile(Extensible):
    """A file of data as it was read."""

    split: str
    path: str
    bytes: int
    sha256: str
    unit: str | None = None
    """`line` or `row`: what is counted; None where only the whole was looked at."""
    count: int = 0
    each: int = 1
    """Lines that a digest stands for."""


@dataclass(frozen=True)
class HubModel(Extensible):
    """A model of the hub as it was at the run's first start."""

    name: str
    revision: str
    """Branch, tag or commit that was asked for."""
    commit: str


@dataclass(frozen=True)
class DataUsed(Extensible):
    """What was trained on."""

    fingerprint: str
    """Names the data, the tokenizer and all options that decide the tokens, together."""
    examples: Mapping[str, int]
    """By split."""
    labels: tuple[str, ...]
    files: tuple[DataFile, ...]


def read_environment(run: RunDir) -> Environment | None:
    """That of the first attempt; None where none is recorded. Raises DamagedFile."""
    return read_record(Environment, run.environment)


def environments(run: RunDir) -> dict[int, Environment]:
    """Those that differ from the first attempt's, by attempt. Raises DamagedFile."""
    found = {
        number: read_record(Environment, run.attempt(number).environment) for number in run.attempt_numbers()
    }
    return {number: own for number, own in found.items() if own is not None}


def read_launched(run: RunDir) -> Versions | None:
    """What the run was launched or resumed with; None where that is not recorded. Raises DamagedFile."""
    return read_record(Versions, run.launched)


def note_versions(run: RunDir) -> None:
    """Have launched.json say what is here now, where there is one and the job starts this Python: both may be newer."""
    if run.launched.exists() and run.plan_tree().get("python") == sys.executable:
        write_json(run.launched, tree_of(versions_here()))


def read_hub_model(run: RunDir) -> HubModel | None:
    """The commit that the run trains; None where none is recorded. Raises DamagedFile."""
    return read_record(HubModel, run.hub_model)


def read_data_used(run: RunDir) -> DataUsed | None:
    """What the run was trained on; None where that is not recorded. Raises DamagedFile."""
    return read_record(DataUsed, run.data_used)


def read_origins(run: RunDir) -> dict[str, str]:
    """Who gave the values of the recipe that are no defaults; empty where that is not recorded. Raises DamagedFile."""
    return {key: str(origin) for key, origin in (read_json(run.origins) or {}).items()}


def digests_of_file(run: RunDir, number: int, file: DataFile) -> Digests | None:
    """Those of the file with this place in `DataUsed.files`, None where there are none."""
    return None if file.unit is None else read_digests(run.line_digests(number), file.count, file.each)


def installed_packages(paths: Sequence[str] | None = None) -> dict[str, str]:
    """Version of each package in these directories (of sys.path), by the names of their records there."""
    found: dict[str, str] = {}
    for directory in sys.path if paths is None else paths:
        for name in _entries(directory):
            if (match := _DIST_INFO.fullmatch(name)) is not None:
                found.setdefault(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"])
    found.pop(DISTRIBUTION, None)
    return dict(sorted(found.items()))


def _entries(directory: str) -> list[str]:
    try:
        return [entry.name for entry in Path(directory or ".").iterdir()]
    except OSError:
        return []


def constraints_text(python: str, packages: Mapping[str, str]) -> str:
    """constraints.txt."""
    lines = [f"{name}=={version}" for name, version in packages.items()]
    return "\n".join([f"# Python {python}: pip install --constraint constraints.txt ...", *lines]) + "\n"


def code_digest(package: Path) -> str:
    """sha256 over names and contents of every file of the launcher package that is executed or read."""
    digest = hashlib.sha256()
    for path in _code_files(package):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _code_files(package: Path) -> Iterator[Path]:
    found: list[Path] = []
    for directory, below, names in os.walk(package):
        below[:] = [name for name in below if name not in ("__pycache__", "_data")]
        found += [Path(directory, name) for name in names if name.endswith(CODE)]
    return (path for path in sorted(found) if path.is_file())


def environment_here(threads: int, gpus: Sequence[str]) -> Environment:
    """That of this process; the numbers of threads and the names of GPUs are what torch says."""
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        machine=cpu_name(),
        gpus=tuple(gpus),
        threads=threads,
        code=code_digest(PACKAGE),
        packages=installed_packages(),
    )


def versions_here() -> Versions:
    """Those of this process's Python, without importing torch."""
    torch = installed_packages().get("torch")
    return Versions(platform.python_version(), torch, __version__, code_digest(PACKAGE))


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the CPU calls itself."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or "unknown"
