"""What the job script needs on the node and a shell is too weak for: the start and the end of an attempt.

    python -m launcher.node begin RUN_DIR             prints: ATTEMPT HEAD PORT INTERFACE ADDRESS...
                                                      or one word: completed | cancelled
    python -m launcher.node end RUN_DIR ATTEMPT CODE  prints: EXIT_CODE stay|requeue|again

The script tells by the environment: LAUNCHER_JOB, a scheduler's job id or `local PID`, and LAUNCHER_HOSTS, the nodes in
order. This starts on every launch, so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED
from launcher.runs import directory as runs
from launcher.runs import failures as failure
from launcher.runs import out_of_memory as smaller
from launcher.runs import recovered_result as account
from launcher.runs.attempts import Attempt
from launcher.runs.directory import AttemptDir, RunDir
from launcher.runs.results import Error, Outcome
from launcher.runs.time_limits import minutes

PORTS = range(20000, 30000)
"""Rendezvous ports: below Linux's ephemeral range."""
NONE = "-"
"""Stands for an empty word in what `begin` prints."""
STAYS_STOPPED = ("user", "wandb")
"""Who asked for a stop that the scheduler must not undo; a `signal` is the scheduler's own wish."""
Verdict = Literal["cancelled", "requeued"] | None
Next = Literal["stay", "requeue", "again"]
"""What the script does: end, have Slurm start it later, or start anew at once (with smaller micro-batches)."""
STATUS_OF_CODE: dict[int, Outcome] = {EXIT_OK: "completed", EXIT_STOPPED: "stopped"}


@dataclass(frozen=True)
class Start:
    """What the script must know about its attempt."""

    attempt: int
    head: str
    port: int
    interface: str | None
    """Network interface for gloo, only where it would otherwise choose loopback and hang."""
    addresses: tuple[str, ...]
    """One address or name of each node, in the order of their SLURM_NODEID."""

    def __str__(self) -> str:
        return " ".join(
            [str(self.attempt), self.head, str(self.port), self.interface or NONE, *self.addresses]
        )


def begin(run: RunDir, job: str, restarts: int, hosts: Sequence[str]) -> Start | str:
    """Make the next attempt of the run, or say why there is none: `completed` or `cancelled`."""
    result = run.read_result()
    if result is not None and result.status == "completed":
        run.secrets.unlink(missing_ok=True)
        return "completed"
    if run.cancel.exists():
        cancelled(run)
        return "cancelled"
    if run.stop_requested_by() not in (None, "user"):
        run.stop.unlink()
    previous = run.last_attempt()
    run.put_model_back()
    if previous is not None:
        _close(run, previous)
    attempt = _new_attempt(run)
    own_plan = smaller.plan_after(run, previous) if previous is not None else None
    if own_plan is not None:
        runs.write_json(attempt.plan, own_plan)
    local = job.startswith("local")
    attempt.write(
        Attempt(
            attempt.number,
            started_at=time.time(),
            job_id=job,
            restart_count=restarts,
            hosts=tuple(hosts),
            executor="local" if local else "slurm",
            log_offset=_size(run, job),
        )
    )
    if run.last_job() != job:
        run.add_job(job)
    addresses = ("127.0.0.1",) if local else reachable(hosts)
    number = re.search(r"\d+", job)
    port = free_port(int(number.group()) if number else 0)
    return Start(attempt.number, addresses[0], port, None if local else gloo_interface(addresses), addresses)


def end(run: RunDir, attempt: AttemptDir, code: int) -> tuple[int, Next]:
    """Record how an attempt ended; returns (exit code of the script, what the script does next).

    `code` is that of the process the script waited for; what the training itself wrote is believed first.
    """
    record = attempt.read()
    stop = run.stop_requested_by()
    verdict = _verdict(record)
    exit_code = _settle(run, attempt, record, verdict, code)
    going: Next = "stay" if verdict is not None else _next(run, attempt, exit_code, stop)
    if exit_code == EXIT_STOPPED and going == "stay" and verdict is None and stop not in STAYS_STOPPED:
        exit_code = _judge_time_limit(run, attempt, record)
    result = run.read_result()
    attempt.write(
        replace(
            record,
            ended_at=time.time(),
            exit_code=exit_code,
            process_code=code,
            stop=stop,
            log_end=_size(run, record.job_id or "none"),
            status="interrupted" if result is None else result.status,
            next=going,
            last_step=failure.last_step(run, attempt.number),
        )
    )
    goes_again = going != "stay" or verdict == "requeued"
    if not goes_again:
        run.secrets.unlink(missing_ok=True)
    if not (goes_again and stop == "user"):
        run.stop.unlink(missing_ok=True)
    return exit_code, going


def cancelled(run: RunDir) -> None:
    """Record that the run was killed on request, and that the request is done with."""
    _write_result(run, "cancelled", None)
    run.secrets.unlink(missing_ok=True)
    run.cancel.unlink(missing_ok=True)


def died(run: RunDir, status: Outcome, error: Error | None) -> None:
    """Record the end of a run whose script was killed, or never came to begin an attempt."""
    previous = run.last_attempt()
    if previous is not None:
        _close(run, previous)
    _write_result(run, status, error)
    for path in (run.secrets, run.stop, run.cancel):
        path.unlink(missing_ok=True)


def stopped(run: RunDir) -> None:
    """Record that the run was taken out of the queue on request."""
    _write_result(run, "stopped", None)
    run.secrets.unlink(missing_ok=True)
    run.stop.unlink(missing_ok=True)


def reachable(hosts: Sequence[str]) -> tuple[str, ...]:
    """Names of nodes, or Slurm's addresses of them where the names don't resolve."""
    if resolve(hosts[0]) is not None:
        return tuple(hosts)
    known = _node_addresses(hosts)
    return tuple(known.get(host, host) for host in hosts)


def resolve(host: str) -> str | None:
    """The first address of a host, IPv4 or IPv6, or None."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None


def gloo_interface(addresses: Sequence[str]) -> str | None:
    """The interface that gloo must be told, or None where it finds one by this host's name.

    Where the name is an alias of loopback (Debian writes `127.0.1.1 NAME` into /etc/hosts) or unknown, gloo would
    offer loopback to the other nodes, which then wait for ever.
    """
    own = resolve(socket.gethostname())
    if own is not None and not _is_loopback(own):
        return None
    target = resolve(addresses[-1])
    if target is None or _is_loopback(target):
        return "lo"
    return _interface_of(_source_address(target))


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _source_address(target: str) -> str:
    """The address of this machine from which `target` is reached; nothing is sent."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])


def _interface_of(address: str) -> str | None:
    import psutil

    for name, found in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address for entry in found):
            return name
    return None


def free_port(preferred: int) -> int:
    """A port of PORTS on which nothing listens here, the first to try made from a job id."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for offset in range(len(PORTS)):
        port = PORTS[(preferred + offset) % len(PORTS)]
        with socket.socket(family) as probe:
            # As the store does: connections that linger in TIME_WAIT are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                probe.listen(1)
                return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop - 1}")


def main(argv: Sequence[str]) -> None:
    """The command line in this module's docstring."""
    verb, run = argv[0], RunDir(Path(argv[1]))
    if verb == "begin":
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        hosts = os.environ.get("LAUNCHER_HOSTS", "").split() or [socket.gethostname()]
        answer = str(begin(run, os.environ["LAUNCHER_JOB"], restarts, hosts))
    else:
        assert verb == "end", verb
        code, going = end(run, run.attempt(int(argv[2])), int(argv[3]))
        answer = f"{code} {going}"
    sys.stdout.write(answer + "\n")


def _next(run: RunDir, attempt: AttemptDir, exit_code: int, stop: str | None) -> Next:
    """What follows an attempt about which Slurm has decided nothing."""
    if exit_code == EXIT_STOPPED and stop not in STAYS_STOPPED:
        return "requeue" if _may_requeue(run) and _progressed(run, attempt) else "stay"
    if exit_code == EXIT_FAILED and stop is None and smaller.ran_out(run.read_result()):
        return "again" if smaller.halve(smaller.plan_tree_of(run, attempt), attempt.number) else "stay"
    return "stay"


def _settle(run: RunDir, attempt: AttemptDir, record: Attempt, verdict: Verdict, code: int) -> int:
    """Leave a result.json that tells the truth, unless the job starts again; returns the exit code."""
    result = run.read_result()
    written = attempt.number_in(attempt.exit_code)
    if result is not None and result.status == "completed":
        return EXIT_OK
    if run.cancel.exists() or verdict == "cancelled":
        cancelled(run)
        return EXIT_FAILED
    if written is None and verdict == "requeued":
        return EXIT_STOPPED
    if written is None:
        _write_result(run, "failed", failure.examine(run, attempt, record, code))
        return EXIT_FAILED
    if result is None:
        _write_result(run, STATUS_OF_CODE.get(written, "failed"), None)
    elif written == EXIT_FAILED and result.error is not None and result.error.kind == "crashed":
        # The ranks that live on only see a lost connection; the cause is the one that was killed.
        error = failure.examine(run, attempt, record, code)
        if error.kind == "killed":
            run.write_result(replace(result, error=error))
    return written


def _judge_time_limit(run: RunDir, attempt: AttemptDir, record: Attempt) -> int:
    """Say so where the time limit ended two attempts in a row before their first step; returns the exit code."""
    request = run.read_plan().slurm
    limit_s = None if request is None or request.time is None else 60 * minutes(request.time)
    lasted_s = time.time() - (record.started_at or time.time())
    if limit_s is None or lasted_s < limit_s / 4 or _progressed(run, attempt):
        return EXIT_STOPPED
    message = (
        f"the time limit of {limit_s:.0f} s ended two attempts before their first step; {lasted_s:.0f} s of the last were "
        "spent on starting, reading data and building the model"
    )
    needed = f"time={max(2, round(4 * lasted_s / 60))}"
    remedy = (
        f"a new run with more, such as {needed} (minutes): launch recipe={run.recipe} run_id=null {needed}"
    )
    _write_result(run, "failed", Error("time-limit", message, remedy))
    return EXIT_FAILED


def _new_attempt(run: RunDir) -> AttemptDir:
    number = max(run.attempt_numbers(), default=0) + 1
    while True:
        attempt = run.attempt(number)
        try:
            attempt.path.mkdir(mode=0o700, parents=True)
            return attempt
        except FileExistsError:
            number += 1


def _close(run: RunDir, previous: AttemptDir) -> None:
    """Keep an earlier result with its attempt, and mark an attempt that died before it could say so."""
    if run.result.exists() and not previous.result.exists():
        run.result.replace(previous.result)
    run.result.unlink(missing_ok=True)  # otherwise it is that of a job which began no attempt
    record = previous.read()
    if record.started_at is not None and record.status is None:
        last = failure.last_step(run, previous.number)
        previous.write(replace(record, status="interrupted", last_step=last))


def _write_result(run: RunDir, status: Outcome, error: Error | None) -> None:
    run.put_model_back()
    attempts = run.attempt_numbers()
    now = time.time()
    steps = [failure.last_step(run, number) for number in reversed(attempts)]
    last = run.last_attempt()
    plan = smaller.plan_of(run, last) if last is not None else run.read_plan()
    run.write_result(
        replace(
            account.of_run(run, plan),
            status=status,
            run_id=run.run_id,
            steps=next((step for step in steps if step is not None), 0),
            wall_s=round(sum(_duration(run.attempt(number).read(), now) for number in attempts), 3),
            attempts=len(attempts),
            error=error,
            job_id=run.last_job(),
        )
    )


def _duration(record: Attempt, now: float) -> float:
    """Seconds of one attempt; 0 for one that died unrecorded."""
    if record.started_at is None:
        return 0.0
    still_runs = record.status is None
    return (record.ended_at or (now if still_runs else record.started_at)) - record.started_at


def _may_requeue(run: RunDir) -> bool:
    request = run.read_plan().slurm
    return request is not None and request.requeue


def _progressed(run: RunDir, attempt: AttemptDir) -> bool:
    """Whether this attempt or the one before it trained at all: a job that never gets to train must not go round."""
    numbers = (attempt.number, attempt.number - 1)
    return attempt.number == 1 or any(failure.last_step(run, number) is not None for number in numbers)


def _size(run: RunDir, job: str) -> int:
    try:
        return run.job_log(job).stat().st_size
    except FileNotFoundError:
        return 0


def _verdict(record: Attempt) -> Verdict:
    """What Slurm has decided about the job while its script still runs.

    A job that is being taken off its nodes is COMPLETING whatever the reason; but one that will start again has been
    counted as restarted already.
    """
    if record.executor != "slurm":
        return None
    output = _ask(["scontrol", "-o", "show", "job", str(record.job_id)])
    fields = dict(re.findall(r"\b(JobState|Reason|Restarts)=(\S+)", output))
    if fields.get("JobState") in (None, "RUNNING"):
        return None
    if int(fields.get("Restarts", 0)) > record.restart_count:
        return "requeued"
    return None if fields.get("Reason") == "TimeLimit" else "cancelled"


def _node_addresses(hosts: Iterable[str]) -> dict[str, str]:
    output = _ask(["scontrol", "-o", "show", "node", ",".join(hosts)])
    return dict(re.findall(r"^NodeName=(\S+) .*?\bNodeAddr=(\S+)", output, re.MULTILINE))


def _ask(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
