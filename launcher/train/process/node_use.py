"""What a node is busy with, written down by one rank of it now and then: cores, main memory, GPUs.

W&B's own client sees rank 0's node alone; the process beside rank 0 reads these files of all nodes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

from launcher.commands import ask
from launcher.runs.directory import RunDir

EVERY_S = 30.0
COMMAND_TIMEOUT_S = 10.0
GPUS = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


def watch_node(run: RunDir, *, has_gpus: bool, every_s: float = EVERY_S) -> threading.Thread:
    """Write down what this node does, from now until this process ends."""
    node = os.environ.get("LAUNCHER_NODE", "0")
    arguments = (run, int(node) if node.isdecimal() else 0, has_gpus, every_s)
    thread = threading.Thread(target=_watch, args=arguments, name="node-use", daemon=True)
    thread.start()
    return thread


def _watch(run: RunDir, node: int, has_gpus: bool, every_s: float) -> None:
    psutil.cpu_percent()  # what comes is since the last call
    while True:
        time.sleep(every_s)
        figures = {"at": time.time(), **_figures(has_gpus=has_gpus)}
        with suppress(OSError), run.node_use(node).open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")


def _figures(*, has_gpus: bool) -> dict[str, float]:
    own = {"cpu_percent": psutil.cpu_percent(), "memory_percent": psutil.virtual_memory().percent}
    table = ask(GPUS, COMMAND_TIMEOUT_S) if has_gpus else None
    return own if table is None else {**own, **gpu_figures(table)}


def gpu_figures(table: str) -> Mapping[str, float]:
    """Means over the GPUs of a node, of what nvidia-smi says: percent busy, MiB used and MiB in all, one GPU a line."""
    rows = []
    for line in table.splitlines():
        with suppress(ValueError):
            busy, used, total = (float(cell) for cell in line.split(","))
            rows.append((busy, 100 * used / total))
    if not rows:
        return {}
    busy, memory = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return {"gpu_percent": busy, "gpu_memory_percent": memory}
