"""What W&B's client would find on this machine: its server, a key, and whether it is wanted; without importing it."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from launcher.loading.assignments import wandb_settings

USUAL_SERVER = "https://api.forge.coreweave.com"
OLDER_HOST = "api.wandb.ai"
"""What keys for the usual server may be kept under, by clients before 0.31."""


def server() -> str:
    """Address of the server that runs would go to."""
    return os.environ.get("WANDB_BASE_URL") or _settings().get("base_url") or USUAL_SERVER


def has_key(url: str) -> bool:
    """Whether there is a key for the server, in a variable, a settings file or a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if _settings().get("api_key"):
        return True
    hosts = (urlsplit(url).netloc, *((OLDER_HOST,) if url == USUAL_SERVER else ()))
    try:
        known = netrc.netrc(_netrc_file())
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return any(known.authenticators(host) is not None for host in hosts)


def mode() -> str | None:
    """`offline` or `disabled` where that is what runs are by default, said by a variable or a settings file."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"
    found = os.environ.get("WANDB_MODE") or _settings().get("mode")
    return {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}.get(found or "")


def _settings() -> dict[str, str]:
    """Of the user's file and of the one in the working directory, which `wandb offline` writes."""
    directory = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    return wandb_settings(directory / "settings", Path("wandb", "settings"))


def _netrc_file() -> Path:
    usual = [Path.home() / name for name in (".netrc", "_netrc")]
    given = os.environ.get("NETRC")
    return Path(given).expanduser() if given else next((path for path in usual if path.exists()), usual[0])
