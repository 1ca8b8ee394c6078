"""`launch push` with the real client of the hub, against a server on loopback that keeps what it is given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.hub_stub import TOKEN, HubStub, Repo

from launcher.cards.model_card import card_to_publish
from launcher.runs.directory import RunDir

pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def hub() -> Iterator[HubStub]:
    with HubStub() as server:
        yield server


@pytest.fixture
def run(finished: tuple[RunDir, Any], tmp_path: Path) -> RunDir:
    """A completed run of the test's own."""
    copy = RunDir(tmp_path / "runs" / "done")
    shutil.copytree(finished[0].path, copy.path)
    return copy


def test_it_shows_first_and_uploads_after_a_yes(launch: Launch, hub: HubStub, run: RunDir) -> None:
    shown = launch("push", "done", "me/model", env=hub.environment())
    assert "model.safetensors" in shown.stdout
    assert f"me/model on {hub.url} (private; new)" in shown.stderr
    assert "nothing was uploaded" in shown.stderr
    assert not hub.repos
    assert {request.split()[0] for request in hub.requests} <= {"GET", "HEAD"}, "a dry run only asks"

    done = launch("push", "done", "me/model", "--yes", env=hub.environment())
    assert f"{hub.url}/me/model/commit/" in done.stdout
    repo = hub.repos["me/model"]
    assert repo.private
    assert repo.commits == ["Model of done"], "one commit: the model is there whole or not at all"
    model = {path.name: path.read_bytes() for path in run.model.iterdir() if path.is_file()}
    assert repo.files.keys() == model.keys()
    assert {name for name in model if model[name] != repo.files[name]} == {"README.md"}
    assert b'model="me/model"' in repo.files["README.md"]
    assert TOKEN not in shown.stdout + shown.stderr + done.stdout + done.stderr


@pytest.mark.long
def test_without_a_name_it_is_the_runs_under_ones_own(launch: Launch, hub: HubStub) -> None:
    tree = json.loads(launch("push", "done", "--public", "--yes", "--json", env=hub.environment()).stdout)
    assert (tree["uploaded"], tree["repo"], tree["private"]) == (True, "me/done", False)
    assert not hub.repos["me/done"].private


def test_what_its_owner_wrote_into_the_card_stays(run: RunDir) -> None:
    card = run.model / "README.md"
    card.write_text(card.read_text().replace("## Intended use", "Only for tea.\n\n## Intended use"))
    sent = card_to_publish(run, "me/model")
    assert "Only for tea." in sent
    assert 'model="me/model"' in sent


def test_nobody_publishes_by_mistake(launch: Launch, hub: HubStub) -> None:
    hub.repos["me/open"] = Repo(private=False)
    refused = launch("push", "done", "me/open", "--yes", code=2, env=hub.environment())
    assert "is there already and is public" in refused.stderr
    assert "--public" in refused.stderr
    assert not hub.repos["me/open"].commits
    launch("push", "done", "me/open", "--public", "--yes", env=hub.environment())
    assert hub.repos["me/open"].commits


def test_a_wrong_token_and_another_owner_are_told(launch: Launch, hub: HubStub) -> None:
    wrong = "hf_wrongwrongwrongwrong"
    refused = launch("push", "done", "me/m", "--yes", code=2, env=hub.environment(wrong))
    assert "does not know the token" in refused.stderr
    assert "hf auth login" in refused.stderr
    assert wrong not in refused.stderr
    theirs = launch("push", "done", "google/m", "--yes", code=2, env=hub.environment())
    assert "does not let this token write there" in theirs.stderr
    assert "Traceback" not in refused.stderr + theirs.stderr


def test_without_a_token_it_shows_but_uploads_nothing(launch: Launch, hub: HubStub) -> None:
    shown = launch("push", "done", "me/m", env=hub.environment(None))
    assert "there is no token for the hub" in shown.stderr
    refused = launch("push", "done", "me/m", "--yes", code=2, env=hub.environment(None))
    assert "hf auth login" in refused.stderr
    assert not hub.repos


@pytest.mark.long
def test_without_a_network_it_says_so(launch: Launch) -> None:
    shown = launch("push", "done", "me/m", env={"HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN})
    assert "note: HF_HUB_OFFLINE forbids" in shown.stderr
    nowhere = {"HF_HUB_OFFLINE": None, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": TOKEN}
    failed = launch("push", "done", "me/m", "--yes", "--json", code=1, env=nowhere)
    assert "http://127.0.0.1:9 can't be reached" in failed.stderr
    error = json.loads(failed.stdout)["error"]
    assert "->" not in error["message"]
    assert error["remedy"].startswith("try again where there is a network")


@pytest.mark.long
def test_a_hub_that_fails_at_the_commit_has_nothing(launch: Launch, hub: HubStub) -> None:
    hub.fail(500, "/commit/")
    failed = launch("push", "done", "me/m", "--yes", code=1, env=hub.environment())
    assert "answered 500" in failed.stderr
    assert not hub.repos["me/m"].files


def test_only_completed_runs_are_given_away(launch: Launch, hub: HubStub, run: RunDir) -> None:
    missing = launch("push", "dnoe", "me/m", code=2, env=hub.environment())
    assert "did you mean done?" in missing.stderr
    result = json.loads(run.result.read_text())
    run.result.write_text(json.dumps({**result, "status": "stopped"}))
    stopped = launch("push", "done", "me/m", "--yes", code=2, env=hub.environment())
    assert "is stopped: only completed runs are uploaded" in stopped.stderr
    shutil.rmtree(run.model)
    empty = launch("push", "done", "me/m", code=2, env=hub.environment())
    assert "has no model yet" in empty.stderr
    assert not hub.requests


def test_a_name_that_no_repository_has(launch: Launch, hub: HubStub) -> None:
    refused = launch("push", "done", "a/b/c", code=2, env=hub.environment())
    assert "a/b/c" in refused.stderr
    assert "OWNER/NAME" in refused.stderr
    assert not hub.requests
