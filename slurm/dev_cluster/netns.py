"""A cluster whose nodes are as separate as machines: for tests of what happens when one of them fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dev_cluster.cluster import Cluster, run_text
from dev_cluster.configuration import STEP_DAEMON, Network
from dev_cluster.machine import ClusterError, Mistake

PREFIX = "10.77.0"
CONTROLLER = "ctl"

# Process 1 of a machine is given the machine's name and address and the cluster's directory. It stays a shell that
# waits, and so collects the orphans of jobs, which slurmd would leave as zombies.
MACHINE_INIT = """\
set -e
mount --bind "$3/hosts" /etc/hosts
hostname "$1"
ip link set lo up
"""
CONTROLLER_INIT = f"""{MACHINE_INIT}
ip link add br0 type bridge forward_delay 0
ip addr add "$2/24" dev br0
ip link set br0 up
echo ready
exec >&2
sleep infinity & wait $!
"""
NODE_INIT = f"""{MACHINE_INIT}
mount -t tmpfs shm /dev/shm
echo ready
exec >&2
read -r _plugged_in
ip addr add "$2/24" dev eth0
ip link set eth0 up
slurmd -D -d "$3/{STEP_DAEMON}" & wait $!
"""


class NetnsCluster(Cluster):
    """Every node, and the controller, has its own network, host name, processes and mounts; needs root.

    The nodes `node1` and so on have the addresses 10.77.0.1 and so on, on a bridge in the controller's namespace.
    They share all files but /dev/shm.
    """

    netns = True

    def __init__(self, directory: Path | str, *, nodes: int = 4, gpus: int = 0, extra_conf: str = "") -> None:
        super().__init__(directory, nodes=nodes, gpus=gpus, extra_conf=extra_conf)
        self._inits: dict[str, int] = {}

    def start_node(self, number: int) -> None:
        """See `Cluster.start_node`; after `kill_node` the machine comes up anew."""
        name = self._name(number)
        if name in self._inits:
            raise Mistake(f"{name} is already running")
        node = self._start_machine(name, f"{PREFIX}.{number}", NODE_INIT, stdin=subprocess.PIPE)
        self._link("del", name, check=False)
        # The card keeps its address over a restart, or the others would go on asking for the old one.
        card = [
            "peer",
            "name",
            "eth0",
            "address",
            f"02:00:00:00:00:{number:02x}",
            "netns",
            str(self._inits[name]),
        ]
        self._link("add", name, "type", "veth", *card)
        self._link("set", name, "master", "br0", "up")
        assert node.stdin is not None
        with node.stdin as told:
            told.write(b"plugged in\n")

    def kill_node(self, number: int) -> None:
        """Switch node `number` off: every process on it is gone, and nothing says goodbye."""
        name = self._running(number)
        os.kill(self._inits.pop(name), signal.SIGKILL)
        self._daemons.pop(name).wait()

    def halt_node(self, number: int) -> None:
        """Have every process on node `number` stand still, its daemons too."""
        self._signal(self._inits[self._running(number)], signal.SIGSTOP)

    def continue_node(self, number: int) -> None:
        """Have what `halt_node` has halted go on."""
        self._signal(self._inits[self._running(number)], signal.SIGCONT)

    def cut_network(self, number: int) -> None:
        """Pull the cable of node `number`; what runs on it runs on."""
        self._link("set", self._running(number), "down")

    def restore_network(self, number: int) -> None:
        """Plug the cable of node `number` in again."""
        self._link("set", self._running(number), "up")

    def run_on(
        self, number: int, argv: Sequence[str], *, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on node `number`, as `run` does on the controller."""
        enter = _enter_namespaces(self._inits[self._running(number)])
        return run_text([*enter, *argv], self.env, check=check, timeout_s=timeout_s)

    def _name(self, number: int) -> str:
        if not 1 <= number <= self.nodes:
            raise Mistake(f"no node {number}: they are 1 to {self.nodes}")
        return f"node{number}"

    def _running(self, number: int) -> str:
        name = self._name(number)
        if name not in self._inits:
            raise Mistake(f"{name} is not running")
        return name

    @staticmethod
    def _signal(init: int, number: signal.Signals) -> None:
        """Send a signal to all processes of a machine."""
        machine = Path(f"/proc/{init}/ns/pid").readlink()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == machine:
                    os.kill(int(entry.name), number)

    def _link(self, *words: str, check: bool = True) -> None:
        """Run `ip link` among the cables of the bridge, each named after its node."""
        ip = ["nsenter", "--target", str(self._inits[CONTROLLER]), "--net", "ip", "link", *words]
        run_text(ip, os.environ, check=check, timeout_s=10)

    def _check_machine(self) -> None:
        super()._check_machine()
        if os.geteuid() != 0:
            raise Mistake("separate namespaces need root", "run it as root, or without --netns")

    def _enter(self) -> list[str]:
        return _enter_namespaces(self._inits[CONTROLLER]) if CONTROLLER in self._inits else []

    def _build_network(self) -> Network:
        names = {254: CONTROLLER} | {number: self._name(number) for number in range(1, self.nodes + 1)}
        hosts = ["127.0.0.1 localhost", *(f"{PREFIX}.{number} {name}" for number, name in names.items())]
        (self.directory / "hosts").write_text("\n".join(hosts) + "\n")
        self._start_machine(CONTROLLER, f"{PREFIX}.254", CONTROLLER_INIT)
        return Network(
            controller=f"{CONTROLLER}({PREFIX}.254)",
            controller_port=6817,
            nodes=f"NodeName=node[1-{self.nodes}] NodeAddr={PREFIX}.[1-{self.nodes}] Port=6818",
            first_job_id=1,
            node_timeout_s=5,  # tests wait for it
        )

    def _start_machine(
        self, name: str, address: str, init: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Run `init` as process 1 of new namespaces; return once it has set itself up."""
        namespaces = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        argv = ["unshare", *namespaces, "sh", "-c", init, "sh", name, address, str(self.directory)]
        machine = self._spawn(name, argv, stdin=stdin, stdout=subprocess.PIPE)
        assert machine.stdout is not None
        with machine.stdout as said:
            if said.readline() != b"ready\n":
                raise ClusterError(f"{name} did not start\n{self._last_words(name)}")
        self._inits[name] = int(Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text())
        return machine

    def _tell_daemons_to_end(self) -> None:
        # Not by a signal to their nsenter: it must live to collect its child, or the namespace lingers.
        for init in self._inits.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, signal.SIGKILL)
        self._inits.clear()


def _enter_namespaces(init: int) -> list[str]:
    return ["nsenter", "--target", str(init), "--net", "--uts", "--mount", "--pid", "--"]
