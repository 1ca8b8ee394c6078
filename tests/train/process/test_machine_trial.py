"""The product by which a slow node is found: other work beside a rank doesn't make its node a bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.train.process.machine_trial import REPEATS, ROUNDS, Fault, slow_ranks

ROOT = Path(__file__).resolve().parents[3]
ON_A_CROWDED_CORE = f"""
import os, subprocess, sys, torch
from launcher.train.process.machine_trial import product
cpu, core = torch.device("cpu"), min(os.sched_getaffinity(0))
product(cpu)
for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), [core])
beside = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(8)]
try:
    print(product(cpu, {REPEATS * ROUNDS})[0])
finally:
    for process in beside:
        process.kill()
"""
"""Seconds of a product of four threads that share a core with eight processes which compute without a pause."""
HOSTS = ("node1", "node2")


@pytest.mark.long
@pytest.mark.fault(14)
def test_a_node_that_has_other_work_is_no_slow_node() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "4"}
    command = [sys.executable, "-c", ON_A_CROWDED_CORE]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=True)
    assert list(slow_ranks((0.004, float(done.stdout)), HOSTS)) == []


def test_a_node_that_takes_longer_itself_is_slow() -> None:
    said = "a product takes 120 ms, and 4 ms on the other nodes"
    assert list(slow_ranks((0.004, 0.12), HOSTS)) == [Fault(1, "node2", said)]
