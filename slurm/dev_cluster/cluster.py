"""The life of a cluster, and its plain form on loopback."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, Self

from dev_cluster.configuration import STEP_DAEMON, Network, write_configuration
from dev_cluster.leftovers import discard_remains, sweep
from dev_cluster.machine import (
    INSTALL,
    PORTS,
    ClusterError,
    Mistake,
    character_devices,
    daemon_path,
    missing_tools,
    reserved_ports,
    socket_directory,
    user_name,
)
from dev_cluster.record import RECORD, Record, environment, ownership

MAX_NODES = 16
MAX_GPUS = 8
START_TIMEOUT_S = 30.0
STOP_GRACE_S = 1.0
OWN_DIRECTORIES = ("state", "log", "pid", "dev")
SOCKET_DIRECTORIES = ("munge", "spool")


class Cluster(abc.ABC):
    """A Slurm of `nodes` nodes in `directory`; each declares 8 CPUs, 64 GB and `gpus` fake GPUs.

    `extra_conf` adds lines to slurm.conf. `Mistake` is raised for what cannot be started here, `ClusterError` for
    daemons that fail.
    """

    netns: ClassVar[bool]

    def __init__(self, directory: Path | str, *, nodes: int = 4, gpus: int = 0, extra_conf: str = "") -> None:
        if not 1 <= nodes <= MAX_NODES:
            raise Mistake(f"{nodes} nodes: a cluster has 1 to {MAX_NODES}")
        if not 0 <= gpus <= MAX_GPUS:
            raise Mistake(f"{gpus} GPUs: a node has 0 to {MAX_GPUS}")
        self.directory = Path(directory).resolve()
        self.nodes = nodes
        self.gpus = gpus
        self._extra_conf = extra_conf
        self._sockets = self.directory
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The whole environment for a process that uses this cluster."""
        return environment(self.directory)

    @property
    def record(self) -> Record:
        """What others may know of this cluster while it is up."""
        return Record(self.nodes, self.gpus, self.netns, str(self._sockets), self._enter())

    def start(self) -> None:
        """Start every daemon, with no jobs from earlier days, and return once all nodes are idle."""
        self._check_machine()
        self._held.enter_context(ownership(self.directory))
        try:
            self._prepare_directories()
            self._boot()
            self.record.write(self.directory)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, spare_visitors: bool = False) -> None:
        """End the daemons, the jobs and whatever else uses this cluster (see `sweep`); the logs remain."""
        with self._held:
            self._tell_daemons_to_end()
            self._reap_daemons()
            sweep(self.directory, spare_visitors=spare_visitors)
            if self._sockets != self.directory:
                shutil.rmtree(self._sockets, ignore_errors=True)
            (self.directory / RECORD).unlink(missing_ok=True)

    def command(self, argv: Sequence[str], cwd: Path | str | None = None) -> list[str]:
        """`argv` with the words before it that make it run where the Slurm tools work, in `cwd`."""
        enter = self._enter()
        return [*enter, "env", "-C", str(cwd or Path.cwd()), *argv] if enter else list(argv)

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the Slurm tools work, with the variables `env` added, and capture its output as text.

        Raises `ClusterError` with what it said if it fails, unless `check` is off.
        """
        return run_text(
            self.command(argv, cwd), self.env | dict(env or {}), check=check, timeout_s=timeout_s, cwd=cwd
        )

    def start_controller(self, *options: str) -> None:
        """Start slurmctld, first (`-c`: with no memory of other days) or after it died, without waiting until it answers."""
        self._spawn("slurmctld", [*self._enter(), "slurmctld", "-D", *options])

    @abc.abstractmethod
    def start_node(self, number: int) -> None:
        """Start node `number` (from 1), first or after it went down, without waiting until it is idle."""

    @abc.abstractmethod
    def _build_network(self) -> Network: ...

    def _enter(self) -> list[str]:
        return []

    def _tell_daemons_to_end(self) -> None:
        for daemon in self._daemons.values():
            daemon.terminate()

    def _reap_daemons(self) -> None:
        deadline = time.monotonic() + STOP_GRACE_S
        for daemon in self._daemons.values():
            try:
                daemon.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def _check_machine(self) -> None:
        missing = missing_tools(netns=self.netns)
        if missing:
            packages = f"{INSTALL} iproute2 util-linux" if self.netns else INSTALL
            raise Mistake(f"Slurm is not installed here: no {', '.join(missing)}", packages)

    def _prepare_directories(self) -> None:
        discard_remains(self.directory)
        for name in OWN_DIRECTORIES + SOCKET_DIRECTORIES:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        self._sockets = socket_directory(self.directory)
        for name in OWN_DIRECTORIES:
            (self.directory / name).mkdir(mode=0o700)
        for name in SOCKET_DIRECTORIES:
            (self._sockets / name).mkdir(mode=0o711)
        key = self._sockets / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))

    def _boot(self) -> None:
        write_configuration(
            self.directory,
            sockets=self._sockets,
            user=user_name(),
            network=self._build_network(),
            gpus=character_devices(self.directory / "dev", self.gpus),
            extra=self._extra_conf,
        )
        munge = self._sockets / "munge"
        files = [f"--{kind}-file={munge / kind}" for kind in ("key", "pid", "seed")]
        munged = ["munged", "--foreground", "--force", *files, f"--socket={munge / 'sock'}"]
        self._spawn("munged", [*self._enter(), *munged])
        self._wait_for((munge / "sock").is_socket, "munged to listen")
        self.start_controller("-c")
        self._wait_for(self._controller_answers, "slurmctld to answer")
        for number in range(1, self.nodes + 1):
            self.start_node(number)
        self._wait_for(self._all_idle, "all nodes to be idle")

    def _controller_answers(self) -> bool:
        return self.run(["scontrol", "ping"], check=False).returncode == 0

    def _all_idle(self) -> bool:
        idle = self.run(
            ["sinfo", "--noheader", "--partition=main", "--states=idle", "--format=%D"], check=False
        )
        return idle.stdout.strip() == str(self.nodes)

    def _spawn(
        self,
        name: str,
        argv: Sequence[str],
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a daemon that dies with this process, and that a Ctrl-C at the terminal does not reach."""
        if former := self._daemons.get(name):
            former.poll()  # one that died is collected
        with self._output_file(name).open("ab") as log:
            self._daemons[name] = daemon = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                env={"PATH": daemon_path(), "SLURM_CONF": str(self.directory / "slurm.conf")},
                stdin=stdin,
                stdout=stdout or log,
                stderr=log,
                start_new_session=True,
            )
        return daemon

    def _output_file(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.out"

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    raise ClusterError(
                        f"{name} ended with code {daemon.returncode}\n{self._last_words(name)}"
                    )
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"waited {START_TIMEOUT_S:.0f} s for {what}", f"see {self.directory / 'log'}"
                )
            time.sleep(0.01)

    def _last_words(self, name: str) -> str:
        lines = self._output_file(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-5:])


class FlatCluster(Cluster):
    """Every node is a slurmd on this host, told apart by its port; their names do not resolve."""

    netns = False

    def start_node(self, number: int) -> None:
        """See `Cluster.start_node`."""
        name = f"node{number}"
        self._spawn(f"slurmd-{name}", ["slurmd", "-D", "-d", str(self.directory / STEP_DAEMON), "-N", name])

    def _build_network(self) -> Network:
        port = self._held.enter_context(reserved_ports(self.nodes + 1))
        host = socket.gethostname().split(".")[0]
        last = self.nodes
        return Network(
            controller=f"{host}(127.0.0.1)",
            controller_port=port,
            nodes=f"NodeName=node[1-{last}] NodeHostname={host} NodeAddr=127.0.1.[1-{last}] "
            f"Port=[{port + 1}-{port + last}]",
            # Clusters side by side count jobs from different numbers: rendezvous ports are made from job ids.
            first_job_id=port - PORTS.start + 1,
            node_timeout_s=30,  # nothing cuts loopback; a busy machine must not cost a node
        )


def run_text(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    check: bool,
    timeout_s: float,
    cwd: Path | str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, capture its output as text; a failure is a `ClusterError` with what it said, if `check`."""
    done = subprocess.run(
        argv, env=env, cwd=cwd, timeout=timeout_s, text=True, capture_output=True, check=False
    )
    if check and done.returncode:
        raise ClusterError(f"{' '.join(argv)}: code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
