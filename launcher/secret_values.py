"""Keys and passwords: which variables hold them, and text without them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SECRET = re.compile(
    r"(^|_)(KEY|ACCESS_KEY_ID|TOKENS?|PASS|PAT|DSN|WEBHOOK|AUTH$)(_|$)"
    r"|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE)KEY|(TOKEN|(?<!_P)KEY)$",
    re.IGNORECASE,
)
"""Names of variables that hold one; the P_KEY of InfiniBand is a partition of the network."""
WITH_PASSWORD = re.compile(r"://[^/\s@]+:[^/\s@]*@|://[^/\s:@]{16,}@")
"""An address with the name and the password, or the key, of who asks."""
KEYS = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_\w{20,}|wandb_v\d_\w{20,}|sk-[\w-]{20,}|xox[a-z]-[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
"""Keys that can be told by how they look."""
HIDDEN = "(hidden)"


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables that hold keys and passwords; those of fewer than 12 characters are ordinary words."""
    return tuple(value for name, value in environ.items() if SECRET.search(name) and len(value) >= 12)


def without_values(text: str, values: Iterable[str]) -> str:
    """`text` without these values."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return text


def without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """`text` without the values of variables that hold keys, and without what looks like a key or an address with one."""
    text = without_values(text, secret_values(environ))
    return WITH_PASSWORD.sub(f"://{HIDDEN}@", KEYS.sub(HIDDEN, text))
