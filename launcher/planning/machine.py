"""What can be observed where `launch` runs, in a blink and without torch: GPUs, the scheduler, Python, git."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from launcher.commands import ask
from launcher.control_groups import cores
from launcher.engine.machine import asked_threads, cpu_name
from launcher.engine.speeds import read_known
from launcher.executors import SCHEDULERS, executor_for
from launcher.planning.surroundings import Machine, resolve_executor
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import AUTO, Recipe

LINKS_S = 60.0
"""A compiler that takes longer than this for an empty file says nothing about what it would find."""


_GPU = re.compile("[0-9]+|(GPU|MIG)-.+")
"""How CUDA_VISIBLE_DEVICES names a GPU, or a part of one; a scheduler that gives none may write `NoDevFiles`."""


def observe(recipe: Recipe, cluster: Cluster, submits: bool = True) -> Machine:
    """The facts that planning this recipe needs; a scheduler is asked only where nothing else says."""
    machine = Machine(
        scheduler=scheduler_here() if recipe.executor == AUTO else None,
        gpus=local_gpus(),
        native_bf16=native_bf16(),
        cores=cores(),
        threads=asked_threads(),
        submits=submits,
        cpu=cpu_name(),
        known=read_known(),
    )
    executor = executor_for(resolve_executor(recipe, machine))
    machine = replace(machine, grace_s=executor.grace_s(cluster.partition))
    if not executor.takes_nodes or recipe.device == "cpu" or cluster.gpus_per_node is not None:
        return machine
    return replace(machine, scheduler_gpus=executor.gpus_per_node(cluster.partition))


def scheduler_here() -> str | None:
    """The scheduler that jobs can be submitted to from this machine, by the name of its executor; None for none."""
    return next((name for name in SCHEDULERS if executor_for(name).is_set_up()), None)


def native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU says that it computes in bf16; True where nobody can say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", text) is not None


def local_gpus(environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible: none from the first word on that names no GPU."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    listed = len(list(proc.iterdir())) if proc.is_dir() else _listed_gpus()
    if visible is None:
        return listed
    chosen = itertools.takewhile(_GPU.fullmatch, map(str.strip, visible.split(",")))
    return min(listed, len(list(chosen)))


def _listed_gpus() -> int:
    output = ask(["nvidia-smi", "-L"])
    return 0 if output is None else sum(line.startswith("GPU ") for line in output.splitlines())


def has_async_io() -> bool:
    """Whether DeepSpeed's async_io is there, or can be compiled here: it takes a C compiler and libaio with its headers."""
    deepspeed = importlib.util.find_spec("deepspeed")
    if deepspeed is not None and deepspeed.origin is not None:
        built = Path(deepspeed.origin).parent / "ops" / "aio"
        if any(built.glob("async_io_op*.so")):
            return True
    with tempfile.TemporaryDirectory() as directory:
        source, library = Path(directory) / "empty.c", Path(directory) / "empty.so"
        source.write_text("#include <libaio.h>\n", encoding="utf-8")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, "-shared", "-fPIC", str(source), "-o", str(library), "-laio"]
        try:
            return subprocess.run(command, capture_output=True, timeout=LINKS_S, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return True
        except OSError:
            return False
