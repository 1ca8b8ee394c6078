"""Which nodes a Slurm cluster has, what they are busy with, and a job of a minute on several of them."""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from launcher.commands import ask
from launcher.errors import UserError
from launcher.executors.shared.site import Node
from launcher.executors.shared.slurm_commands import environment_apart, message_of, of_cluster
from launcher.executors.shared.slurm_records import ASK_S, NAME

SOON_S = 20
"""Seconds within which a job on idle nodes must have started: somebody else may be quicker."""
LASTS_S = 120.0
"""Longest that such a job may take."""
IDLE = ("idle",)
SHARED = ("mixed",)
BUSY = ("allocated", "mixed", "completing", "planned", "reserved", "allocated+", "blocked")


def read_nodes(partition: str | None, wanted: str | None, *, may_share: bool) -> list[Node]:
    """The nodes of the partitions, or those of a list such as `node[1-4],gpu7`; nodes that others use, too, are free for a job
    that may share them.

    Raises UserError where Slurm doesn't answer, or names no such node.
    """
    of = [f"--nodes={wanted}"] if wanted is not None else [f"--partition={partition}"] if partition else []
    hidden = [] if of and wanted is None else ["--all"]  # sinfo refuses it beside a partition
    output = ask(["sinfo", *hidden, "--noheader", "--Node", "--format=%P|%N|%T|%E", *of], ASK_S)
    if output is None:
        raise UserError("Slurm does not answer", remedy="log in to the cluster, or try: make cluster")
    rows = [line.split("|", 3) for line in output.splitlines()]
    mine = [row for row in rows if len(row) == 4 and (of or row[0].endswith("*")) and NAME.fullmatch(row[1])]
    nodes = {row[1]: _node(row[1], row[2], row[3], may_share=may_share) for row in mine}
    if not nodes:
        where = f"nodes {wanted}" if wanted else f"nodes of the partition {partition or '(default)'}"
        raise UserError(f"Slurm knows no {where}", remedy="sinfo --Node lists the nodes")
    return list(nodes.values())


def _node(name: str, state: str, reason: str, *, may_share: bool) -> Node:
    word = state.rstrip("*~#!%$@^-+").lower()
    answers = not state.endswith("*")
    if answers and state in IDLE + (SHARED if may_share else ()):
        return Node(name, "free")
    if answers and word in BUSY:
        return Node(name, "busy", f"{state}: others use it")
    why = "" if reason.strip() in ("", "none") else f": {reason.strip()}"
    return Node(name, "away", f"{state}{why}" if answers else f"{word}, and does not answer{why}")


def run_on_nodes(
    options: Mapping[str, object], hosts: Sequence[str], script: str, pass_env: Sequence[str] = ()
) -> str | None:
    """Run a script once on each of these nodes, in a job with these options of srun; what it printed.

    None where the nodes can't be had at once. A job that isn't done after two minutes is ended. Raises UserError where it is
    refused. Nothing of it stays, whatever interrupts it.
    """
    name = f"launch-doctor-{secrets.token_hex(4)}"
    command = [
        "srun",
        *of_cluster(),
        f"--job-name={name}",
        f"--nodelist={','.join(hosts)}",
        f"--immediate={SOON_S}",
        "--time=3",
    ]
    command += [
        f"--nodes={len(hosts)}",
        f"--ntasks={len(hosts)}",
        "--ntasks-per-node=1",
        "--wait=60",
        "--kill-on-bad-exit=0",
    ]
    command += [f"--{option}={value}" for option, value in options.items() if value not in (None, False)]
    with _started([*command, "bash", "-c", script], name, pass_env) as process:
        try:
            printed, said = process.communicate(timeout=SOON_S + LASTS_S)
        except subprocess.TimeoutExpired:
            return ""  # what some nodes have done by then is done
    message = message_of(said)
    if re.search(
        r"Unable to allocate resources|Requested nodes are busy|Immediate execution|allocation revoked", said
    ):
        if re.search(r"busy|mmediate|not available.*now|temporarily", said):
            return None
        raise UserError(f"Slurm refuses the job: {message}")
    return printed


@contextlib.contextmanager
def _started(command: Sequence[str], name: str, pass_env: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """srun in a session of its own, so that a Ctrl-C is ours; its job is gone when this is left."""
    process = subprocess.Popen(
        command,
        env=environment_apart(pass_env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            ask(["scancel", f"--name={name}"], ASK_S)
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
