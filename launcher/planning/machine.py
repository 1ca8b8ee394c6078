"""What can be observed where `launch` runs, in a blink and without torch: GPUs, the scheduler, Python, git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.planning.plan import Machine, resolve_executor
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 3.0
GPU_RESOURCE = re.compile(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)")


def observe(recipe: Recipe, cluster: Cluster, submits: bool = True) -> Machine:
    """The facts that planning this recipe needs; the scheduler is asked only where nothing else says."""
    machine = Machine(
        has_sbatch=recipe.executor == "auto" and slurm_is_set_up(),
        gpus=local_gpus(),
        native_bf16=native_bf16(),
        cores=len(os.sched_getaffinity(0)),
        submits=submits,
    )
    unsaid = recipe.device != "cpu" and cluster.gpus_per_node is None
    if resolve_executor(recipe, machine) != "slurm" or not unsaid:
        return machine
    return replace(machine, slurm_gpus_per_node=slurm_gpus_per_node(cluster.partition))


def slurm_is_set_up() -> bool:
    """Whether sbatch is on PATH and has a configuration: the distribution's client alone has no cluster.

    A controller that doesn't answer at the moment is still a cluster: nothing is trained on its login node instead.
    """
    if shutil.which("sbatch") is None:
        return False
    try:
        done = subprocess.run(
            ["sinfo", "--noheader"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return "Could not establish a configuration source" not in done.stderr


def native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU says that it computes in bf16; True where nobody can say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", text) is not None


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
    """Most GPUs of a node in the partitions (the default one where None); None where Slurm doesn't answer."""
    output = ask(["sinfo", "--noheader", "--format=%P %G"])
    if output is None:
        return None
    return max(_partition_gpus(output.splitlines(), partition), default=0)


def _partition_gpus(lines: Sequence[str], partition: str | None) -> Iterator[int]:
    for line in lines:
        name, _, resources = line.strip().partition(" ")
        asked = name.endswith("*") if partition is None else name.rstrip("*") in partition.split(",")
        if asked:
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
    """The commit of the code in `directory`, with `-dirty` where files differ; None where it is no checkout of ours.

    A package installed below somebody else's checkout is not tracked there.
    """
    git = ["git", "-C", str(directory)]
    if ask([*git, "ls-files", "--error-unmatch", "__init__.py"]) is None:
        return None
    commit = ask([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
    return None if commit is None else commit.strip()
