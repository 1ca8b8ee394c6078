"""What a cluster asks of the machine it runs on: programs, free ports, short socket paths, devices, a user name."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

INSTALL = "sudo apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
"""The command that installs what `missing_tools` misses on Debian and Ubuntu."""
PORTS = range(10000, 20000)
"""Ports of the daemons: clear of torchrun's rendezvous (20000 to 29999) and below the ephemeral range."""
PORTS_PER_CLUSTER = 20
LONGEST_SOCKET = "/spool/node16/node16_9999999.4294967295"
"""The longest name that slurmstepd gives a Unix socket, below the directory of a cluster."""
SOCKET_PATH_LIMIT = 107


class ClusterError(Exception):
    """The cluster failed; `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(f"{message}\n    -> {remedy}" if remedy else message)


class Mistake(ClusterError):
    """Something was asked that cannot be done here; nothing was started."""

    exit_code = 2


def missing_tools(*, netns: bool = False) -> list[str]:
    """Programs that a cluster (with `netns`, a `NetnsCluster`) needs and this machine lacks."""
    needed = ["munged", "slurmctld", "slurmd", "slurmstepd", "scontrol", "sinfo", "squeue", "srun", "sbatch"]
    needed += ["setpriv"]
    needed += ["unshare", "nsenter", "ip"] if netns else []
    return [tool for tool in needed if shutil.which(tool, path=daemon_path()) is None]


def daemon_path() -> str:
    """PATH with the directories of the daemons, which an ordinary user's lacks."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def user_name() -> str:
    """The name that this process's user has in the password file; Slurm takes no number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Mistake(
            f"user {os.geteuid()} has no name, which Slurm needs", "add it to /etc/passwd"
        ) from None


def socket_directory(home: Path) -> Path:
    """`home`, or a new short directory elsewhere if Unix sockets below `home` would have too long a path."""
    if len(os.fsencode(home)) + len(LONGEST_SOCKET) <= SOCKET_PATH_LIMIT:
        return home
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = len(runtime) <= len("/run/user/4294967295") and os.access(runtime, os.W_OK | os.X_OK)
    return Path(tempfile.mkdtemp(prefix="dev-cluster-", dir=runtime if usable else "/tmp"))


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[int]:
    """The first of `count` free ports, which no other cluster takes while this is held.

    A name in the abstract socket space is a lock for the whole machine that the kernel gives back.
    """
    assert count <= PORTS_PER_CLUSTER
    blocks = range(PORTS.start, PORTS.stop, PORTS_PER_CLUSTER)
    for first in random.sample(blocks, len(blocks)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind(f"\0dev-cluster-ports-{first}")
            except OSError:
                continue
            if all(_can_listen(port) for port in range(first, first + count)):
                yield first
                return
    raise ClusterError(f"no {count} free ports in a row between {PORTS.start} and {PORTS.stop - 1}")


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        # As Slurm does: connections of an earlier cluster that linger in TIME_WAIT are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def character_devices(directory: Path, count: int) -> list[Path]:
    """`count` character devices for Slurm to call GPUs: made in `directory` where we may, terminals otherwise.

    Slurm only looks at them; but it wants distinct ones, and takes no mere number of GPUs.
    """
    own = [directory / f"nvidia{index}" for index in range(count)]
    try:
        for index, device in enumerate(own):
            os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(195, index))
        return own
    except OSError:
        terminals = [path for path in sorted(Path("/dev").glob("tty[0-9]")) if path.is_char_device()]
    if len(terminals) < count:
        raise Mistake(
            f"cannot make {count} devices to stand for GPUs, and /dev has {len(terminals)} terminals to use instead",
            "start it as root, or with fewer GPUs",
        )
    return terminals[:count]
