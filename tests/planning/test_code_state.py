"""Which code launches: commit and patch of a real checkout, and what never gets into a patch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.planning.code_state import CodeState, code_state, refusal


def git(directory: Path, *words: str) -> str:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", *name, *words], cwd=directory, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a package, a page and one commit."""
    package = tmp_path / "launcher"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("one = 1\ntwo = 2\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_an_unchanged_checkout_is_its_commit(checkout: Path) -> None:
    assert code_state(checkout / "launcher") == CodeState(git(checkout, "rev-parse", "HEAD"))


def test_a_patch_has_what_is_executed_and_brings_the_commit_to_it(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (checkout / "launcher" / "a.py").write_text("one = 1\ntwo = 22\n")
    (checkout / "README.md").write_text("changed\n")
    (checkout / "launcher" / "new.py").write_text("SECRET = 'not in git'\n")
    found = code_state(checkout / "launcher")
    commit = git(checkout, "rev-parse", "HEAD")
    assert found.commit == f"{commit}-dirty"
    assert found.patch is not None
    assert "README" not in found.patch
    assert "not in git" not in found.patch
    assert found.notes == ("not in git, so not recorded with the run: launcher/new.py",)

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    archive = subprocess.run(["git", "archive", commit], cwd=checkout, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=elsewhere, input=archive, check=True)
    subprocess.run(["git", "apply", "-"], cwd=elsewhere, input=found.patch, text=True, check=True)
    assert (elsewhere / "launcher" / "a.py").read_text() == "one = 1\ntwo = 22\n"


def test_a_package_below_the_checkout_of_somebody_else_is_no_checkout(checkout: Path) -> None:
    package = checkout / "site-packages" / "launcher"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert code_state(package) == CodeState()


def patch(line: str) -> str:
    return f"diff --git a/launcher/a.py b/launcher/a.py\n--- a/launcher/a.py\n+++ b/launcher/a.py\n@@ -1 +1 @@\n{line}\n"


@pytest.mark.parametrize(
    "line",
    [
        "+token = 'x8Jf93kLmQ02zzTr5v'",
        '-    "api_key": "a1b2c3d4e5f6a7b8c9d0",',
        "+WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        "+hub = 'hf_abcdefghijklmnopqrstuvwx'",
        "+-----BEGIN OPENSSH PRIVATE KEY-----",
        "+url = 'https://me:hunter2hunter2@example.org/'",
        " a value of this environment: orange-banana-lemon",
    ],
)
def test_a_patch_that_seems_to_hold_a_key_is_not_kept_and_the_key_not_named(line: str) -> None:
    reason = refusal(patch(line), secrets=("orange-banana-lemon",))
    assert reason == "launcher/a.py seems to hold a key or a password"


@pytest.mark.parametrize(
    "line",
    [
        '+    key = "train.early_stopping.metric"',
        "+    pairs = {key: (expected.get((1, key[1])), value) for key in found}",
        "+    tokens: int = 4096",
        "+    password: str",
    ],
)
def test_ordinary_code_is_kept(line: str) -> None:
    assert refusal(patch(line)) is None


def test_a_large_patch_is_not_kept() -> None:
    assert refusal(patch("+" + "x = 1\n+" * 300_000)) == "it is larger than 1.0 MiB"


def test_a_patch_is_left_out_of_what_is_recorded_with_the_reason(checkout: Path) -> None:
    (checkout / "launcher" / "a.py").write_text("token = 'x8Jf93kLmQ02zzTr5v'\n")
    found = code_state(checkout / "launcher")
    assert found.patch is None
    assert found.notes == (
        "how the code differs from its commit is not recorded: launcher/a.py seems to hold a key or a password",
    )
