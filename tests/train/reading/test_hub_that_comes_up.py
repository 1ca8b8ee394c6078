"""A hub that refuses connections at first, asked by the real client."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from launcher.network import free_port
from launcher.train import hub


class Clock:
    """A clock that goes on as somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_is_waited_for_as_long_as_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(hub, "time", clock)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port(7)}")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 20)
    with pytest.raises(hub.HubUnreachable, match="can't be reached"):
        hub.wait_for_hub()
    assert clock.now == 20
