"""Who sends a run's rows, and a finished run's record at W&B, in TensorBoard and in MLflow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of
from support.wandb_stub import WandbStub

from launcher.errors import EXIT_USAGE, DamagedFile, RunFailed, UserError
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.metrics import doubt_of, doubt_of_file
from launcher.runs.records import GrowingFile
from launcher.runs.results import Result
from launcher.train.process.events import Events
from launcher.train.record import ending
from launcher.train.record.exports import export
from launcher.train.record.metrics_log import MetricsLog
from launcher.train.record.sender import Sender
from launcher.train.record.sync import sync as send
from launcher.train.record.tracking import Tracker, TrackingSettings
from launcher.train.record.wandb_files import history
from launcher.train.record.wandb_rows import new_rows

STEPS = 12
Sync = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that is over, and of which nobody but its record knows."""
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "r"))
    log = MetricsLog(run.metrics)
    for step in range(1, STEPS + 1):
        log.train(step, {"epoch": step / 10, "train/loss": 1 / step, "train/grad_norm": None})
        if step % 4 == 0:
            log.eval(step, "validation", {"epoch": step / 10, "eval/accuracy": step / 100})
    log.eval(STEPS, "test", {"eval/accuracy": 0.25})
    log.close()
    run.write_result(Result("completed", steps=STEPS))
    return run


@pytest.fixture
def sync(run: RunDir) -> Sync:
    """`python -m launcher.train sync`: its last event."""

    def call(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "launcher.train", "sync", str(run.path), *options]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, check=False, env=os.environ
        )
        last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return last

    return call


def test_a_plan_of_another_version_is_a_sentence(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://")
    run.plan.write_text(json.dumps({**json.loads(run.plan.read_text()), "newer": 1}))
    with pytest.raises(DamagedFile, match=r"plan\.json: newer: Extra inputs are not permitted"):
        send(run, Events(None), follow=False)
    with pytest.raises(DamagedFile, match="written by another version"):
        export(run, "mlflow", follow=False)


def test_what_the_system_refuses_is_a_sentence(run: RunDir, sync: Sync) -> None:
    (run.path / "wandb").write_text("")
    told = sync()
    assert told["event"] == "error"
    assert told["exit_code"] == EXIT_USAGE
    assert told["problems"][0]["message"] == "File exists"
    assert told["problems"][0]["where"] == str(run.path / "wandb")


def expected() -> list[dict[str, Any]]:
    """The rows of `run` as W&B shows them."""
    rows = []
    for step in range(1, STEPS + 1):
        row = {"_step": step, "epoch": step / 10, "train/loss": 1 / step}
        rows.append(row | ({"eval/accuracy": step / 100} if step % 4 == 0 else {}))
    rows[-1]["test/accuracy"] = 0.25
    return rows


def shown(server: WandbStub) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("_runtime", "_timestamp")}
        for row in server.history("r")
    ]


def test_a_record_is_sent_whole_and_once_where_runs_are_offline_otherwise(
    server: WandbStub, sync: Sync, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = sync()
    assert (done["event"], done["rows"], done["ended"]) == ("result", STEPS, True)
    assert done["url"].endswith("/launcher/runs/r")
    assert shown(server) == expected()
    assert server.run("r").exit_code == 0
    assert server.run("r").summary["best/step"] == STEPS
    assert json.loads(server.run("r").config)["recipe"]["value"]["task"] == "classification"
    assert server.run("r").events == [], "what the machine does that sends is nothing of the run"
    assert not (run.path / "wandb" / "sender").exists()

    assert sync()["rows"] == 0
    assert shown(server) == expected()


@pytest.mark.long
def test_what_goes_on_is_marked_and_its_newest_step_waits_for_its_evaluation(
    server: WandbStub, sync: Sync, run: RunDir
) -> None:
    run.result.unlink()
    sleeper = subprocess.Popen(["bash", "-c", f"sleep 300; : {run.job_sh}", str(run.job_sh)])
    try:
        run.add_job(f"local {sleeper.pid}")
        done = sync()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert (done["rows"], done["ended"]) == (STEPS - 1, False)
    assert server.run("r").preempting
    run.write_result(Result("completed", steps=STEPS))
    assert sync()["rows"] == 1
    assert shown(server) == expected()


@pytest.mark.long
def test_what_metrics_and_a_torn_offline_file_hold_together_is_sent(
    server: WandbStub, sync: Sync, run: RunDir
) -> None:
    """The offline file ends in the middle of a row; metrics.jsonl has lost a line, and the end of the training."""
    log = MetricsLog(run.metrics)
    Tracker(TrackingSettings("r", run.path, mode="offline", flush_s=1, poll_s=0.1), log).finish(0)
    log.close()
    (file,) = run.path.glob("wandb/offline-run-*/run-r.wandb")
    content, whole = file.read_bytes(), list(history(file))
    assert [row["_step"] for row in whole] == list(range(1, STEPS + 1))
    for place in range(0, len(content), len(content) // 200):
        damaged = content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]
        file.write_bytes(damaged)
        assert all(row in whole for row in history(file)), "a flipped bit changes no figure"
    file.write_bytes(content[: content.index(b"0.1111")])  # the loss of step 9
    lines = run.metrics.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith('{"step": 5,')]
    run.metrics.write_text("".join(kept)[: -len("".join(lines[-3:])) - 20])  # torn in step 11
    done = sync()
    assert done["event"] == "result", done
    sent = [row["_step"] for row in shown(server)]
    assert sent == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert shown(server) == expected()[:10]
    assert sync()["rows"] == 0


@pytest.mark.long
def test_an_offline_file_that_is_gone_or_no_file_of_wandb_is_no_obstacle(
    server: WandbStub, sync: Sync, run: RunDir
) -> None:
    part = run.path / "wandb" / "offline-run-20260101_000000-r"
    part.mkdir(parents=True)
    run.metrics.unlink()
    told = ({"event": "step", "attempt": 1, "step": step, "loss": 1 / step} for step in range(1, 4))
    run.events.parent.mkdir(exist_ok=True)
    run.events.write_text("".join(json.dumps(event) + "\n" for event in told))
    (part / "run-r.wandb").write_bytes(b"\x00\xff" * 50_000)
    assert sync()["rows"] == 3
    assert [(row["_step"], row["train/loss"]) for row in shown(server)] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


@pytest.mark.long
@pytest.mark.usefixtures("server")
def test_one_sends_at_a_time(sync: Sync, run: RunDir) -> None:
    (run.path / "wandb").mkdir()
    training = Sender(run.path / "wandb", "training")
    assert training.claim() is None
    refused = sync()
    assert refused["event"] == "error"
    assert f"is being sent by the training (process {os.getpid()}" in refused["problems"][0]["message"]
    training.release()
    assert sync()["rows"] == STEPS


def test_a_training_goes_before_one_that_is_dead_but_not_before_a_living_sync(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for kind in ("sync", "training"):
        tree = {"kind": kind, "host": os.uname().nodename, "pid": dead.pid}
        (tmp_path / "sender").write_text(json.dumps(tree))
        assert Sender(tmp_path, "training").holder() is None
    (tmp_path / "sender").write_text(json.dumps({"kind": "sync", "host": "elsewhere", "pid": 1}))
    assert Sender(tmp_path, "training").claim() == "launch sync (process 1 on elsewhere)"
    os.utime(tmp_path / "sender", (1, 1))
    assert Sender(tmp_path, "training").claim() is None
    (tmp_path / "sender").write_text(json.dumps({"kind": "training", "host": "elsewhere", "pid": 1}))
    assert Sender(tmp_path, "training").holder() is None, "of a run's attempts only one is alive"
    assert Sender(tmp_path, "sync").holder() is not None
    (tmp_path / "sender").write_text("not JSON")
    assert Sender(tmp_path, "sync").holder() is None


def test_a_sender_whose_number_another_process_has_by_now_is_gone(tmp_path: Path) -> None:
    Sender(tmp_path, "training").claim()
    assert (
        Sender(tmp_path, "sync").holder() == f"the training (process {os.getpid()} on {socket.gethostname()})"
    )
    named = json.loads((tmp_path / "sender").read_text())
    (tmp_path / "sender").write_text(json.dumps(named | {"started": named["started"] - 1}))
    assert Sender(tmp_path, "sync").holder() is None


def test_a_result_that_cant_be_read_ends_the_following(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on at first, and of which nothing can be read in the end."""
    seen = iter([False, False, True, True])
    monkeypatch.setattr(ending, "ASK_S", 0.01)
    monkeypatch.setattr(ending.Ending, "_has_ended", lambda _: next(seen))
    run.result.write_text("{")
    followed = ending.Ending(run, follow=True)
    assert followed.ending.wait(10)
    assert followed.exit_code is None


@pytest.mark.long
def test_without_a_key_or_a_server_nothing_is_sent(
    server: WandbStub, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.go_down()
    assert "does not answer" in sync()["problems"][0]["message"]
    monkeypatch.delenv("WANDB_API_KEY")
    assert "no key" in sync()["problems"][0]["message"]


@pytest.mark.long  # starts two clients of W&B, one after the other: 8 s
def test_a_test_that_follows_steps_which_are_there_stands_in_the_summary(
    server: WandbStub, sync: Sync, run: RunDir
) -> None:
    """As after an attempt that was stopped before the test, and one that could not be online."""
    whole = run.metrics.read_text()
    run.metrics.write_text("".join(line for line in whole.splitlines(keepends=True) if '"test"' not in line))
    assert sync()["rows"] == STEPS
    assert "test/accuracy" not in server.run("r").summary
    run.metrics.write_text(whole)
    assert sync()["rows"] == 0
    assert server.run("r").summary["test/accuracy"] == 0.25


def test_a_line_of_megabytes_is_no_line_of_ours(run: RunDir) -> None:
    whole = run.metrics.read_text()
    lines = whole.splitlines(keepends=True)
    run.metrics.write_text(
        "".join([lines[0], lines[1].replace("{", '{"x":"' + "y" * (3 << 20) + '",'), *lines[2:]])
    )
    metrics = GrowingFile(run.metrics)
    assert [(row.step, row.split) for _, row in new_rows(metrics)][:3] == [
        (1, None),
        (3, None),
        (4, None),
    ]
    with run.metrics.open("a") as file:
        file.write('{"step": 13, ')
    assert list(new_rows(metrics)) == []
    with run.metrics.open("a") as file:
        file.write('"train/loss": 0.5}\n')
    assert [(row.step, row.figures) for _, row in new_rows(metrics)] == [(13, {"train/loss": 0.5})]
    assert doubt_of(run) == doubt_of_file(run) == "metrics.jsonl lacks step 2"
    run.logs.mkdir(exist_ok=True)
    run.events.write_text('{"event": "step", "step": 2, "loss": 0.5}\n')
    assert doubt_of(run) is None, "the events know it"
    assert doubt_of_file(run) == "metrics.jsonl lacks step 2"


def test_a_line_with_one_flipped_bit_is_missed(run: RunDir) -> None:
    """It begins and ends as a line does, but is no JSON."""
    lines = run.metrics.read_text().splitlines(keepends=True)
    flipped = lines[1].replace('"train/loss": 0.', '"train/loss": 0/')
    assert flipped != lines[1]
    run.metrics.write_text("".join([lines[0], flipped, *lines[2:]]))
    assert doubt_of_file(run) == "metrics.jsonl lacks step 2"


def test_tensorboard_has_each_step_once_however_often(run: RunDir) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run.logs.mkdir(exist_ok=True)
    told = [{"event": "step", "t": 1000.0 + 60 * step, "step": step} for step in range(1, STEPS + 1)]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in told))
    for _ in range(2):
        sent = export(run, "tensorboard", follow=False)
        assert (sent.rows, sent.ended) == (STEPS, True)
        read = EventAccumulator(str(run.path / "tensorboard"))
        read.Reload()
        losses = read.Scalars("train/loss")
        assert [event.step for event in losses] == list(range(1, STEPS + 1))
        assert [event.value for event in losses] == pytest.approx([1 / step for step in range(1, STEPS + 1)])
        assert [event.wall_time for event in losses] == [event["t"] for event in told], "when they were done"
        assert [event.value for event in read.Scalars("test/accuracy")] == [0.25]
        assert [event.step for event in read.Scalars("epoch")] == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of its own database layer
def test_mlflow_has_each_step_once_however_often(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="is not set"):
        export(run, "mlflow", follow=False)
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    for number, began in ((1, 1000.5), (2, 5000.0)):
        run.attempt(number).path.mkdir(parents=True, exist_ok=True)
        run.attempt(number).write(Attempt(number, started_at=began, ended_at=began + 100))
    for status, rows, told in (("stopped", STEPS, "KILLED"), ("completed", 0, "FINISHED")):
        run.write_result(Result(status, steps=STEPS))
        assert export(run, "mlflow", follow=False).rows == rows
        experiment = client.get_experiment_by_name("launcher")
        assert experiment is not None
        (found,) = client.search_runs([experiment.experiment_id])
        assert found.info.status == told
    times = found.info.start_time, found.info.end_time
    assert times == (1_000_500, 5_100_000), "those of the run, and not of the command that sends it"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert {metric.step: metric.value for metric in history} == {n: 1 / n for n in range(1, STEPS + 1)}
    assert len(history) == STEPS
    assert found.data.params["task"] == "classification"
    assert found.data.params["tracking.wandb.project"] == "launcher", "the last of more than it takes at once"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://name:password@host")
    with pytest.raises(RunFailed, match="MLflow at nowhere://host"):
        export(run, "mlflow", follow=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of its own database layer
def test_mlflow_has_the_metrics_of_labels_with_any_characters_and_what_it_raises_is_a_sentence(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses whole batches for a name with other characters than letters, digits and some marks: tags of Penn have them."""
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    labels = ["PRP", "PRP$", "''", ",", ".", "", "C+", "C#", "a/b", "\u5a31\u4e50"]
    log = MetricsLog(run.metrics)
    log.eval(STEPS, "extra", {f"eval/f1/{label}": 0.5 for label in labels})
    log.close()
    assert export(run, "mlflow", follow=False).rows == STEPS
    assert export(run, "mlflow", follow=False).rows == 0, "they are known again"

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    (found,) = MlflowClient(tracking_uri=address).search_runs(["1"])
    of_labels = [name.removeprefix("extra/f1/") for name in found.data.metrics if "/f1/" in name]
    known = ["PRP", "PRP_24_", "_27__27_", "_2c_", "_2e_", "_", "C_2b_", "C_23_", "a/b", "\u5a31\u4e50"]
    assert sorted(of_labels) == sorted(known)

    def gone(*_: object, **__: object) -> None:
        raise MlflowException("API request failed\nwith many lines")

    monkeypatch.setattr(MlflowClient, "set_terminated", gone)
    with pytest.raises(RunFailed, match=r"API request failed$"):
        export(run, "mlflow", follow=False)


def test_a_server_of_mlflow_that_errs_is_a_sentence_without_its_password(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:pass@word@127.0.0.1:9")
    with pytest.raises(RunFailed, match=r"MLflow at http://127\.0\.0\.1:9: ") as caught:
        export(run, "mlflow", follow=False)
    assert "word" not in str(caught.value)


def test_trials_are_grouped_by_their_sweep(tmp_path: Path) -> None:
    from launcher.train.record.recorder import tracking_settings

    plan = plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "my.sweep.lr0.001-seed1")
    run = new_run(plan)
    assert tracking_settings(run, plan, {}).group == "example"
    (tmp_path / "runs" / "my.sweep").mkdir()
    (tmp_path / "runs" / "my.sweep" / "sweep.json").write_text("{}")
    assert tracking_settings(run, plan, {}).group == "my.sweep"
    own = plan_of({"executor": "local", "tracking": {"wandb": {"group": "g"}}}, run_dir=run.path)
    assert tracking_settings(run, own, {}).group == "g"
