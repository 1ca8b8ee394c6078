"""The command line of the development cluster: `dev-cluster start|stop|status|env|run`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dev_cluster.cluster import MAX_GPUS, MAX_NODES, Cluster, FlatCluster
from dev_cluster.leftovers import discard_remains
from dev_cluster.machine import ClusterError, Mistake
from dev_cluster.netns import NetnsCluster
from dev_cluster.record import Record, environment, exports, owner, read_record

EXIT_DOWN = 3
STOP_TIMEOUT_S = 10.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DESCRIPTION = "A real Slurm of several nodes on this machine, for development and tests."
EPILOG = "exit codes: 0 done; 1 the cluster failed; 2 a mistake in what was asked; 3 no cluster is up; run: CMD's own"


def main(argv: Sequence[str]) -> int:
    """Do what `argv` (without the program's name) asks; returns the exit code."""
    own, command = _split_command(argv)
    options = _parser().parse_args(own)
    options.command = command
    options.dir = options.dir.resolve()
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        if command and verb is not _run:
            raise Mistake("a command after `--` belongs to `run` alone")
        return verb(options)
    except ClusterError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _split_command(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    if "--" not in argv:
        return argv, []
    at = list(argv).index("--")
    return argv[:at], argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--dir", type=Path, default=Path(".cluster"), help="where it lives (default: .cluster)"
    )
    what = argparse.ArgumentParser(add_help=False)
    what.add_argument("--nodes", type=int, default=4, metavar=f"1..{MAX_NODES}", help="default: 4")
    what.add_argument("--gpus", type=int, default=0, metavar=f"0..{MAX_GPUS}", help="fake GPUs on each node")
    what.add_argument(
        "--netns", action="store_true", help="a network, host name and processes for each node (root)"
    )
    parser = argparse.ArgumentParser("dev-cluster", description=DESCRIPTION, epilog=EPILOG)
    verbs = parser.add_subparsers(required=True, metavar="start|stop|status|env|run")
    for name, verb, options, text in (
        ("start", _start, [where, what], "start a cluster that outlives this terminal"),
        ("stop", _stop, [where], "stop it, with its jobs"),
        ("status", _status, [where], "its nodes and jobs; exit code 3 if it is down"),
        ("env", _env, [where], "print what to export, for eval"),
        ("run", _run, [where, what], "start one, run the command after `--` in it, stop it"),
    ):
        verbs.add_parser(name, parents=options, help=text, description=text).set_defaults(verb=verb)
    return parser


def _cluster(options: argparse.Namespace) -> Cluster:
    kind = NetnsCluster if options.netns else FlatCluster
    return kind(options.dir, nodes=options.nodes, gpus=options.gpus)


def _start(options: argparse.Namespace) -> int:
    cluster = _cluster(options)
    if owner(cluster.directory) is not None:
        return _already_running(cluster)
    began = time.monotonic()
    code, message = _supervise_in_background(cluster)
    if code:
        _say(message)
        return code
    _say(f"up in {time.monotonic() - began:.1f} s: {cluster.record.shape}, in {cluster.directory}")
    _say(f'to use it: eval "$({_command("env", options)})"')
    return 0


def _command(verb: str, options: argparse.Namespace) -> str:
    """A command of ours for the same directory."""
    at = () if options.dir == Path(".cluster").resolve() else ("--dir", str(options.dir))
    return shlex.join([sys.argv[0], verb, *at])


def _already_running(cluster: Cluster) -> int:
    running = read_record(cluster.directory)
    if running is None:
        raise Mistake(
            f"a cluster is just starting or stopping in {cluster.directory}", "try again in a second"
        )
    if running.shape != cluster.record.shape:
        remedy = "stop it first, or name another --dir"
        raise Mistake(f"already running in {cluster.directory}, but with {running.shape}", remedy)
    _say(f"already running: {running.shape}, in {cluster.directory}")
    return 0


def _supervise_in_background(cluster: Cluster) -> tuple[int, str]:
    """Fork the process that owns the cluster; returns its exit code (0: all nodes are up) and message."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os._exit(_supervise(cluster, writer))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        code, _, message = pipe.read().partition(" ")
    return int(code or 1), message or "the cluster's own process died"


def _supervise(cluster: Cluster, report: int) -> int:
    """Own the cluster until a signal; say on the pipe `report` how the start went."""
    os.setsid()
    try:
        with _signals_as_exit():
            cluster.start()
            try:
                os.write(report, b"0 up")  # raises where the starter is gone: Ctrl-C, for one
                _leave_terminal(cluster.directory / "log" / "supervisor.out", report)
                while True:
                    signal.pause()
            finally:
                cluster.stop(spare_visitors=True)
    except (SystemExit, BrokenPipeError):
        return 0
    except ClusterError as error:
        failure = f"{error.exit_code} {error}"
    except Exception:  # noqa: BLE001 (whatever it is, the terminal must hear of it)
        failure = f"1 {traceback.format_exc()}"
    with contextlib.suppress(BrokenPipeError):
        os.write(report, failure.encode())
    return 1


def _leave_terminal(log: Path, report: int) -> None:
    """Let go of the terminal and of the starter, which waits for the end of `report`: later words go to `log`."""
    os.chdir(log.parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2), (output, report)):
        os.dup2(source, target, inheritable=target <= 2)


def _stop(options: argparse.Namespace) -> int:
    pid = owner(options.dir)
    if pid is None:
        if options.dir.is_dir():
            discard_remains(options.dir)
        _say(f"no cluster is running in {options.dir}")
        return 0
    _signal_owner(pid, signal.SIGTERM)
    if not _ends(options.dir, STOP_TIMEOUT_S):
        _signal_owner(pid, signal.SIGKILL)
        _ends(options.dir, 1.0)
        discard_remains(options.dir)
    _say(f"stopped: {options.dir}")
    return 0


def _signal_owner(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise Mistake(f"this cluster belongs to another user (process {pid})") from None


def _ends(directory: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while owner(directory) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _status(options: argparse.Namespace) -> int:
    record = _record_of_running(options.dir)
    if record is None:
        print(f"down: no cluster is up in {options.dir}")
        return EXIT_DOWN
    if _ask(record, options.dir, "scontrol", "ping").returncode:
        print(f"down: its controller does not answer; see {options.dir / 'log'}")
        return EXIT_DOWN
    nodes = ["sinfo", "-N", "--partition=main", "--format=%8N %10T %4c %7m %G %E"]
    jobs = ["squeue", "--format=%8i %9P %16j %12T %10M %5D %R"]
    tables = [_ask(record, options.dir, *table).stdout for table in (nodes, jobs)]
    print(f"up: {record.shape}, in {options.dir}", *tables, sep="\n", end="")
    return 0


def _record_of_running(directory: Path) -> Record | None:
    return None if owner(directory) is None else read_record(directory)


def _ask(record: Record, directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [*record.enter, *argv]
    return subprocess.run(command, env=environment(directory), text=True, capture_output=True, check=False)


def _env(options: argparse.Namespace) -> int:
    record = _record_of_running(options.dir)
    if record is None:
        _say(f"no cluster is up in {options.dir}\n    -> start one: {_command('start', options)}")
        return EXIT_DOWN
    for name, value in exports(options.dir).items():
        print(f"export {name}={shlex.quote(value)}")
    if record.enter:
        _say(
            f'the cluster has its own network: put this before each command: {shlex.join(record.enter)} env -C "$PWD"'
        )
    return 0


def _run(options: argparse.Namespace) -> int:
    if not options.command:
        raise Mistake("nothing to run", "dev-cluster run [OPTIONS] -- CMD [ARGUMENT ...]")
    with _signals_as_exit(), _cluster(options) as cluster:
        return _run_child(cluster.command(options.command), cluster.env)


def _run_child(argv: Sequence[str], env: dict[str, str]) -> int:
    """The command's exit code as a shell would tell it; it gets our signals, and we outlive it."""
    try:
        child = subprocess.Popen(argv, env=env)
    except OSError as error:
        _say(f"{argv[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    # The terminal sends Ctrl-C to the command itself.
    with _handling(signal.SIGINT, lambda *_: None), _handling(signal.SIGTERM, lambda *_: child.terminate()):
        code = child.wait()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _handling(number: signal.Signals, handler: Callable[[int, object], None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Turn the first signal that asks us to end into SystemExit, and let nothing disturb what it then takes."""

    def leave(number: int, _: object) -> None:
        for other in ENDING_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with contextlib.ExitStack() as handlers:
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's `&` set it
                handlers.enter_context(_handling(number, leave))
        yield


def _say(message: str) -> None:
    print(f"dev-cluster: {message}", file=sys.stderr, flush=True)
