"""Which code launches: its commit, and how the files that are executed differ from it, as a patch that holds no secret."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.commands import ask
from launcher.figures import human_bytes
from launcher.resources import PROFILES
from launcher.secret_values import KEYS, SECRET, WITH_PASSWORD

EXECUTED = ("launcher", PROFILES, "ds_configs")
"""What of a checkout decides how a run is rendered and trained."""
MOST_BYTES = 1 << 20
VALUE = r"(?=\S*\d)(?=\S*[A-Za-z])(?P<value>[A-Za-z0-9+/=_.~-]{16,})"
"""Letters and digits, as keys have them."""
ASSIGNED = (
    re.compile(rf"""(?P<name>[\w.-]+)["']?\s*[:=]\s*f?["']{VALUE}["']"""),
    re.compile(rf"^[-+ ]\s*(?:export\s+)?(?P<name>\w+)\s*[:=]\s*{VALUE}\s*$"),
)
"""A name and a value, in code and in files of settings."""


@dataclass(frozen=True)
class CodeState:
    """The code of a checkout; all None where it is none, as after an installation from a wheel."""

    commit: str | None = None
    """With `-dirty` where any tracked file differs."""
    patch: str | None = None
    """What of EXECUTED differs from the commit."""
    notes: tuple[str, ...] = ()
    """What of it is not recorded, and why."""


NO_CHECKOUT = CodeState()


@functools.cache
def code_state(package: Path, secrets: tuple[str, ...] = ()) -> CodeState:
    """The state of the checkout that the package lies in; `secrets` are values that no patch may hold.

    A package installed below somebody else's checkout is not tracked there.
    """
    git = ["git", "-C", str(package.parent)]
    if ask([*git, "ls-files", "--error-unmatch", f"{package.name}/__init__.py"]) is None:
        return NO_CHECKOUT
    commit = ask([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
    if commit is None:
        return NO_CHECKOUT
    untracked = ask([*git, "ls-files", "--others", "--exclude-standard", "--", f"{package.name}/*.py"])
    notes = [_untracked(untracked.splitlines())] if untracked else []
    if not commit.strip().endswith("-dirty"):
        return CodeState(commit.strip(), None, tuple(notes))
    options = (
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--relative",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    patch = ask([*git, "diff", *options, "HEAD", "--", *EXECUTED])
    reason = "git did not say" if patch is None else refusal(patch, secrets)
    if reason is not None:
        notes.append(f"how the code differs from its commit is not recorded: {reason}")
        patch = None
    return CodeState(commit.strip(), patch or None, tuple(notes))


def refusal(patch: str, secrets: Sequence[str] = ()) -> str | None:
    """Why a patch is not kept, None where it is: it is large, or seems to hold a key. The key is not named."""
    if len(patch) > MOST_BYTES:
        return f"it is larger than {human_bytes(MOST_BYTES)}"
    for name, line in _lines(patch):
        if _holds_secret(line) or any(secret in line for secret in secrets):
            return f"{name} seems to hold a key or a password"
    return None


def _holds_secret(line: str) -> bool:
    if KEYS.search(line) or WITH_PASSWORD.search(line):
        return True
    found = (match for form in ASSIGNED for match in form.finditer(line))
    names = (re.sub(r"[-.]", "_", match["name"]) for match in found)
    return any(SECRET.search(name) for name in names)


def _lines(patch: str) -> Iterator[tuple[str, str]]:
    """Each line of a patch with the name of its file."""
    name = ""
    for line in patch.splitlines():
        if line.startswith("diff --git "):
            name = line.rpartition(" b/")[2]
        yield name, line


def _untracked(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"not in git, so not recorded with the run: {', '.join(names[:3])}{more}"
