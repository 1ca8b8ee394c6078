"""Who may read and change what launch makes, under each umask that people have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cases import quick

from launcher.runs.directory import RunDir

OTHERS_WRITE = 0o022
Finished = tuple[RunDir, Any]


def launch(umask: int, directory: Path, *words: object) -> str:
    """What `launch WORDS` says, with its caches in the same directory."""
    command = [sys.executable, "-m", "launcher", *map(str, words)]
    done = subprocess.run(
        ["env", f"XDG_CACHE_HOME={directory / 'cache'}", *command],
        cwd=directory,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def made(directory: Path) -> Iterator[tuple[str, int]]:
    """Path and mode of everything below a directory; a link has those of what it points at."""
    for path in directory.rglob("*"):
        if not path.is_symlink():
            yield str(path.relative_to(directory)), path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", quick([0o000, 0o002, 0o022, 0o077], [0o002]))
def test_what_is_made_outside_of_runs_has_the_modes_that_the_umask_leaves(
    finished: Finished, tiny: tuple[str, ...], tmp_path: Path, umask: int
) -> None:
    """But for others' right to change it, which nothing has: a plan's directory, a page, a recipe, caches."""
    run, _ = finished
    launch(umask, tmp_path, "report", run.path, "--output", "page.html")
    launch(umask, tmp_path, "plan", *tiny, "--out", "planned/here")
    modes = dict(made(tmp_path))
    assert {"page.html", "planned/here/plan.json", "cache/launcher"} <= modes.keys()
    assert {path: oct(mode) for path, mode in modes.items() if mode & (umask | OTHERS_WRITE)} == {}
    assert modes["page.html"] == 0o644 & ~umask


@pytest.mark.parametrize("umask", quick([0o022, 0o077], [0o077]))
def test_a_shared_run_lets_its_group_read_the_model_and_nothing_else(
    tiny: tuple[str, ...], tmp_path: Path, umask: int
) -> None:
    launch(umask, tmp_path, *tiny, "train.max_steps=2", "share=group", "run_id=r")
    modes = {path: mode for path, mode in made(tmp_path) if path.startswith("runs")}
    assert modes["runs"] & 0o050 == 0o050
    model = {path for path in modes if path.startswith("runs/r/model")}
    assert {"runs/r/model/config.json", "runs/r/model/model.safetensors", "runs/r/model/README.md"} <= model
    assert {path for path, mode in modes.items() if mode & 0o070} - {"runs", "runs/r"} == model
    assert all(modes[path] & 0o040 for path in model)
    assert {path: oct(mode) for path, mode in modes.items() if mode & (OTHERS_WRITE | 0o005)} == (
        {"runs": "0o755"} if umask == 0o022 else {}
    )


@pytest.mark.long
def test_nobody_else_may_change_predictions_or_a_model_given_away(finished: Finished, tmp_path: Path) -> None:
    """Where the umask takes nothing away."""
    run, _ = finished
    launch(0o000, tmp_path, "predict", run.path, "--text", "good", "--output", "said.csv")
    launch(0o000, tmp_path, "export", run.path, "--output", "model")
    launch(0o000, tmp_path, "report", run.path)
    assert (run.path / "report.html").stat().st_mode & 0o777 == 0o600
    modes = dict(made(tmp_path))
    assert {"said.csv", "model/model.safetensors", "model/README.md"} <= modes.keys()
    assert {path: oct(mode) for path, mode in modes.items() if mode & OTHERS_WRITE} == {}
    given = {mode for path, mode in modes.items() if path.startswith("model/")}
    assert (modes["model"], given) == (0o755, {0o644})


@pytest.mark.long
def test_what_a_library_writes_into_a_run_is_its_owner_s_too(finished: Finished) -> None:
    run, _ = finished
    command = [sys.executable, "-m", "launcher", "sync", run.path]
    done = subprocess.run(command, umask=0, capture_output=True, text=True, check=False)
    assert "there is no key for W&B" in done.stderr
    modes = dict(made(run.path / "wandb"))
    assert modes
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_nobody_else_may_replace_a_run(finished: Finished) -> None:
    """Whoever may write to the directory of runs can put another in a run's place."""
    run, _ = finished  # trained with umask 000
    assert run.path.parent.stat().st_mode & OTHERS_WRITE == 0
