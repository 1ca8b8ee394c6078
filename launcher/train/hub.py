"""Whether the hub answers at all, before its client is asked for a file: that one tries for a minute and a half."""

from __future__ import annotations

import time

SETTLES_S = 3.0
"""A name that isn't found yet and a connection that was refused may be a network that just comes up."""
PAUSE_S = 0.5


class HubUnreachable(OSError):
    """The hub doesn't answer from here."""


def wait_for_hub() -> None:
    """Return once the hub answers anything, or where HF_HUB_OFFLINE forbids to ask, which its client says better.

    Raises HubUnreachable after seconds. A hub that is only silent has HF_HUB_ETAG_TIMEOUT of them, 10 where it isn't set.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    end = time.monotonic() + SETTLES_S
    while True:
        try:
            get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            return
        except OfflineModeIsEnabled:
            return
        except Exception as error:  # noqa: BLE001  (which HTTP library it has, and so their names, is its own affair)
            if time.monotonic() >= end:
                text = f"{constants.ENDPOINT} can't be reached ({' '.join(str(error).split())})"
                raise HubUnreachable(text) from None
        time.sleep(PAUSE_S)
