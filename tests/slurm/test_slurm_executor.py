"""The Slurm executor against a real Slurm: what it submits, what it knows of a job, and how a job ends.

Most of these jobs run a few shell lines in place of torchrun; the last ones train.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of, stand_in_python
from support.slurm_cluster import Cluster, FlatCluster, hurry
from support.stand_ins import stand_in
from support.waiting import ended, wait_until

from launcher.errors import RunFailed, UserError
from launcher.executors import JobState, executor_for
from launcher.executors.shared.base import Executor
from launcher.executors.shared.outcome import outcome
from launcher.executors.shared.slurm_states import QUEUE_HOLDS_S
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

MakeRun = Callable[..., RunDir]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run directory whose job executes shell lines in place of torchrun."""

    def make(
        training: str, recipe: Mapping[str, Any] | None = None, profile: Mapping[str, Any] | None = None
    ) -> RunDir:
        python = stand_in_python(tmp_path / "python", training)
        directory = tmp_path / "runs" / "job"
        return new_run(
            plan_of({"executor": "slurm", **(recipe or {})}, profile, run_dir=directory, python=python)
        )

    return make


def wait_for(executor: Executor, run: RunDir, *statuses: str) -> JobState:
    wait_until(lambda: executor.state(run).status in statuses, f"the job to be {' or '.join(statuses)}")
    return executor.state(run)


def attempt(run: RunDir, number: int) -> dict[str, Any]:
    return read_json(run.attempt(number).record) or {}


FINISH = """
printf '{"status": "completed"}' >$run_dir/result.json
printf 0 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""
STOP_WHEN_ASKED = """
echo '{"attempt": '$LAUNCHER_ATTEMPT', "event": "step", "step": 3}' >>$run_dir/logs/events.jsonl
until [[ -e $run_dir/control/stop ]]; do sleep 0.05; done
printf '{"status": "stopped"}' >$run_dir/result.json
printf 75 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""


def test_a_job_goes_from_the_queue_to_its_end(
    slurm: Executor, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")  # as a user may like to see times
    run = make_run(f"until [[ -e $run_dir/go ]]; do sleep 0.05; done; {FINISH}", {"nodes": 4, "time": "10"})
    assert slurm.state(run) == JobState("waiting", reason="never submitted")

    job = slurm.start(run)
    assert run.last_job() == job
    running = wait_for(slurm, run, "running")
    assert running.nodes == "node[1-4]"  # all that there are
    assert running.started_at is not None
    assert running.ends_by == pytest.approx(running.started_at + 600, abs=2)
    with pytest.raises(UserError, match=f"already has a job: {job}, running"):
        slurm.start(run)

    (run.path / "go").touch()
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("completed", 0)
    record = attempt(run, 1)
    assert (record["job_id"], record["hosts"], record["status"]) == (
        job,
        ["node1", "node2", "node3", "node4"],
        "completed",
    )
    assert run.jobs.read_text() == f"{job}\n"


def test_each_node_gets_one_torchrun_of_one_rendezvous(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(
        f'echo "$@" >$run_dir/logs/$SLURM_NODEID; {FINISH}', {"nodes": 3, "gpus": 2, "device": "cpu"}
    )
    slurm.start(run)
    assert ended(slurm, run).status == "completed"

    calls = [(run.logs / str(number)).read_text().split() for number in range(3)]
    heads = {option for call in calls for option in call if option.startswith("--rdzv-endpoint=")}
    assert len(heads) == 1
    host, port = heads.pop().removeprefix("--rdzv-endpoint=").split(":")
    addresses = [f"127.0.1.{name.removeprefix('node')}" for name in attempt(run, 1)["hosts"]]
    assert host == addresses[0]  # the names of this cluster's nodes don't resolve
    assert 20000 <= int(port) < 30000
    for number, call in enumerate(calls):
        assert f"--local-addr={addresses[number]}" in call
        assert f"--rdzv-conf=is_host={int(number == 0)},join_timeout=600,read_timeout=600" in call
        assert {"--nnodes=3", "--nproc-per-node=2", "--rdzv-id=job-1", "--max-restarts=0"} <= set(call)


def test_keys_reach_the_nodes_in_a_private_file_and_no_other_job_is_inherited(
    slurm: Executor, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "WANDB_API_KEY": "w" * 40,
        "HF_TOKEN": "hf_secret",
        "GITHUB_TOKEN": "unrelated",
        "TOKENIZERS_PARALLELISM": "false",
        "SLURM_NTASKS": "99",
        "SBATCH_PARTITION": "nowhere",
        "LAUNCH_TRAIN__LR": "3",
        "OMP_PROC_BIND": "close",
        "NOBODY_ASKED_FOR": "this",
    }.items():
        monkeypatch.setenv(name, value)
    run = make_run(
        f"env -0 >$run_dir/logs/env; cat $run_dir/control/secrets.json >$run_dir/logs/secrets; {FINISH}"
    )
    slurm.start(run)
    assert stat.S_IMODE(run.secrets.stat().st_mode) == 0o600
    assert ended(slurm, run).status == "completed"

    seen = dict(line.split("=", 1) for line in (run.logs / "env").read_text().split("\0") if line)
    assert seen["OMP_PROC_BIND"] == "close"
    assert seen["TOKENIZERS_PARALLELISM"] == "true"
    assert seen["SLURM_NTASKS"] == "1"
    assert not {"WANDB_API_KEY", "HF_TOKEN", "GITHUB_TOKEN", "LAUNCH_TRAIN__LR", "NOBODY_ASKED_FOR"} & set(
        seen
    )
    assert json.loads((run.logs / "secrets").read_text()) == {
        "WANDB_API_KEY": "w" * 40,
        "HF_TOKEN": "hf_secret",
    }
    assert not run.secrets.exists()
    everything = "".join(path.read_text(errors="replace") for path in run.path.rglob("*") if path.is_file())
    assert "hf_secret" not in everything.replace((run.logs / "secrets").read_text(), "")


@pytest.mark.parametrize(
    ("profile", "recipe", "said"),
    [
        ({"partition": "mian"}, {}, r"invalid partition.*\n.*did you mean main\?"),
        (
            {"constraint": "gold&silver"},
            {"time": "5"},
            r"Invalid feature.*\n.*asked for: constraint=gold&silver, time=5",
        ),
        ({"memory": "900G"}, {}, r"Memory specification can not be satisfied.*\n.*memory=900G"),
        ({"reservation": "tuesday"}, {}, "reservation is invalid"),
    ],
)
def test_a_refused_request_is_a_mistake_that_leaves_nothing_behind(
    slurm: Executor, make_run: MakeRun, profile: dict[str, Any], recipe: dict[str, Any], said: str
) -> None:
    run = make_run("", recipe, profile)
    with pytest.raises(UserError, match=said):
        slurm.start(run)
    assert not run.path.exists()


@pytest.mark.fault(26)
def test_an_unreachable_controller_is_no_mistake_and_keeps_the_run(
    slurm: Executor, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = Path(os.environ["SLURM_CONF"]).read_text()
    (tmp_path / "slurm.conf").write_text(conf + "\nSlurmctldPort=1\nMessageTimeout=1\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    run = make_run("")
    with pytest.raises(RunFailed, match="Slurm did not answer"):
        slurm.start(run)
    assert run.plan.exists()


def test_stopping_a_waiting_job_takes_it_out_of_the_queue(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(FINISH)
    run.job_sbatch.write_text(
        run.job_sbatch.read_text().replace("\n#SBATCH --no", "\n#SBATCH --hold\n#SBATCH --no", 1)
    )
    slurm.start(run)
    assert slurm.state(run).reason == "JobHeldUser"
    assert "scontrol release" in (slurm.state(run).waits_for or "")
    assert slurm.states([run]) == [slurm.state(run)]

    slurm.stop(run)
    assert (read_json(run.result) or {})["status"] == "stopped"
    assert ended(slurm, run).status == "cancelled"
    with pytest.raises(UserError, match="has no job to stop"):
        slurm.stop(run)


def test_many_runs_are_told_as_each_is_alone(
    slurm: Executor, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has just failed, one that never had a job, one that Slurm has forgotten, and no answer at all."""
    failed = make_run("exit 3")
    slurm.start(failed)
    ended(slurm, failed)
    forgotten = RunDir(failed.path.with_name("forgotten"))
    shutil.copytree(failed.path, forgotten.path)
    forgotten.jobs.write_text("99999999\n")
    new = RunDir(failed.path.with_name("new"))
    shutil.copytree(failed.path, new.path)
    new.jobs.unlink()
    runs = [new, failed, forgotten]
    # Until Slurm's accounting has the job, its end is told by the run's own files.
    wait_until(lambda: slurm.states(runs) == list(map(slurm.state, runs)), "one answer from both")
    assert [state.status for state in slurm.states(runs)] == ["waiting", "failed", "unknown"]

    conf = Path(os.environ["SLURM_CONF"]).read_text()
    (tmp_path / "slurm.conf").write_text(conf + "\nSlurmctldPort=1\nMessageTimeout=1\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    time.sleep(QUEUE_HOLDS_S)
    # What a run has recorded of its own end holds without Slurm.
    assert [state.status for state in slurm.states(runs)] == ["waiting", "failed", "unreachable"]


@pytest.mark.long
def test_a_stop_asked_for_by_the_user_is_not_undone_by_the_scheduler(
    slurm: Executor, make_run: MakeRun
) -> None:
    run = make_run(STOP_WHEN_ASKED)
    slurm.start(run)
    wait_until(run.events.exists, "the training to start")
    slurm.stop(run)
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("stopped", 75)
    assert attempt(run, 1)["stop"] == "user"
    assert not run.stop.exists()

    slurm.start(run)
    wait_until(lambda: len(run.events.read_text().splitlines()) == 2, "the second attempt to train")
    slurm.stop(run)
    assert ended(slurm, run).status == "stopped"
    assert run.attempt_numbers() == [1, 2]
    assert len(run.jobs.read_text().split()) == 2


@pytest.mark.fault(6)
def test_a_signal_from_slurm_stops_the_run_and_puts_it_back(
    slurm: Executor, make_run: MakeRun, cluster: Cluster
) -> None:
    run = make_run(f"if [[ $LAUNCHER_ATTEMPT == 2 ]]; then {FINISH} exit; fi; {STOP_WHEN_ASKED}")
    job = slurm.start(run)
    wait_until(run.events.exists, "the training to start")
    cluster.run(["scancel", "--signal=USR1", "--batch", job])
    hurry(cluster, job)
    assert ended(slurm, run).status == "completed"

    assert (attempt(run, 1)["stop"], attempt(run, 1)["next"]) == ("signal", "requeue")
    assert (attempt(run, 2)["restart_count"], attempt(run, 2)["job_id"]) == (1, job)
    assert read_json(run.attempt(1).path / "result.json") == {"status": "stopped"}
    assert (read_json(run.result) or {})["status"] == "completed"


@pytest.mark.fault(6)
def test_without_requeue_a_signal_leaves_the_run_stopped(
    slurm: Executor, make_run: MakeRun, cluster: Cluster
) -> None:
    run = make_run(STOP_WHEN_ASKED, {"requeue": False})
    job = slurm.start(run)
    wait_until(run.events.exists, "the training to start")
    cluster.run(["scancel", "--signal=USR1", "--batch", job])
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("stopped", 75)


@pytest.mark.parametrize("training", ["sleep 60", "trap '' TERM; sleep 60"], ids=["dies", "ignores signals"])
@pytest.mark.fault(7)
def test_cancelling_kills_the_job_and_says_so(slurm: Executor, make_run: MakeRun, training: str) -> None:
    run = make_run(training, {"nodes": 2})
    slurm.start(run)
    wait_until(
        lambda: run.job_log(str(run.last_job())).exists() and bool(run.attempt_numbers()), "an attempt"
    )
    slurm.cancel(run)
    assert (read_json(run.result) or {})["status"] == "cancelled"
    assert slurm.state(run).status in ("cancelled", "failed")
    assert not run.cancel.exists()
    slurm.cancel(run)


@pytest.mark.fault(7)
def test_cancelling_says_what_is_left_and_where(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm waits for what it runs at a job's end just as for processes that don't die."""
    slow = stand_in(tmp_path / "epilog", f"until test -e {tmp_path}/go; do sleep 0.1; done")
    monkeypatch.setattr("launcher.executors.shared.slurm_cancelling.CANCEL_TIMEOUT_S", 2.0)
    run = make_run("sleep 60")
    with FlatCluster(tmp_path / "cluster", nodes=1, extra_conf=f"Epilog={slow}") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
        slurm = executor_for("slurm")
        job = slurm.start(run)
        wait_until(lambda: bool(run.attempt_numbers()), "an attempt")
        said = rf"job {job} was killed, but something of it is still there on node1, since \d\d:\d\d:\d\d\n"
        for _ in range(2):
            with pytest.raises(RunFailed, match=said):
                slurm.cancel(run)
        assert slurm.state(run).status == "completing"
        (tmp_path / "go").touch()
        assert ended(slurm, run).status == "cancelled"


def test_cancelling_says_which_nodes_slurm_gave_up(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("sleep 60")
    with FlatCluster(tmp_path / "cluster", nodes=1, extra_conf="Epilog=/bin/false") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
        slurm = executor_for("slurm")
        job = slurm.start(run)
        wait_until(lambda: bool(run.attempt_numbers()), "an attempt")
        with pytest.raises(
            RunFailed, match=rf"job {job} has ended, but Slurm has given up node1 \(Epilog error\)"
        ):
            slurm.cancel(run)
        assert (read_json(run.result) or {})["status"] == "cancelled"
        assert slurm.state(run).status == "cancelled"


def test_cancelling_ends_every_job_that_the_run_has(
    slurm: Executor, make_run: MakeRun, cluster: Cluster
) -> None:
    """Two at once are possible where the file system has no locks; a job of another run is left alone."""
    run = make_run("sleep 60")
    stranger = cluster.run(["sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60"]).stdout.strip()
    run.add_job(stranger)
    for _ in range(2):
        run.add_job(cluster.run(["sbatch", "--parsable", str(run.job_sbatch)]).stdout.strip())
    wait_until(lambda: len(run.attempt_numbers()) == 2, "two attempts")

    slurm.cancel(run)
    assert cluster.run(["squeue", "--noheader", "--format=%i"]).stdout.split() == [stranger]
    assert (read_json(run.result) or {})["status"] == "cancelled"
    assert not run.cancel.exists()


def test_a_request_that_another_job_took_for_its_own_is_recorded_all_the_same(
    slurm: Executor, make_run: MakeRun
) -> None:
    """Scripts of two jobs share one request; the first that ends takes it, and the other then calls its end a failure."""
    run = make_run(FINISH)
    run.job_sbatch.write_text(
        run.job_sbatch.read_text().replace("\n#SBATCH --no", "\n#SBATCH --hold\n#SBATCH --no", 1)
    )
    job = slurm.start(run)
    run.result.write_text(json.dumps({"status": "failed", "job_id": job}))
    other = threading.Thread(target=_take_request, args=[run])
    other.start()
    slurm.cancel(run)
    other.join()
    assert (read_json(run.result) or {})["status"] == "cancelled"


def _take_request(run: RunDir) -> None:
    while not run.cancel.exists():
        time.sleep(0.001)
    run.cancel.unlink()


@pytest.mark.parametrize(("training", "status"), [(FINISH, "completed"), ("exit 3", "failed")])
def test_a_run_that_has_ended_is_not_cancelled_afterwards(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: str, status: str
) -> None:
    """Slurm still waits for something of its job, here for what it runs at a job's end."""
    run = make_run(training)
    slow = stand_in(tmp_path / "epilog", f"until test -e {tmp_path}/go; do sleep 0.1; done")
    monkeypatch.setattr("launcher.executors.shared.slurm_cancelling.CANCEL_TIMEOUT_S", 1.0)
    with FlatCluster(tmp_path / "cluster", nodes=1, extra_conf=f"Epilog={slow}") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
        slurm = executor_for("slurm")
        slurm.start(run)
        wait_for(slurm, run, "completing")
        with pytest.raises(RunFailed, match="something of it is still there"):
            slurm.cancel(run)
        (tmp_path / "go").touch()
        ended(slurm, run)
    assert (read_json(run.result) or {})["status"] == status
    assert not run.cancel.exists()


def test_cancelling_a_waiting_job(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(FINISH)
    run.job_sbatch.write_text(
        run.job_sbatch.read_text().replace("\n#SBATCH --no", "\n#SBATCH --hold\n#SBATCH --no", 1)
    )
    slurm.start(run)
    slurm.cancel(run)
    assert (read_json(run.result) or {})["status"] == "cancelled"
    assert slurm.state(run).status == "cancelled"


@pytest.mark.fault(7)
def test_a_plain_scancel_is_final(slurm: Executor, make_run: MakeRun, cluster: Cluster) -> None:
    run = make_run(STOP_WHEN_ASKED)
    job = slurm.start(run)
    wait_until(run.events.exists, "the training to start")
    cluster.run(["scancel", job])
    assert ended(slurm, run).status == "cancelled"
    assert attempt(run, 1)["next"] == "stay"
    assert (read_json(run.result) or {})["status"] == "cancelled"


@pytest.mark.fault(31)
def test_a_run_survives_the_loss_of_a_node(
    slurm: Executor, make_run: MakeRun, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run = make_run(
        f"if [[ $LAUNCHER_ATTEMPT == 2 ]]; then {FINISH} exit; fi; touch $run_dir/logs/ready; sleep 60",
        {"nodes": 2},
    )
    job = slurm.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")
    lost = attempt(run, 1)["hosts"][1]
    cluster.run(["scontrol", "update", f"nodename={lost}", "state=down", "reason=test"])
    # An answer that was under way takes it back, and then no step may ever start on it.
    cluster.run(["scontrol", "update", f"nodename={lost}", "state=drain", "reason=test"])
    hurry(cluster, job)
    assert run.secrets.exists()
    assert ended(slurm, run).status == "completed"
    cluster.run(["scontrol", "update", f"nodename={lost}", "state=resume"], check=False)
    assert lost not in attempt(run, 2)["hosts"]
    assert attempt(run, 1)["status"] == "interrupted"
    assert attempt(run, 2)["status"] == "completed"


@pytest.mark.long
def test_a_training_that_dies_without_a_word_is_explained(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(
        'echo "the last words" >&2; [[ $SLURM_NODEID == 0 ]] || kill -KILL $$; sleep 30', {"nodes": 2}
    )
    slurm.start(run)
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("failed", 1)
    error = (read_json(run.result) or {})["error"]
    assert (error["class"], error["host"], error["step"]) == ("killed", attempt(run, 1)["hosts"][1], None)
    assert "the last words" in error["message"]


def test_the_script_of_an_expedited_job_ends_well_however_its_run_did(
    slurm: Executor, cluster: Cluster, make_run: MakeRun
) -> None:
    """Slurm 25.11 would hold it in the queue. Here the job is told so by hand, since this Slurm is older."""
    run = make_run("exit 3")
    done = cluster.run(
        ["sbatch", "--parsable", str(run.job_sbatch)], env={**os.environ, "LAUNCHER_EXPEDITED": "yes"}
    )
    run.add_job(done.stdout.strip())
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("completed", 0)
    found = outcome(run, done.stdout.strip(), state)
    assert (found.status, found.error and found.error.kind) == ("failed", "crashed")


def test_setup_lines_that_fail_are_in_the_job_log(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(FINISH, profile={"setup": ["echo module cuda/99 is unknown >&2; false"]})
    job = slurm.start(run)
    assert ended(slurm, run).status == "failed"
    assert "module cuda/99 is unknown" in run.job_log(job).read_text()


def test_a_forgotten_job_is_known_by_what_it_left(slurm: Executor, make_run: MakeRun) -> None:
    run = make_run(FINISH)
    job = slurm.start(run)
    nodes = ended(slurm, run).nodes
    forgotten = "999999"
    record = run.attempt(1).record
    record.write_text(record.read_text().replace(f'"{job}"', f'"{forgotten}"'))
    run.jobs.write_text(forgotten)
    state = slurm.state(run)
    assert (state.status, state.exit_code, state.nodes) == ("completed", 0, nodes)

    record.unlink()
    state = slurm.state(run)
    assert (state.status, state.reason) == ("unknown", "the job is gone and left no result")


def test_hostile_paths_stay_data(slurm: Executor, tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s $(touch owned) `x` #SBATCH; "q" 100%j ü' / "hetjob"
    python = stand_in_python(tmp_path / "python $HOME", FINISH.replace("$run_dir", '"$run_dir"'))
    run = new_run(plan_of({"executor": "slurm"}, run_dir=directory, python=python))
    job = slurm.start(run)
    assert ended(slurm, run).status == "completed"
    assert run.job_log(job).exists()
    assert not list(tmp_path.rglob("owned"))


BUSY = """
soon=--immediate=3
if ((LAUNCHER_RESTARTS < {times})); then
    shared=()
    srun --nodes=2 --ntasks=2 sleep 600 &
    until squeue --noheader --steps --jobs="$SLURM_JOB_ID" --format=%i | grep -q '\\.[0-9]'; do sleep 0.1; done
fi
"""


def no_steps(run: RunDir, before: str, times: int = 1) -> None:
    """Have Slurm count the job's cores as taken from there on in its script, the first times that it starts."""
    script = run.job_sbatch.read_text()
    assert script.count(before) == 1
    run.job_sbatch.write_text(script.replace(before, BUSY.format(times=times) + before))


@pytest.mark.long
@pytest.mark.fault(31)
@pytest.mark.parametrize(
    "before",
    ["\nhosts=failed\n", pytest.param("\nif [[ ${hosts:-failed} != failed ]]", marks=pytest.mark.long)],
)
def test_a_job_that_slurm_starts_no_step_of_is_put_back_and_goes_on(
    slurm: Executor, make_run: MakeRun, cluster: Cluster, before: str
) -> None:
    """As after a node that Slurm lost and took back at once: the look at the nodes, or the training, waits for ever."""
    run = make_run(FINISH, {"nodes": 2})
    no_steps(run, before)
    job = slurm.start(run)
    wait_until(lambda: slurm.state(run).reason == "BeginTime", "the job to be put back")
    error = (read_json(run.result) or {})["error"]
    assert (error["class"], error["host"], error["step"]) == ("node", None, None)
    assert "started nothing on them: Requested nodes are busy" in error["message"]
    hurry(cluster, job)
    assert ended(slurm, run).status == "completed"
    assert [attempt(run, number)["next"] for number in run.attempt_numbers()] == ["requeue", "stay"]


@pytest.mark.fault(31)
@pytest.mark.long
def test_a_job_that_slurm_never_starts_a_step_of_is_put_back_twice(
    slurm: Executor, make_run: MakeRun, cluster: Cluster
) -> None:
    run = make_run(FINISH, {"nodes": 2})
    no_steps(run, "\nhosts=failed\n", times=9)
    job = slurm.start(run)
    for _ in range(2):
        hurry(cluster, job)
    assert ended(slurm, run).status == "failed"
    error = (read_json(run.result) or {})["error"]
    assert error["class"] == "node"
    assert "3 attempts in a row have failed without any checkpoint" in error["message"]
