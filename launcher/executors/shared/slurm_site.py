"""What Slurm says of its cluster, by sinfo, scontrol and sacctmgr; all of it is data that others have written."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from launcher.commands import ask
from launcher.errors import Problem, RunFailed, UserError
from launcher.executors.shared.site import Partition, Site

ASK_S = 20.0
PROBE_S = 150.0
"""Longest to wait for a job of a minute: most of it in the queue."""
UNLIMITED = ("UNLIMITED", "INFINITE", "NONE", "N/A", "(null)", "")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TIME = re.compile(r"(?:\d{1,4}-)?\d{1,3}(?::\d{2}){0,2}")
GPU = re.compile(r"(?:^|,)gpu:(?:([A-Za-z0-9][A-Za-z0-9_.-]*):)?(\d{1,3})(?=[(,]|$)")


def read_site() -> Site:
    """The cluster that Slurm's commands talk to. Raises UserError where it doesn't answer."""
    listed = ask(["scontrol", "-o", "show", "partition"], ASK_S)
    partitions = (
        [] if listed is None else [found for line in listed.splitlines() if (found := _partition(line))]
    )
    if not partitions:
        remedy = "log in to the cluster, look at scontrol show partition, or try: make cluster"
        raise UserError(Problem("Slurm names no partition that is up", remedy=remedy))
    config = dict(
        re.findall(r"^(\w+)\s*= (.*?)\s*$", ask(["scontrol", "show", "config"], ASK_S) or "", re.MULTILINE)
    )
    account, accounts = _accounts(config)
    return Site(
        name=_name(config.get("ClusterName")) or "cluster",
        partitions=tuple(partitions),
        account=account,
        accounts=accounts,
        counts_gpus=config.get("SelectType", "").endswith("cons_tres"),
        containers=tuple(_containers()),
    )


def _name(text: str | None) -> str | None:
    """A word of Slurm's that can be a name, or None."""
    return text if text is not None and NAME.fullmatch(text) else None


def _partition(line: str) -> Partition | None:
    """A line of `scontrol -o show partition`; None for one that is down or hasn't a plain name."""
    fields = dict(re.findall(r"(?:^| )(\w+)=(\S*)", line))
    name = _name(fields.get("PartitionName"))
    if name is None or fields.get("State") != "UP":
        return None
    nodes = list(_nodes(name))
    gpus = [(kind, int(count)) for _, resources in nodes for kind, count in GPU.findall(resources)]
    longest = fields.get("MaxTime", "")
    return Partition(
        name=name,
        default=fields.get("Default") == "YES",
        nodes=_number(fields, "TotalNodes") or 0,
        cpus=min((cpus for cpus, _ in nodes), default=1),
        gpus=max((count for _, count in gpus), default=0),
        gpu_types=tuple(dict.fromkeys(kind for kind, _ in gpus if kind)),
        most_nodes=_number(fields, "MaxNodes"),
        longest=longest if TIME.fullmatch(longest) else None,
        has_default_time=fields.get("DefaultTime", "") not in UNLIMITED,
        memory_mib_per_cpu=_number(fields, "DefMemPerCPU"),
    )


def _nodes(partition: str) -> Iterator[tuple[int, str]]:
    """CPUs and generic resources of each kind of node."""
    output = ask(["sinfo", "--noheader", f"--partition={partition}", "--format=%c|%G"], ASK_S) or ""
    for line in output.splitlines():
        cpus, _, resources = line.partition("|")
        if cpus.rstrip("+").isdecimal():
            yield int(cpus.rstrip("+")), resources


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 and int(text) > 0 else None


def _accounts(config: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """The user's default account, and all of them; nothing where there is no accounting."""
    if "slurmdbd" not in config.get("AccountingStorageType", ""):
        return None, ()
    user = f"user={getpass.getuser()}"
    own = ask(["sacctmgr", "-nP", "show", "assoc", user, "format=account"], ASK_S) or ""
    names = tuple(dict.fromkeys(name for line in own.splitlines() if (name := _name(line.strip()))))
    said = ask(["sacctmgr", "-nP", "show", "user", user, "format=defaultaccount"], ASK_S) or ""
    default = _name(said.strip().partition("\n")[0])
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
        done = _srun(command)
    except FileNotFoundError:
        raise UserError(
            Problem("Slurm is not here: no srun on PATH", remedy="log in to the cluster")
        ) from None
    except subprocess.TimeoutExpired:
        ask(["scancel", f"--name={name}"], ASK_S)
        raise RunFailed("scheduler", f"the job of a minute did not start within {PROBE_S:.0f} s") from None
    except KeyboardInterrupt:
        ask(["scancel", f"--name={name}"], ASK_S)
        raise
    if done.returncode:
        lines = [re.sub(r"^srun: (error: |fatal: )?", "", line).strip() for line in done.stderr.splitlines()]
        raise UserError(Problem(f"the job of a minute failed: {'; '.join(filter(None, lines))}"))
    return done.stdout


def _srun(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run it as a job of its own, also where this is called within a job."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_JOB", "SLURM_STEP", "SLURM_N"))
    }
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROBE_S,
        check=False,
        errors="replace",
    )
