"""Damaged run directories and recipes, a few in every test run, thousands in `make soak`.

Whatever lies in a file, every verb that reads it ends soon and in words: no traceback, nothing executed, no character
that a terminal obeys. `SOAK_SEED=7` draws other cases, `SOAK_RUNS` and `SOAK_RECIPES` as many as are given.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import FrameType

import pytest
from support.mutations import damage_recipe, damage_run

from launcher.cli import execute
from launcher.cli.output import printable, show
from launcher.cli.watched import CURVES, Watch, log_of
from launcher.errors import EXIT_OK, EXIT_USAGE, LauncherError
from launcher.report.terminal_chart import chart
from launcher.runs.directory import RunDir
from launcher.runs.finding import find
from launcher.train.process.events import Events
from launcher.train.record.sync import sync
from launcher.visible import COMMANDS

SEED = int(os.environ.get("SOAK_SEED", "0"))
RUNS = int(os.environ.get("SOAK_RUNS", "25"))
RECIPES = int(os.environ.get("SOAK_RECIPES", "100"))
MOST_CPU_S = 2.0
MOST_S = 30
BLOCK = 50
"""Cases of one test."""
ENDS = (0, 1, 2, 75)
SMALL = (
    *("recipe=smoke", "executor=local", "device=cpu", "model.scratch.hidden=16", "model.scratch.layers=1"),
    *("model.scratch.intermediate=32", "model.scratch.vocab=200", "data.max_length=16", "data.limit=64"),
    *("batch.global=8", "tracking.wandb.mode=disabled", "checkpoint.every=2"),
)
VERBS: Sequence[Sequence[str]] = (
    *(["status"], ["status", "RUN"], ["logs", "RUN"], ["compare", "RUN"], ["diagnose", "RUN"]),
    *(["resume", "RUN"], ["stop", "RUN"], ["report", "RUN", "OTHER", "--output", "page.html"]),
    *(["diff", "RUN", "OTHER"], ["diff", "OTHER", "RUN"], ["clean", "RUN"]),
    *(
        ["predict", "RUN", "--text", "x"],
        ["explain", "RUN", "--text", "x"],
        ["eval", "RUN"],
        ["export", "RUN"],
    ),
    *(["push", "RUN", "me/x"], ["reproduce", "RUN"], ["sync"]),
)
"""Those that need a model are refused before torch is imported, since it has no weights."""
WITHOUT_JSON = ("report",)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The directories of a completed run and of one that was stopped."""
    directory = tmp_path_factory.mktemp("templates")
    done = _train(directory, "done", "train.max_steps=12")
    stopped = _train(directory, "stopped", "train.max_steps=12", "train.early_stopping.patience=1")
    (stopped / "result.json").write_text(
        (done / "result.json").read_text().replace('"completed"', '"stopped"')
    )
    for run in (done, stopped):
        shutil.rmtree(run / "model")  # a large part of the bytes, which no verb here reads
        (run / "model").mkdir()
        (run / "model" / "config.json").write_text('{"model_type": "bert"}')
        (run / "job.sh").write_text(f"touch {directory}/MARKER\n")
    return [done, stopped]


def _train(directory: Path, name: str, *words: str) -> Path:
    command = [sys.executable, "-m", "launcher", *SMALL, f"run_id={name}", *words]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
    return directory / "runs" / name


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, RUNS, BLOCK))
@pytest.mark.fault(34)
def test_damaged_run_directories(
    first: int, templates: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = {"exit_code": EXIT_OK, "run_id": templates[0].name, "run_dir": str(templates[0])}
    monkeypatch.setattr("launcher.cli.reproduction.perform", lambda *_: whole)  # a training of ten seconds
    faults = []
    for case in range(first, min(first + BLOCK, RUNS)):
        random = Random(f"run {SEED} {case}")
        run = Path("runs") / "r"
        done = damage_run(random.choice(templates), run, random)
        for verb in VERBS:
            named = {"RUN": str(run), "OTHER": str(templates[0])}
            words = [named.get(word, word) for word in verb]
            if verb[0] not in WITHOUT_JSON and random.random() < 0.3:
                words.append("--json")
            faults += [f"case {case} ({done}): launch {' '.join(words)}: {fault}" for fault in _faults(words)]
        for name, does in IN_OTHER_PROCESSES.items():
            found = _faults_of(functools.partial(does, run))
            faults += [f"case {case} ({done}): {name}: {fault}" for fault in found]
        shutil.rmtree("runs")
    faults += [
        f"executed: {path}" for path in (Path("MARKER"), templates[0].parents[1] / "MARKER") if path.exists()
    ]
    assert not faults, "\n".join(faults[:40])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, RECIPES, BLOCK))
def test_damaged_recipes(
    first: int, repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repo_root / "recipes" / "smoke", "smoke")
    texts = [path.read_text() for path in sorted((repo_root / "recipes").glob("*.yaml"))]
    smoke = (repo_root / "recipes" / "smoke.yaml").read_text()
    faults = []
    for case in range(first, min(first + BLOCK, RECIPES)):
        random = Random(f"recipe {SEED} {case}")
        content, done = damage_recipe(random.choice([smoke, *texts]), random)
        Path("r.yaml").write_bytes(content)
        for verb in (["plan", "recipe=r.yaml"], ["recipes", "show", "./r.yaml"]):
            words = [*verb, *(["--json"] if random.random() < 0.3 else [])]
            faults += [f"case {case} ({done}): launch {' '.join(words)}: {fault}" for fault in _faults(words)]
    faults += ["executed"] if Path("MARKER").exists() else []
    assert not faults, "\n".join(faults[:40])


def _watched(run: Path) -> int:
    """What `launch watch` shows, twice."""
    watch = Watch(lambda: [RunDir(run)])
    for _ in range(2):
        for each in watch.look():
            curves = [each.curves.points(name.replace("METRIC", each.metric)) for name in CURVES]
            lines = [*each.line.cells, *each.facts(), *log_of(each.line.run)]
            show("\n".join([printable(line) for line in lines]))
            show("\n".join(line for steps, values in curves for line in chart(steps, values, 60, 12)))
    return EXIT_OK


def _synced(run: Path) -> int:
    """What `launch sync` does until it asks a server, which isn't there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in os.environ.items():
            patch.setenv(name, value)  # it is put back: W&B's client gets an environment of its own
        patch.setenv("WANDB_API_KEY", "0" * 40)
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        return _code(lambda: sync(find(str(run), Path("runs")), Events(io.StringIO()), follow=False))


def _code(does: Callable[[], object]) -> int:
    try:
        does()
    except LauncherError as error:
        show(str(error))
        return EXIT_USAGE
    return EXIT_OK


IN_OTHER_PROCESSES: dict[str, Callable[[Path], int]] = {"watch": _watched, "sync": _synced}
"""What a terminal or another process is needed for otherwise."""


def _faults(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with how a command ends."""
    return _faults_of(lambda: execute(words))


def _faults_of(does: Callable[[], int]) -> Iterator[str]:
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    code: int | None = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _patience():
        try:
            code = does()
        except BaseException:  # noqa: BLE001  (whatever it is, it is a fault)
            yield traceback.format_exc(limit=-6)
    used = time.process_time() - started
    printed = out.getvalue() + err.getvalue()
    if used > MOST_CPU_S:
        yield f"{used:.1f} CPU seconds"
    if found := COMMANDS.search(printed):
        yield f"prints {printed[max(0, found.start() - 40) : found.end() + 20]!r}"
    if "Traceback" in printed:
        yield printed[-2000:]
    if code is not None and code not in ENDS:
        yield f"exit code {code}"


class TookTooLong(BaseException):
    """Nothing that a command would take for an error of its own."""


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Raises TookTooLong where the block takes too long, as it would that waits for a pipe."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"not done after {MOST_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MOST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
