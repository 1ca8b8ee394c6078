"""How far the clocks of two nodes are apart, and whether one reaches the other at all.

The first node of a job answers on the port where the ranks will meet; every other asks it. What is found here in a second
would otherwise be a rendezvous that waits for minutes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 3
TALK_TIMEOUT_S = 2.0
LOOK_EVERY_S = 1.0
_TIME = struct.Struct("!d")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Answered:
    """What asking the first node found."""

    offset_s: float
    """How far this node's clock is ahead of the first node's."""
    round_trip_s: float


class Patience:
    """How long a node waits for others: so many seconds after the last of them was there, and `most_s` in all.

    A node whose Python is still being read from a slow file system is late, not unreachable.
    """

    def __init__(
        self, timeout_s: float, most_s: float = 0.0, all_there: Callable[[], bool] = lambda: True
    ) -> None:
        self._timeout_s, self._all_there = timeout_s, all_there
        self._until = time.monotonic() + timeout_s
        self._end = time.monotonic() + max(most_s, timeout_s)

    def left_s(self) -> float:
        """Seconds; below 0 when it is over."""
        now = time.monotonic()
        if now < self._end and not self._all_there():
            self._until = min(now + self._timeout_s, self._end)
        return self._until - now


def answer(port: int, others: int, patience: Patience, clock: Clock = time.time) -> int:
    """Tell `others` nodes the time, until all have asked or the time is over; returns how many did."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    dual = family == socket.AF_INET6
    told = 0
    with socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=others + 8) as server:
        while told < others and (left := patience.left_s()) > 0:
            server.settimeout(min(left, LOOK_EVERY_S))
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    told += _talk(connection, clock)
    return told


def _talk(connection: socket.socket, clock: Clock) -> bool:
    """Answer one node's questions; whether it asked all of them."""
    connection.settimeout(TALK_TIMEOUT_S)
    for _ in range(ROUNDS):
        if connection.recv(1) != b"?":
            return False
        connection.sendall(_TIME.pack(clock()))
    return True


def ask(address: str, port: int, patience: Patience, clock: Clock = time.time) -> Answered | str:
    """What the first node answers; a sentence where it does not."""
    said = "no answer"
    while (left := patience.left_s()) > 0:
        try:
            with socket.create_connection((address, port), timeout=left) as connection:
                return _closest([_question(connection, clock) for _ in range(ROUNDS)])
        except OSError as error:  # it may not listen yet
            said = error.strerror or str(error) or said
            time.sleep(min(0.05, max(0.0, left)))
    return said


def _question(connection: socket.socket, clock: Clock) -> Answered:
    connection.settimeout(TALK_TIMEOUT_S)
    asked, here = time.monotonic(), clock()
    connection.sendall(b"?")
    answer_bytes = b""
    while len(answer_bytes) < _TIME.size:
        piece = connection.recv(_TIME.size - len(answer_bytes))
        if not piece:
            raise ConnectionError("the connection was closed")
        answer_bytes += piece
    round_trip = time.monotonic() - asked
    (there,) = _TIME.unpack(answer_bytes)
    return Answered(here + round_trip / 2 - there, round_trip)


def _closest(answers: list[Answered]) -> Answered:
    return min(answers, key=lambda found: found.round_trip_s)
