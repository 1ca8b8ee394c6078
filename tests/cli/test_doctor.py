"""`launch doctor` finds what is broken, and says how to mend it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.commands import Launch

from launcher.cli import wandb_account
from launcher.families import FAMILIES
from launcher.planning.prepare import CACHE_REMEDY


def test_a_stale_lock_is_broken_and_a_key_is_not_shown(launch: Launch, tmp_path: Path) -> None:
    lock = tmp_path / "extensions" / "py311_cpu" / "some_op" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (0, 0))
    key = "s3cr3t" * 8
    env = {
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "XDG_CACHE_HOME": str(lock),  # no directory, so no cache
        "WANDB_API_KEY": key,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "MYSECRETKEY": "hidden",
    }
    result = launch("doctor", "--json", code=1, env=env)
    assert key not in result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["ok"] is False
    checks = document["checks"]
    broken = [check for check in checks if check["state"] == "broken"]
    assert [check["remedy"] for check in broken] == [CACHE_REMEDY, f"rm {lock}"]
    text = {check["name"]: check["text"] for check in checks}
    assert "torch" in text["packages"]
    passed, _, left_out = text["environment"].partition("; not: ")
    assert "HF_HUB_OFFLINE" in passed
    assert "by a file that only you can read: WANDB_API_KEY" in passed
    assert "MYSECRETKEY" in left_out
    assert "offline by HF_HUB_OFFLINE" in text["hub"]
    assert "can't be reached" in text["wandb"]
    assert "gloo yes" in text["torch"]


@pytest.mark.parametrize(
    ("files", "variables", "address", "found"),
    [
        ({}, {}, wandb_account.USUAL_SERVER, False),
        ({".netrc": "machine api.wandb.ai login user password x"}, {}, wandb_account.USUAL_SERVER, True),
        ({"own": "machine w.example login user password x"}, {"NETRC": "~/own"}, "https://w.example", True),
        ({}, {"WANDB_IDENTITY_TOKEN_FILE": "token"}, wandb_account.USUAL_SERVER, True),
    ],
)
def test_a_key_of_wandb_is_found_where_its_client_finds_it(
    files: dict[str, str], variables: dict[str, str], address: str, found: bool,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if address != wandb_account.USUAL_SERVER:
        (tmp_path / ".config" / "wandb").mkdir(parents=True)
        (tmp_path / ".config" / "wandb" / "settings").write_text(f"[default]\nbase_url = {address}\n")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert (wandb_account.server(), wandb_account.has_key(address)) == (address, found)


def test_runs_that_a_settings_file_makes_offline_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert wandb_account.mode() is None
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    assert wandb_account.mode() == "offline"
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert wandb_account.mode() == "disabled"


def test_a_server_behind_a_proxy_of_wandbs_own_is_not_called_unreachable(launch: Launch) -> None:
    env = {
        "WANDB_BASE_URL": "http://w.invalid",
        "WANDB_API_KEY": "x" * 40,
        "WANDB_HTTP_PROXY": "http://p.invalid:1",
    }
    checks = json.loads(launch("doctor", "--json", env=env).stdout)["checks"]
    assert "http://w.invalid is behind a proxy, which isn't tried here" in [check["text"] for check in checks]


def test_operators_of_another_environment_are_none_of_ours(launch: Launch, tmp_path: Path) -> None:
    other = tmp_path / "cache" / "launcher" / "torch_extensions" / "torch-2.0-0badcafe" / "some_op"
    other.mkdir(parents=True)
    for name in ("lock", "some_op.so"):
        (other / name).touch()
        os.utime(other / name, (0, 0))
    found = launch("doctor", "--json", env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    (text,) = (check["text"] for check in json.loads(found.stdout)["checks"] if check["name"] == "operators")
    assert text.startswith("none built")


@pytest.mark.long
def test_the_engine_is_tried_in_every_family(launch: Launch) -> None:
    document = json.loads(launch("doctor", "--engine", "--json").stdout)
    assert document["ok"] is True
    names = {each["family"] for each in document["families"]}
    assert names == set(FAMILIES)
    for each in document["families"]:
        states = {part["state"] for part in each["finding"]["parts"]}
        assert "right" in states
        assert "wrong" not in states
        assert each["taken"]["is_fallback"] is False
