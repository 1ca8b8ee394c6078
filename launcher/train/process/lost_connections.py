"""Which rank lost its connection to which other, in plain words, as far as it can be known."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from launcher.runs.results import Error

RESUME = "launch resume goes on from the newest checkpoint"
NOT_MADE = ("refused", "unreachable", "connectFullMesh", "failed to connect", "No route to host")
NO_ANSWER = ("timed out", "Timeout", "timeout")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f.:]+)\]:\d+|([0-9A-Fa-f.:]+)<\d+>")
"""How gloo and NCCL write the address of another rank."""


@dataclass(frozen=True)
class Place:
    """This rank among the others."""

    rank: int
    world_size: int
    ranks_per_node: int
    hosts: Sequence[str]

    @classmethod
    def of_this_rank(cls, hosts: Sequence[str], environ: Mapping[str, str] = os.environ) -> Place:
        """As torchrun says; `hosts` are the nodes of the attempt, in order."""
        rank, world_size, on_node = (
            int(environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_WORLD_SIZE", "1"))
        )
        return cls(rank, world_size, on_node, hosts)

    def host(self, rank: int) -> str | None:
        """Its node, where that is known."""
        node = rank // self.ranks_per_node
        return self.hosts[node] if node < len(self.hosts) else None


def lost_connection(error: BaseException, words: str, place: Place) -> Error:
    """The `error` of a rank whose connection broke; `words` are those of the library, which stay in the rank's log."""
    how = _how(words)
    if isinstance(error, ConnectionError):
        return Error("network", f"a connection {how}", f"logs/rank_{place.rank}.log says where; {RESUME}")
    own = place.host(place.rank)
    if isinstance(error, torch.distributed.DistNetworkError):
        first = place.host(0) or "the first node"
        remedy = f"see whether {first} runs and can be reached{_from(own, first)}; {RESUME}"
        return Error("network", f"the connection to {first}, where ranks meet, {how}", remedy)
    peer = 1 - place.rank if place.world_size == 2 else None
    other = place.host(peer) if peer is not None else _named_host(words, place)
    whom = "another rank" if peer is None else f"rank {peer}"
    where = f" on {other}" if other else _address(words)
    log = f"logs/rank_{'R' if peer is None else peer}.log"
    cause = f"the network{_between(own, other)} broke"
    remedy = f"where {log} ends with an error of its own, that is the cause; else {cause}; {RESUME}"
    return Error("network", f"the connection to {whom}{where} {how}", remedy)


def _how(words: str) -> str:
    if any(said in words for said in NOT_MADE):
        return "could not be made"
    return "gave no answer in time" if any(said in words for said in NO_ANSWER) else "broke off"


def _from(own: str | None, other: str) -> str:
    return f" from {own}" if own and own != other else ""


def _between(own: str | None, other: str | None) -> str:
    return f" between {own} and {other}" if own and other and own != other else ""


def _named_host(words: str, place: Place) -> str | None:
    """The only node, or the other node whose name the library says."""
    if len(set(place.hosts)) == 1:
        return place.hosts[0]
    others = [host for host in place.hosts if host != place.host(place.rank)]
    return next(
        (host for host in others if re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", words)), None
    )


def _address(words: str) -> str:
    """The address that the library says, where it is one that leads to another machine."""
    for found in _ADDRESS.finditer(words):
        try:
            address = ipaddress.ip_address(found[1] or found[2])
        except ValueError:
            continue
        return "" if address.is_loopback else f" at {address}"
    return ""
