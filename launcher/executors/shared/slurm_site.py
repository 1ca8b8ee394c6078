"""What Slurm says of its cluster, by sinfo, scontrol and sacctmgr; all of it is data that others have written."""

from __future__ import annotations

import getpass
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping

from launcher.commands import ask, run_command
from launcher.errors import RunFailed, UserError
from launcher.executors.shared import slurm_records
from launcher.executors.shared.site import Partition, Site
from launcher.executors.shared.slurm_commands import environment_apart, of_cluster
from launcher.executors.shared.slurm_records import ASK_S, SlurmPartition, name_of

PROBE_S = 150.0
"""Longest to wait for a job of a minute: most of it in the queue."""
GPU = re.compile(r"(?:^|,)gpu:(?:([A-Za-z0-9][A-Za-z0-9_.-]*):)?(\d{1,3})(?=[(,]|$)")


def read_site() -> Site:
    """The cluster that Slurm's commands talk to. Raises UserError where it doesn't answer."""
    listed = [_partition(each) for each in slurm_records.partitions() if each.is_up]
    if not listed:
        remedy = "log in to the cluster, look at scontrol show partition, or try: make cluster"
        raise UserError("Slurm names no partition that is up", remedy=remedy)
    config = slurm_records.config()
    account, accounts = _accounts() if config.has_accounting else (None, ())
    return Site(
        name=config.name or "cluster",
        partitions=tuple(listed),
        account=account,
        accounts=accounts,
        counts_gpus=config.counts_gpus,
        containers=tuple(_containers()),
    )


def _partition(told: SlurmPartition) -> Partition:
    nodes = list(_nodes(told.name))
    gpus = [(kind, int(count)) for _, resources in nodes for kind, count in GPU.findall(resources)]
    return Partition(
        name=told.name,
        default=told.is_default,
        nodes=told.nodes,
        cpus=min((cpus for cpus, _ in nodes), default=1),
        gpus=max((count for _, count in gpus), default=0),
        gpu_types=tuple(dict.fromkeys(kind for kind, _ in gpus if kind)),
        most_nodes=told.most_nodes,
        longest=told.longest,
        has_default_time=told.has_default_time,
        memory_mib_per_cpu=told.memory_mib_per_cpu,
    )


def _nodes(partition: str) -> Iterator[tuple[int, str]]:
    """CPUs and generic resources of each kind of node."""
    output = ask(["sinfo", "--noheader", f"--partition={partition}", "--format=%c|%G"], ASK_S) or ""
    for line in output.splitlines():
        cpus, _, resources = line.partition("|")
        if cpus.rstrip("+").isdecimal():
            yield int(cpus.rstrip("+")), resources


def _accounts() -> tuple[str | None, tuple[str, ...]]:
    """The user's default account, and all of them, as accounting has them."""
    user = f"user={getpass.getuser()}"
    own = ask(["sacctmgr", "-nP", "show", "assoc", user, "format=account"], ASK_S) or ""
    names = tuple(dict.fromkeys(name for line in own.splitlines() if (name := name_of(line.strip()))))
    said = ask(["sacctmgr", "-nP", "show", "user", user, "format=defaultaccount"], ASK_S) or ""
    default = name_of(said.strip().partition("\n")[0])
    return default or next(iter(names), None), names


def _containers() -> Iterator[str]:
    if "--container-image" in (ask(["srun", "--help"], ASK_S) or ""):
        yield "pyxis"


def run_on_a_node(options: Mapping[str, object], script: str) -> str:
    """What a script prints in a job of a minute on one node, asked for with these options of srun.

    Raises UserError with Slurm's sentence where the job is refused, RunFailed where it didn't start in time. Nothing of
    it stays in the queue.
    """
    name = f"launch-init-{secrets.token_hex(4)}"
    given = [f"--{option}={value}" for option, value in options.items() if value not in (None, False)]
    command = [
        "srun",
        *of_cluster(),
        "--nodes=1",
        "--ntasks=1",
        "--time=1",
        f"--job-name={name}",
        *given,
        "bash",
        "-c",
        script,
    ]
    try:
        done = run_command(command, PROBE_S, environment_apart())
    except FileNotFoundError:
        raise UserError("Slurm is not here: no srun on PATH", remedy="log in to the cluster") from None
    except subprocess.TimeoutExpired:
        ask(["scancel", f"--name={name}"], ASK_S)
        raise RunFailed("scheduler", f"the job of a minute did not start within {PROBE_S:.0f} s") from None
    except KeyboardInterrupt:
        ask(["scancel", f"--name={name}"], ASK_S)
        raise
    if done.returncode:
        lines = [re.sub(r"^srun: (error: |fatal: )?", "", line).strip() for line in done.stderr.splitlines()]
        raise UserError(f"the job of a minute failed: {'; '.join(filter(None, lines))}")
    return done.stdout
