"""What the job script needs on the node and a shell is too weak for: the start and the end of an attempt.

    python -m launcher.node begin RUN_DIR             prints: ATTEMPT HEAD PORT INTERFACE ADDRESS...
                                                      or one word: completed | cancelled | failed
    python -m launcher.node look RUN_DIR              on each node, before it trains: writes down what it finds
    python -m launcher.node examine DIR DEVICE        the same, on each node that `launch doctor --cluster` looks at
    python -m launcher.node choose RUN_DIR ATTEMPT    prints: HOST,HOST,... HEAD ADDRESS..., which are the nodes that train
                                                      or one word: failed
    python -m launcher.node end RUN_DIR ATTEMPT CODE  prints: EXIT_CODE stay|requeue|again SECONDS [HOST,...]
                                                      the hosts are those that a requeued job must do without
    python -m launcher.node succeeded RUN_DIR JOB     notes down the job that takes the place of this one
    python -m launcher.node warned RUN_DIR ATTEMPT SECONDS
                                                      on the scheduler's warning, so long before the limit; prints: stop | wait
    python -m launcher.node watch RUN_DIR ATTEMPT NODE LOCAL_WORLD_SIZE WORLD_SIZE STARTER
                                                      beside the ranks of a node, see launcher.health.watch

The script tells by the environment: LAUNCHER_JOB, a scheduler's job id or `local PID`, and LAUNCHER_HOSTS, the nodes in
order, and LAUNCHER_RESTARTS, how often the scheduler has started the job again, and LAUNCHER_CHAIN, the first of the jobs that
took each other's place, where there are several; `look` needs LAUNCHER_ATTEMPT, LAUNCHER_NODE, LAUNCHER_NODE_NAME, LAUNCHER_HEAD,
LAUNCHER_PORT and LAUNCHER_ADDRESSES. This starts on every launch, so it imports little more than the standard library.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import start_up
from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, EXIT_UNRECORDED
from launcher.executors import executor_for
from launcher.executors.shared import failures
from launcher.executors.shared.base import Executor, Verdict, ended_for_good
from launcher.figures import human_seconds, quantity
from launcher.network import free_port, gloo_interface
from launcher.runs import attempt_plan, endings, exclusions, retries
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.events import append_notice, last_step
from launcher.runs.exclusions import Exclusion
from launcher.runs.failure_classes import ECHOES, takes_no_writes
from launcher.runs.files import say, write_json, write_text
from launcher.runs.jobs import Job
from launcher.runs.requests import drop_others, is_asked
from launcher.runs.results import Error, Outcome
from launcher.runs.retries import Decision, Next
from launcher.runs.time_limits import minutes

NONE = "-"
"""Stands for an empty word in what `begin` prints."""
STAYS_STOPPED = ("user", "wandb")
"""Who asked for a stop that the scheduler must not undo; a `signal` is the scheduler's own wish."""
ENDLESS = "see what ends them (launch logs {run}), or lower checkpoint.every in a new run; launch resume {run} tries again"
LOST = "the scheduler has given up a node of the job, and so ended it"
PREEMPTED = "the scheduler ended the job for another one, before it had saved, and does not put it back"
RESUMED = "launch resume {run} goes on from the newest checkpoint, on other nodes"
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
    """One address or name of each node, in the order of LAUNCHER_HOSTS."""

    def __str__(self) -> str:
        return " ".join(
            [str(self.attempt), self.head, str(self.port), self.interface or NONE, *self.addresses]
        )


def begin(
    run: RunDir, job: str, restarts: int, hosts: Sequence[str], chain: str | None = None
) -> Start | str:
    """Make the next attempt of the run, or say why there is none: `completed`, `cancelled` or `failed`."""
    for sentence in drop_others(run):
        say(sentence)
    if (status := _is_over(run, job)) is not None:
        return status
    if run.stop_requested_by() not in (None, *STAYS_STOPPED):
        run.stop.unlink()
    previous = run.last_attempt()
    run.put_model_back()
    if previous is not None:
        endings.close(run, previous)
    enough = retries.without_end(run, chain or job)
    if enough is not None:
        endings.write_result(run, "failed", Error("node", enough, ENDLESS.format(run=run.run_id)))
        run.secrets.unlink(missing_ok=True)
        return "failed"
    kind = run.read_plan().executor
    attempt = _new_attempt(run)
    own_plan = attempt_plan.plan_after(run, previous) if previous is not None else None
    if own_plan is not None:
        write_json(attempt.plan, own_plan)
    attempt.write(
        Attempt(
            attempt.number,
            started_at=time.time(),
            up_s=time.monotonic(),
            job_id=job,
            restart_count=restarts,
            hosts=tuple(hosts),
            executor=kind,
            log_offset=_size(run, job),
            chain=chain,
        )
    )
    if run.last_job() != job:
        run.add_job(job)
    executor = executor_for(kind)
    addresses = executor.addresses(hosts)
    port = free_port(int("".join(re.findall(r"\d", job)) or 0))
    interface = gloo_interface(addresses) if executor.takes_nodes else None
    return Start(attempt.number, addresses[0], port, interface, addresses)


def _is_over(run: RunDir, job: str) -> str | None:
    """How the run has ended already, or this job's part in it; None where there is something to do."""
    result = run.read_result()
    if result is not None and result.status == "completed":
        run.secrets.unlink(missing_ok=True)
        return "completed"
    if is_asked(run.cancel):
        endings.cancelled(run)
        return "cancelled"
    found = Job.parse(job)
    shares_a_job = found is not None and found.member is not None
    return "cancelled" if shares_a_job and ended_for_good(run, job) else None


def look(run: RunDir, environ: Mapping[str, str] = os.environ) -> None:
    """Look at this node before it trains."""
    from launcher.health import facts

    attempt, place = int(environ["LAUNCHER_ATTEMPT"]), facts.NodeInJob.of(environ)
    facts.look(run, attempt, place, on_gpus=run.read_plan().device == "cuda")


def examine(directory: RunDir, device: str, environ: Mapping[str, str] = os.environ) -> None:
    """Look at this node for whoever asks about the cluster, in a directory that holds no run."""
    from launcher.health import facts

    facts.look(
        directory, int(environ["LAUNCHER_ATTEMPT"]), facts.NodeInJob.of(environ), on_gpus=device == "cuda"
    )


def choose(run: RunDir, attempt: AttemptDir) -> str:
    """Which nodes of the attempt train, as the script reads it; `failed` where too few can, which is recorded."""
    from launcher.health import facts, preflight

    record = attempt.read()
    said = facts.read_facts(run, attempt.number, len(record.hosts))
    outcome = (None if said else failures.without_step(run, record)) or preflight.judge(run, attempt)
    if isinstance(outcome, Error):
        endings.write_result(run, "failed", outcome)
        write_text(attempt.exit_code, f"{EXIT_FAILED}\n")
        return "failed"
    attempt.write(replace(record, hosts=outcome.chosen))
    _take_nodes(run, attempt, len(outcome.chosen))
    addresses = executor_for(run.read_plan().executor).addresses(outcome.chosen)
    return " ".join([",".join(outcome.chosen), addresses[0], *addresses])


def _take_nodes(run: RunDir, attempt: AttemptDir, nodes: int) -> None:
    """Have an attempt train on that many nodes, where its run can do with fewer than it was planned for."""
    most = run.read_plan().nodes
    if nodes == most:
        return
    write_json(attempt.plan, attempt_plan.on_nodes(attempt_plan.plan_tree_of(run, attempt), nodes))
    text = f"trains on {nodes} of {quantity(most, 'node')}: {attempt_plan.OTHER_RANKS}"
    append_notice(run.events, attempt.number, text)


def end(run: RunDir, attempt: AttemptDir, code: int) -> tuple[int, Next]:
    """Record how an attempt ended; returns (exit code of the script, what the script does next).

    `code` is that of the process the script waited for; what the training itself wrote is believed first.
    """
    for sentence in drop_others(run):
        say(sentence)
    record = attempt.read()
    stop = run.stop_requested_by()
    executor = None if record.executor is None else executor_for(record.executor)
    verdict = None if executor is None else executor.verdict(record)
    exit_code = _conclude(run, attempt, record, verdict, code)
    decision = Decision("stay") if verdict is not None else _next(run, attempt, executor, exit_code, stop)
    going = decision.next
    if exit_code == EXIT_STOPPED and going == "stay" and verdict is None and stop not in STAYS_STOPPED:
        exit_code = _judge_time_limit(run, attempt, record)
    _tell(run, attempt, decision)
    result = run.read_result()
    attempt.write(
        replace(
            record,
            ended_at=time.time(),
            lasted_s=_seconds_since(record),
            exit_code=exit_code,
            process_code=code,
            stop=stop,
            log_end=_size(run, record.job_id or "none"),
            status="interrupted" if result is None else result.status,
            next=going,
            wait_s=decision.wait_s,
            last_step=last_step(run.events, attempt.number),
            saved_step=retries.saved_step(run),
        )
    )
    goes_again = going != "stay" or verdict == "requeued"
    if not goes_again:
        run.secrets.unlink(missing_ok=True)
    if not (goes_again and stop in STAYS_STOPPED):
        run.stop.unlink(missing_ok=True)
    return exit_code, going


def warned(attempt: AttemptDir, notice_s: float) -> str:
    """What the job does on its scheduler's warning: `wait` where the training will be stopped in time, but later."""
    from launcher.health import time_limit

    record = attempt.read()
    ends_by = (
        executor_for(record.executor).ends_by(record.job_id) if record.executor and record.job_id else None
    )
    return "stop" if time_limit.heeds(attempt, ends_by, notice_s) else "wait"


def watch(run: RunDir, attempt: AttemptDir, node: int, sizes: tuple[int, int], starter: int) -> None:
    """Watch the ranks of a node; on the first one, keep the time of the job."""
    from launcher.health import watch as watching
    from launcher.health.time_limit import TimeKeeper

    keeper, record, request = None, attempt.read(), run.read_plan().request
    if node == 0 and request is not None and record.job_id is not None:
        executor, job = executor_for(run.read_plan().executor), record.job_id
        partition = request.partition
        keeper = TimeKeeper(run, attempt, lambda: executor.ends_by(job), lambda: executor.grace_s(partition))
    watching.watch(run, attempt, node, sizes, starter, keeper)


def main(argv: Sequence[str]) -> None:
    """The command line in this module's docstring; its exit code says so where the run directory takes no writes."""
    try:
        _obey(argv)
    except OSError as error:
        if not takes_no_writes(error):
            raise
        say(f"{argv[0]}: {argv[1]} takes no writes: {error}")
        sys.exit(EXIT_UNRECORDED)


def _obey(argv: Sequence[str]) -> None:
    """Do what one command line asks for."""
    start_up.keep_from_others(start_up.OTHERS)
    verb, run = argv[0], RunDir(Path(argv[1]))
    if verb == "begin":
        restarts = int(os.environ.get("LAUNCHER_RESTARTS", "0"))
        hosts = os.environ.get("LAUNCHER_HOSTS", "").split() or [socket.gethostname()]
        chain = os.environ.get("LAUNCHER_CHAIN")
        answer = str(begin(run, os.environ["LAUNCHER_JOB"], restarts, hosts, chain))
    elif verb == "look":
        look(run)
        return
    elif verb == "examine":
        examine(run, argv[2])
        return
    elif verb == "choose":
        answer = choose(run, run.attempt(int(argv[2])))
    elif verb == "succeeded":
        run.add_job(argv[2])
        return
    elif verb == "warned":
        answer = warned(run.attempt(int(argv[2])), float(argv[3]))
    elif verb == "watch":
        number, node, here, everywhere, starter = map(int, argv[2:7])
        watch(run, run.attempt(number), node, (here, everywhere), starter)
        return
    else:
        assert verb == "end", verb
        attempt = run.attempt(int(argv[2]))
        code, going = end(run, attempt, int(argv[3]))
        without = _kept_away(run) if going == "requeue" else ""
        answer = f"{code} {going} {attempt.read().wait_s} {without}".rstrip()
    sys.stdout.write(answer + "\n")


def _kept_away(run: RunDir) -> str:
    """Nodes that the scheduler must not give to the job again, in the form of its own lists."""
    request = run.read_plan().request
    return "" if request is None else exclusions.exclude_option(run, request.options)


def _next(
    run: RunDir, attempt: AttemptDir, executor: Executor | None, exit_code: int, stop: str | None
) -> Decision:
    """What follows an attempt about which no scheduler has decided anything."""
    if exit_code == EXIT_STOPPED and stop not in STAYS_STOPPED:
        return Decision("requeue" if _may_requeue(run) and _progressed(run, attempt) else "stay")
    result = run.read_result()
    failed = exit_code == EXIT_FAILED and result is not None and result.status == "failed"
    if not failed or result is None or result.error is None or stop in STAYS_STOPPED:
        return Decision("stay")
    has_scheduler = executor is not None and executor.takes_nodes
    decision = retries.after_failure(run, attempt, result.error, has_scheduler=has_scheduler)
    if stop is not None and decision.next == "again":  # a scheduler's signal: there is no time left here
        return Decision("requeue" if _may_requeue(run) else "stay")
    if decision.next == "requeue" and result.error.host is not None:
        return _elsewhere(run, attempt, result.error, decision)
    return decision


def _elsewhere(run: RunDir, attempt: AttemptDir, error: Error, decision: Decision) -> Decision:
    """Go on without the node that failed: at once where the job has a spare one, else with others."""
    from launcher.health import preflight

    assert error.host is not None
    if not any(node.host == error.host for node in exclusions.exclusions(run)):
        reason = (error.message.splitlines() or [error.kind])[0]
        exclusions.exclude(run, [Exclusion(error.host, reason, time.time(), attempt.number)])
    return Decision("again") if preflight.has_spare(run, attempt) else decision


def _tell(run: RunDir, attempt: AttemptDir, decision: Decision) -> None:
    """Say at the end of the job's log, and to whoever follows the run, why the attempt failed and what comes now."""
    result = run.read_result()
    if result is None or result.error is None or result.status != "failed":
        return
    error = result.error
    if decision.why_not is not None and decision.why_not not in error.message:
        message, remedy = f"{error.message}\n{decision.why_not}", decision.remedy or error.remedy
        error = replace(error, message=message, remedy=remedy)
        run.write_result(replace(result, error=error))
    say(f"attempt {attempt.number} failed: {error.sentence()}")
    if decision.next != "stay":
        saved = retries.saved_step(run)
        start = f"the checkpoint of step {saved}" if saved else "the beginning"
        when = "once the scheduler lets it" if decision.next == "requeue" else f"in {decision.wait_s} s"
        text = f"attempt {attempt.number} failed: {error.sentence()}; it goes on from {start} {when}"
        append_notice(run.events, attempt.number, text)


def _conclude(run: RunDir, attempt: AttemptDir, record: Attempt, verdict: Verdict, code: int) -> int:
    """Leave a result.json that tells the truth, unless the job starts again; returns the exit code."""
    result = run.read_result()
    written = attempt.number_in(attempt.exit_code)
    if result is not None and result.status == "completed":
        return EXIT_OK
    # The command that killed the job may have recorded so already.
    recorded = result is not None and result.status == "cancelled"
    if recorded or is_asked(run.cancel) or verdict == "cancelled":
        endings.cancelled(run)
        return EXIT_FAILED
    if verdict == "lost":
        endings.write_result(run, "failed", Error("node", LOST, RESUMED.format(run=run.run_id)))
        return EXIT_FAILED
    if written is None and verdict == "requeued":
        return EXIT_STOPPED
    if written is None and verdict == "preempted":
        endings.write_result(run, "failed", Error("killed", PREEMPTED, RESUMED.format(run=run.run_id)))
        return EXIT_FAILED
    if written is None:
        endings.write_result(run, "failed", failures.examine(run, attempt, record, code))
        return EXIT_FAILED
    if result is None:
        endings.write_result(run, STATUS_OF_CODE.get(written, "failed"), None)
    elif written == EXIT_FAILED and result.error is not None and result.error.kind in ECHOES:
        # The ranks that live on only see a lost connection; the cause is the one that was killed, or could write no more.
        error = failures.behind_echoes(run, attempt, record, code)
        if error is not None:
            run.write_result(replace(result, error=error))
    return written


def _judge_time_limit(run: RunDir, attempt: AttemptDir, record: Attempt) -> int:
    """Say so where the time limit ended the last attempt, and the one before, before its first step; returns the exit code."""
    request = run.read_plan().request
    limit_s = None if request is None or request.time is None else 60 * minutes(request.time)
    lasted_s = _seconds_since(record) or 0.0
    if limit_s is None or lasted_s < limit_s / 4 or _progressed(run, attempt):
        return EXIT_STOPPED
    tries = "two attempts, each" if attempt.number > 1 and _may_requeue(run) else "an attempt"
    message = (
        f"the time limit of {human_seconds(limit_s)} ended {tries} before its first step; "
        f"{human_seconds(lasted_s)} of the last were "
        "spent on starting, reading data and building the model"
    )
    remedy = f"give it more: launch resume {run.run_id} time={max(2, round(4 * lasted_s / 60))} (minutes)"
    endings.write_result(run, "failed", Error("time-limit", message, remedy))
    return EXIT_FAILED


def _seconds_since(record: Attempt) -> float | None:
    """Seconds since an attempt began on this node, whatever its time of day was set to."""
    return None if record.up_s is None else max(0.0, time.monotonic() - record.up_s)


def _new_attempt(run: RunDir) -> AttemptDir:
    number = max(run.attempt_numbers(), default=0) + 1
    while True:
        attempt = run.attempt(number)
        try:
            attempt.path.mkdir(mode=0o700, parents=True)
            return attempt
        except FileExistsError:
            number += 1


def _may_requeue(run: RunDir) -> bool:
    plan = run.read_plan()
    return plan.request is not None and plan.recipe.requeue


def _progressed(run: RunDir, attempt: AttemptDir) -> bool:
    """Whether this attempt or the one before it trained at all: a job that never gets to train must not go round."""
    numbers = (attempt.number, attempt.number - 1)
    return (attempt.number == 1 and _may_requeue(run)) or any(
        last_step(run.events, number) is not None for number in numbers
    )


def _size(run: RunDir, job: str) -> int:
    try:
        return run.job_log(job).stat().st_size
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main(sys.argv[1:])
    start_up.leave_garbage()
