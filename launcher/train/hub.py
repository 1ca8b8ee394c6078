"""Whether the hub answers at all, before its client is asked for a file: that one tries for a minute and a half."""

from __future__ import annotations

import time

PAUSE_S = 0.5


class HubUnreachable(OSError):
    """The hub doesn't answer from here."""


def wait_for_hub() -> None:
    """Return once the hub answers anything, or where HF_HUB_OFFLINE forbids to ask, which its client says better.

    Raises HubUnreachable after HF_HUB_ETAG_TIMEOUT, 10 s where it isn't set: a hub that is silent has as long, and one
    whose name isn't found or that refuses a connection may be behind a network or a proxy that just comes up.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    end = time.monotonic() + constants.HF_HUB_ETAG_TIMEOUT
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
