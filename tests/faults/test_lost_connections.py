"""Ranks that lose each other while both live."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.launched import RECIPE, STEPS, Training
from support.training import losses

from launcher.runs.records import read_json

CUTS = """
import contextlib
import os
import socket

import torch

calls = 0


def cut_connections():
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found = socket.socket(fileno=os.dup(int(name)))
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getpeername():
                found.shutdown(socket.SHUT_RDWR)


def loss(logits, labels):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and os.environ["LAUNCHER_ATTEMPT"] == "1" and calls == 12:
        cut_connections()
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""


@pytest.mark.fault(32)
def test_all_connections_of_a_rank_are_cut(start: Callable[..., Training], tmp_path: Path) -> None:
    """Whichever of the two notices first names the other, and the run goes on by itself."""
    (tmp_path / "cuts.py").write_text(CUTS)
    training = start(*RECIPE, "gpus=2", "run_id=r", "--loss-file", "cuts.py")
    said = training.end(code=0)
    error = (read_json(training.run.attempt(1).result) or {})["error"]
    host = os.uname().nodename
    other = 1 - error["rank"]
    assert (error["class"], error["host"]) == ("network", host)
    assert 10 <= error["step"] <= 12  # who notices may not have read what the last step gave
    assert error["message"] == f"the connection to rank {other} on {host} broke off"
    assert f"logs/rank_{other}.log" in error["remedy"]
    assert f"the connection to rank {other} on {host} broke off" in said
    assert "pair.cc" not in said
    assert "Traceback" in training.run.rank_log(error["rank"]).read_text()
    assert len(losses(training.run)) == STEPS
