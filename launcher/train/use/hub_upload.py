"""Uploading a model to a hub: what would be sent, what the hub says to it, and one commit that has it whole or not at all.

The token is the library's own affair (HF_TOKEN, or what `hf auth login` left); here it is only kept out of messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from launcher.cards.model_card import NAME, card_to_publish
from launcher.errors import LauncherError, RunFailed, UserError
from launcher.runs.directory import RunDir
from launcher.runs.verb_results import Upload, UploadedFile

R = TypeVar("R")
REPO = re.compile(r"([\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)
LOG_IN = "hf auth login, or HF_TOKEN, with a token that may write"


class NoToken(UserError):
    """Nobody is logged in."""


def planned_upload(run: RunDir, repo: str, *, public: bool, repetitions: Sequence[RunDir]) -> Upload:
    """What `upload` would send. The hub is asked, where it answers, for the owner and whether the repository is there.

    Raises UserError for a name or token that can't be, and RunFailed where only the hub knows whose repository it is.
    """
    from huggingface_hub import HfApi

    if not REPO.fullmatch(repo):
        raise _no_name(repo)
    api, exists, private, doubt = HfApi(), None, not public, None
    try:
        owner = _asked(lambda: str(api.whoami()["name"]))
        repo = repo if "/" in repo else f"{owner}/{repo}"
        exists = _asked(lambda: api.repo_exists(repo))
        if exists:
            private = bool(_asked(lambda: api.model_info(repo)).private)
    except (RunFailed, NoToken) as error:
        if "/" not in repo:
            raise
        doubt = str(error).partition("\n")[0]
    _refuse_other_visibility(repo, exists=exists, private=private, public=public)
    files = tuple(_files(run, card_to_publish(run, repo, repetitions)))
    return Upload(repo, api.endpoint, private, exists, doubt, files)


def _no_name(repo: str) -> UserError:
    remedy = "give it as OWNER/NAME: letters, digits, - _ and ."
    return UserError("is no name of a repository", None, "REPO", repo, remedy)


def _refuse_other_visibility(repo: str, *, exists: bool | None, private: bool, public: bool) -> None:
    if exists and private == public:
        text = "is private" if private else "is there already and is public: everybody will see the model"
        remedy = "leave --public out" if private else "say so with --public, or give another name"
        raise UserError(text, where=repo, remedy=remedy)


def upload(run: RunDir, plan: Upload, *, repetitions: Sequence[RunDir]) -> Upload:
    """Send the model in one commit, into a repository that is made where there is none; the plan with the commit's address.

    Raises UserError or RunFailed with what the hub refused.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, repo = HfApi(), plan.repo
    _asked(api.whoami)
    card = card_to_publish(run, repo, repetitions)
    commit = [
        CommitOperationAdd(file.path, card.encode() if file.path == NAME else run.model / file.path)
        for file in plan.files
    ]
    _asked(lambda: api.create_repo(repo, private=plan.private, exist_ok=True))
    done = _asked(lambda: api.create_commit(repo, commit, commit_message=f"Model of {run.run_id}"))
    return replace(plan, doubt=None, url=str(done.commit_url))


def _files(run: RunDir, card: str) -> Iterator[UploadedFile]:
    """All of model/ but what is hidden, the card as it will be. Raises UserError for a link."""
    yield UploadedFile(NAME, len(card.encode()))
    for path in sorted(run.model.rglob("*")):
        name = path.relative_to(run.model).as_posix()
        if path.is_symlink():
            raise UserError("is a link, which is not followed", where=str(path))
        if path.is_file() and name != NAME and not any(part.startswith(".") for part in name.split("/")):
            yield UploadedFile(name, path.stat().st_size)


def _asked(question: Callable[[], R]) -> R:
    """The hub's answer. Raises UserError where it wants another token, RunFailed where it doesn't answer or refuses."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    hub = constants.ENDPOINT
    try:
        return question()
    except LauncherError:
        raise
    except HFValidationError as error:
        raise UserError(str(error)) from None
    except LocalTokenNotFoundError:
        raise NoToken("there is no token for the hub", remedy=LOG_IN) from None
    except OfflineModeIsEnabled:
        raise RunFailed("hub", "HF_HUB_OFFLINE forbids to ask the hub", "unset HF_HUB_OFFLINE") from None
    except HfHubHTTPError as error:
        raise _refused(hub, error.response.status_code, error.server_message) from None
    except Exception as error:  # noqa: BLE001  (which HTTP library it has, and so their names, is its own affair)
        text = f"{hub} can't be reached or did not take the model: {_without_token(str(error))}"
        raise RunFailed(
            "hub", text, "try again where there is a network; HF_ENDPOINT names another hub"
        ) from None


def _refused(hub: str, status: int, said: str | None) -> LauncherError:
    told = f": {_without_token(said)}" if said else ""
    if status == 401:
        return UserError(f"{hub} does not know the token{told}", remedy=LOG_IN)
    if status == 403:
        return UserError(f"{hub} does not let this token write there{told}", remedy=LOG_IN)
    return RunFailed("hub", f"{hub} answered {status}{told}", "try again later" if status >= 500 else None)


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    known = [os.environ.get("HF_TOKEN"), get_token()]
    for token in filter(None, known):
        text = text.replace(token, "(hidden)")
    return " ".join(text.split())[:400]
