"""Which rank lost its connection to which other, in plain words, as far as it can be known."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from launcher.runs.results import Error

NEVER_MADE = "could not be made"
OTHER_NETWORK = (
    ", or it is not the one that nodes reach each other by, which interface in the cluster profile names"
)
RESUME = "launch resume goes on from the newest checkpoint"
NOT_MADE = ("refused", "unreachable", "connectFullMesh", "failed to connect", "No route to host")
NO_ANSWER = ("timed out", "Timeout", "timeout")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f.:]+)\]:\d+|([0-9A-Fa-f.:]+)<\d+>")
"""How gloo and NCCL write the address of another rank."""


@dataclass(frozen=True)
class ThisRank:
    """This rank among the others."""

    rank: int
    world_size: int
    hosts: Mapping[int, str]
    """The node of each rank, as far as that is known."""

    @classmethod
    def from_torchrun(cls, hosts: Mapping[int, str]) -> ThisRank:
        """As torchrun says."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), hosts)


def lost_connection(error: BaseException, words: str, place: ThisRank) -> Error:
    """The `error` of a rank whose connection broke; `words` are those of the library, which stay in the rank's log."""
    how = _how(words)
    if isinstance(error, ConnectionError):
        return Error("network", f"a connection {how}", f"logs/rank_{place.rank}.log says where; {RESUME}")
    own = place.hosts.get(place.rank)
    if isinstance(error, torch.distributed.DistNetworkError):
        first = place.hosts.get(0) or "the first node"
        remedy = f"see whether {first} runs and can be reached{_from(own, first)}; {RESUME}"
        return Error("network", f"the connection to {first}, where ranks meet, {how}", remedy)
    peer = 1 - place.rank if place.world_size == 2 else None
    other = place.hosts.get(peer) if peer is not None else _named_host(words, place)
    whom = "another rank" if peer is None else f"rank {peer}"
    where = f" on {other}" if other else _address(words)
    log = f"logs/rank_{'R' if peer is None else peer}.log"
    cause = f"the network{_between(own, other)} broke{OTHER_NETWORK if how == NEVER_MADE else ''}"
    remedy = f"where {log} ends with an error of its own, that is the cause; else {cause}; {RESUME}"
    return Error("network", f"the connection to {whom}{where} {how}", remedy)


def _how(words: str) -> str:
    if any(said in words for said in NOT_MADE):
        return NEVER_MADE
    return "gave no answer in time" if any(said in words for said in NO_ANSWER) else "broke off"


def _from(own: str | None, other: str) -> str:
    return f" from {own}" if own and own != other else ""


def _between(own: str | None, other: str | None) -> str:
    return f" between {own} and {other}" if own and other and own != other else ""


def _named_host(words: str, place: ThisRank) -> str | None:
    """The only node, or the other node whose name the library says."""
    all_hosts = sorted(set(place.hosts.values()))
    if len(all_hosts) == 1:
        return all_hosts[0]
    others = [host for host in all_hosts if host != place.hosts.get(place.rank)]
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
