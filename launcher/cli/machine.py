"""What can be observed where `launch` runs, in a blink and without torch: GPUs, the scheduler, Python, git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cluster import Cluster
from launcher.plan import Machine, resolve_executor
from launcher.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 3.0
GPU_RESOURCE = re.compile(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)")


def observe(recipe: Recipe, cluster: Cluster) -> Machine:
    """The facts that planning this recipe needs; the scheduler is asked only where nothing else says."""
    machine = Machine(has_sbatch=shutil.which("sbatch") is not None, gpus=local_gpus())
    unsaid = recipe.device != "cpu" and cluster.gpus_per_node is None
    if resolve_executor(recipe, machine) != "slurm" or not unsaid:
        return machine
    return Machine(machine.has_sbatch, machine.gpus, slurm_gpus_per_node(cluster.partition))


def local_gpus(environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    listed = len(list(proc.iterdir())) if proc.is_dir() else _listed_gpus()
    if visible is None:
        return listed
    chosen = [entry for entry in visible.split(",") if entry.strip() and not entry.strip().startswith("-")]
    return min(listed, len(chosen))


def _listed_gpus() -> int:
    output = ask(["nvidia-smi", "-L"])
    return 0 if output is None else sum(line.startswith("GPU ") for line in output.splitlines())


def slurm_gpus_per_node(partition: str | None) -> int | None:
    """Most GPUs of a node in the partition (the default one where None); None where Slurm doesn't answer."""
    output = ask(["sinfo", "--noheader", "--format=%P %G"])
    if output is None:
        return None
    return max(_partition_gpus(output.splitlines(), partition), default=0)


def _partition_gpus(lines: Sequence[str], partition: str | None) -> Iterator[int]:
    for line in lines:
        name, _, resources = line.strip().partition(" ")
        if name.rstrip("*") == partition or (partition is None and name.endswith("*")):
            yield sum(int(count) for count in GPU_RESOURCE.findall(resources))


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str | None:
    """What a small program prints; None where it isn't there, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def git_commit(directory: Path) -> str | None:
    """The commit checked out where the code stands, with `-dirty` where files differ; None outside a checkout."""
    commit = ask(["git", "-C", str(directory), "rev-parse", "HEAD"])
    if commit is None:
        return None
    changed = ask(["git", "-C", str(directory), "status", "--porcelain", "--untracked-files=no"])
    return commit.strip() + ("-dirty" if changed else "")
