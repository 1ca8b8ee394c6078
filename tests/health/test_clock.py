"""Two nodes that ask each other for the time."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from launcher.health import clock
from launcher.network import free_port


@pytest.mark.fault(33)
def test_a_clock_that_is_an_hour_ahead_is_found() -> None:
    port = free_port(7)
    told: list[int] = []
    server = threading.Thread(target=lambda: told.append(clock.answer(port, 2, clock.Patience(20))))
    server.start()
    exact = clock.ask("127.0.0.1", port, clock.Patience(20))
    ahead = clock.ask("127.0.0.1", port, clock.Patience(20), lambda: time.time() + 3600)
    server.join()
    assert isinstance(exact, clock.Answered)
    assert isinstance(ahead, clock.Answered)
    assert abs(exact.offset_s) < 1
    assert ahead.offset_s == pytest.approx(3600, abs=1)
    assert told == [2]


def test_nobody_answers() -> None:
    assert clock.ask("127.0.0.1", free_port(8), clock.Patience(0.2)) == "Connection refused"


def test_a_node_that_is_not_there_yet_is_waited_for_longer_and_one_that_never_comes_is_not() -> None:
    port, there = free_port(10), threading.Event()
    told: list[int] = []
    server = threading.Thread(
        target=lambda: told.append(clock.answer(port, 2, clock.Patience(0.1, 60, there.is_set)))
    )
    server.start()
    assert isinstance(clock.ask("127.0.0.1", port, clock.Patience(20)), clock.Answered)
    server.join(1)
    assert server.is_alive()
    there.set()  # it has begun, and then doesn't ask
    server.join(60)
    assert told == [1]
    assert clock.answer(port, 1, clock.Patience(0.1, 0.2, lambda: False)) == 0


def test_somebody_else_who_connects_is_not_counted() -> None:
    port = free_port(9)
    told: list[int] = []
    server = threading.Thread(target=lambda: told.append(clock.answer(port, 1, clock.Patience(20))))
    server.start()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    assert isinstance(clock.ask("127.0.0.1", port, clock.Patience(20)), clock.Answered)
    server.join()
    assert told == [1]
