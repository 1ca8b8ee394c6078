"""The local executor with real scripts and processes; a few shell lines stand in for the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from support.plans import new_run, plan_of, stand_in_python
from support.waiting import ended, wait_until

from launcher import control_groups
from launcher.errors import UserError
from launcher.executors import Executor, JobState, executor_for
from launcher.executors.shared.environment import split_environment
from launcher.executors.shared.outcome import without_result
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

MakeRun = Callable[[str], RunDir]

STOP_WHEN_ASKED = """
touch $run_dir/logs/ready
until [[ -e $run_dir/control/stop ]]; do sleep 0.02; done
cp $run_dir/control/stop $run_dir/logs/asked_by
printf '{"status": "stopped"}' >$run_dir/result.json
printf 75 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""
# As torchrun does: a worker in a session of its own, which no signal to a process group reaches.
HARD_TO_KILL = """
trap '' TERM INT
setsid --wait bash -c 'echo $$ >$0/logs/worker; touch $0/logs/ready; sleep 60 & wait' $run_dir
"""


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(training: str) -> RunDir:
        python = stand_in_python(tmp_path / "python", training)
        return new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "job", python=python))

    return make


@pytest.fixture
def local() -> Executor:
    return executor_for("local")


def started(executor: Executor, run: RunDir) -> str:
    job = executor.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")
    return job


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_from_start_to_end(local: Executor, make_run: MakeRun) -> None:
    run = make_run("""
        echo to the job log
        printf '{"status": "completed"}' >$run_dir/result.json
        printf 0 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code""")
    assert local.state(run) == JobState("waiting", reason="never started")
    job = local.start(run)
    state = ended(local, run)
    assert (state.status, state.exit_code, state.job_id) == ("completed", 0, job)
    assert run.job_log("local").read_text() == "to the job log\n"
    assert run.jobs.read_text() == f"{job}\n"


def test_a_stop_saves_and_can_be_resumed(local: Executor, make_run: MakeRun) -> None:
    run = make_run(STOP_WHEN_ASKED)
    started(local, run)
    with pytest.raises(UserError, match="already has a job"):
        local.start(run)
    local.stop(run)
    assert (ended(local, run).status, ended(local, run).exit_code) == ("stopped", 75)

    (run.logs / "ready").unlink()
    started(local, run)
    local.stop(run)
    assert ended(local, run).status == "stopped"
    assert run.attempt_numbers() == [1, 2]


def test_of_many_that_start_a_run_at_once_one_does(local: Executor, make_run: MakeRun) -> None:
    run = make_run(STOP_WHEN_ASKED)
    ready = threading.Barrier(8)

    def start(_: int) -> str:
        ready.wait()
        try:
            return local.start(run)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(start, range(8)))
    jobs = [answer for answer in answers if answer.startswith("local ")]
    assert len(jobs) == 1, answers
    assert sum(f"already has a job: {jobs[0]}, running" in answer for answer in answers) == 7
    local.cancel(run)


def test_cancelling_ends_every_job_that_the_run_has(local: Executor, make_run: MakeRun) -> None:
    """Two at once are possible where the file system has no locks."""
    run = make_run(HARD_TO_KILL)
    first = int(started(local, run).split()[1])
    (run.logs / "ready").unlink()
    second = subprocess.Popen(["bash", str(run.job_sh)], start_new_session=True)
    run.add_job(f"local {second.pid}")
    wait_until((run.logs / "ready").exists, "the second training to start")

    local.cancel(run)
    assert not alive(first)
    assert second.wait(timeout=5) is not None
    assert (read_json(run.result) or {})["status"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_script_asks_for_a_stop(
    local: Executor, make_run: MakeRun, number: signal.Signals
) -> None:
    run = make_run(STOP_WHEN_ASKED)
    script = int(started(local, run).split()[1])
    os.kill(script, number)
    os.kill(script, number)
    assert ended(local, run).status == "stopped"
    assert (run.logs / "asked_by").read_text() == "signal"


def test_a_signal_does_not_overwrite_who_asked_first(local: Executor, make_run: MakeRun) -> None:
    run = make_run(
        "touch $run_dir/logs/ready; until [[ -e $run_dir/go ]]; do sleep 0.02; done" + STOP_WHEN_ASKED
    )
    script = int(started(local, run).split()[1])
    local.stop(run)
    os.kill(script, signal.SIGTERM)
    (run.path / "go").touch()
    ended(local, run)
    assert (run.logs / "asked_by").read_text() == "user"


def test_cancelling_leaves_no_process_behind(local: Executor, make_run: MakeRun) -> None:
    run = make_run(HARD_TO_KILL)
    script = int(started(local, run).split()[1])
    worker = int((run.logs / "worker").read_text())
    local.cancel(run)
    assert not alive(script)
    wait_until(lambda: not alive(worker), "the worker to be gone", timeout_s=5)
    assert (read_json(run.result) or {})["status"] == "cancelled"
    assert local.state(run).status == "cancelled"
    assert (read_json(run.attempt(1).record) or {})["status"] == "cancelled"
    local.cancel(run)


@pytest.mark.parametrize("room", ["", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "])
def test_another_process_can_watch_and_cancel(local: Executor, make_run: MakeRun, room: str) -> None:
    """Also one that can write nothing: the request is an empty file then."""
    run = make_run(HARD_TO_KILL)
    started(local, run)
    code = (
        f"{room}import sys, pathlib; from launcher.executors import executor_for; from launcher.runs.directory import RunDir\n"
        "run = RunDir(pathlib.Path(sys.argv[1])); local = executor_for('local')\n"
        "print(local.state(run).status); local.cancel(run)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("running\n", 0), done.stderr
    assert ended(local, run).status == "cancelled"


def test_a_killed_script_is_not_taken_for_a_running_one(local: Executor, make_run: MakeRun) -> None:
    run = make_run("touch $run_dir/logs/ready; exec sleep 60")
    job = started(local, run)
    children = Path(f"/proc/{job.split()[1]}/task/{job.split()[1]}/children").read_text().split()
    os.kill(int(job.split()[1]), signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    state = ended(local, run)
    assert (state.status, state.reason) == ("unknown", "the job is gone and left no result")
    run.jobs.write_text(f"local {os.getpid()}\n")  # its number may be another process's by now
    assert executor_for("local").state(run).status == "unknown"


def test_a_script_that_dies_before_the_training_is_explained(local: Executor, make_run: MakeRun) -> None:
    """Its last lines are quoted, and none of an attempt before."""
    run = make_run("echo of the first attempt; touch $run_dir/logs/ready; exit 1")
    started(local, run)
    ended(local, run)
    run.job_sh.write_text("module load nonexistent-thing")
    local.start(run)
    found = without_result(run, ended(local, run)).tree()["error"]
    assert found["class"] == "launch"
    assert "ended with code 127 before the training began\n" in found["message"]
    assert found["message"].endswith("module: command not found")
    assert "first attempt" not in found["message"]

    run.job_sh.write_text("kill -KILL $$")
    local.start(run)
    assert without_result(run, ended(local, run)).tree()["error"]["class"] == "killed"


def test_a_job_has_what_it_needs_and_nothing_else(
    tmp_path: Path, local: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes show neither keys nor variables that nobody named."""
    unknown = {
        "GITHUB_PAT",
        "DATABASE_URL",
        "SLACK_WEBHOOK",
        "MYSECRETKEY",
        "RANK",
        "WORLD_SIZE",
        "LAUNCH_NODES",
    }
    for name in unknown:
        monkeypatch.setenv(name, "7")
    for name in ("WANDB_API_KEY", "HF_TOKEN", "NCCL_DEBUG", "SITE_DATA", "SITE_TOKEN"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("https_proxy", "http://me:word@proxy:3128")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")  # half a core
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "cgroup")
    python = stand_in_python(
        tmp_path / "python", "env >$run_dir/logs/env; cp $run_dir/control/secrets.json $run_dir/logs"
    )
    plan = plan_of(
        {"executor": "local", "device": "cpu"},
        {"pass_env": ["SITE_*"]},
        run_dir=tmp_path / "runs" / "job",
        python=python,
    )
    run = new_run(plan)
    local.start(run)
    ended(local, run)
    there = dict(line.partition("=")[::2] for line in (run.logs / "env").read_text().splitlines())
    assert there["NCCL_DEBUG"] == "value of NCCL_DEBUG"
    assert there["SITE_DATA"] == "value of SITE_DATA"
    assert there["PATH"] == os.environ["PATH"]
    assert there["OMP_NUM_THREADS"] == "1"
    keys = {"WANDB_API_KEY", "HF_TOKEN", "SITE_TOKEN", "https_proxy"}
    assert not there.keys() & (unknown | keys)
    assert (read_json(run.logs / "secrets.json") or {}).keys() == keys


def test_a_key_is_told_by_its_name_or_by_how_it_looks() -> None:
    """However a site writes it; what a profile names goes by the 0600 file where it is one."""
    keys = dict.fromkeys(("MYSECRETKEY", "SITETOKEN", "WANDB_PASS", "HF_AUTH", "SITE_DSN"), "value")
    keys |= {"SLACK_WEBHOOK_URL": "https://hooks/x", "HF_MINE": "hf_" + "a" * 30}
    plain = dict.fromkeys(
        ("SSH_AUTH_SOCK", "TOKENIZERS_PARALLELISM", "KEYBOARD", "PATH", "SITE_COMPASS"), "value"
    )
    found = split_environment({**keys, **plain}, ("*",))
    assert (found.secrets, found.passed) == (keys, plain)


def test_out_of_memory_starts_the_script_anew_in_the_same_process(make_run: MakeRun, local: Executor) -> None:
    """Signals still ask for a stop in the second attempt."""
    run = make_run(
        f"""
if [[ $LAUNCHER_ATTEMPT == 1 ]]; then
    printf '{{"status": "failed", "error": {{"class": "memory"}}}}' >$run_dir/result.json
    printf 1 >$run_dir/attempts/1/exit_code
    exit 1
fi
{STOP_WHEN_ASKED}"""
    )
    job = started(local, run)
    assert (read_json(run.attempt(2).plan) or {})["layout"]["micro_batch_size"] == 8
    os.kill(int(job.removeprefix("local ")), signal.SIGTERM)
    assert ended(local, run).status == "stopped"
    assert (run.logs / "asked_by").read_text() == "signal"
    assert run.jobs.read_text() == f"{job}\n"


def fails_once(kind: str, then: str) -> str:
    return f"""
if [[ $LAUNCHER_ATTEMPT == 1 ]]; then
    printf '{{"status": "failed", "error": {{"class": "{kind}", "message": "lost"}}}}' >$run_dir/result.json
    printf 1 >$run_dir/attempts/1/exit_code
    touch $run_dir/logs/failed
    exit 1
fi
{then}"""


def test_what_may_pass_goes_again_after_a_while(make_run: MakeRun, local: Executor) -> None:
    run = make_run(fails_once("storage", STOP_WHEN_ASKED))
    started(local, run)
    assert "attempt 1 failed: storage: lost" in run.job_log("local").read_text()
    first, second = (run.attempt(number).read() for number in (1, 2))
    assert (first.next, first.wait_s) == ("again", 5)
    assert (second.started_at or 0) - (first.ended_at or 0) >= 5
    local.stop(run)
    assert ended(local, run).status == "stopped"


@pytest.mark.parametrize("request_", ["TERM", "stop", "cancel"])
def test_nothing_goes_again_where_somebody_asks_while_it_waits(
    make_run: MakeRun, local: Executor, request_: str
) -> None:
    run = make_run(fails_once("storage", "sleep 60"))
    job = local.start(run)
    script = psutil.Process(int(job.removeprefix("local ")))
    wait_until(lambda: [child.name() for child in script.children()] == ["sleep"], "the script to wait")
    if request_ == "TERM":
        script.send_signal(signal.SIGTERM)
    else:
        getattr(local, request_)(run)
    assert ended(local, run).status == ("cancelled" if request_ == "cancel" else "failed")
    assert run.attempt_numbers() == [1]
