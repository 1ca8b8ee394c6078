"""Tracking: metrics.jsonl is the record, and W&B can be down, slow, forbidden or killed without training noticing.

The client is the real one; the server is `support.wandb_stub`. The "training" is a loop that writes metrics.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.cases import quick
from support.waiting import wait_until
from support.wandb_stub import API_KEY, ENTITY, WandbStub

from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.metrics import MetricsRow, row_of
from launcher.runs.results import Error, Result
from launcher.runs.wandb_parts import has_unsent
from launcher.train.record import wandb_files
from launcher.train.record.alerts import cause
from launcher.train.record.metrics_log import MetricsLog
from launcher.train.record.tracking import LATE, Tracker, TrackingSettings
from launcher.train.record.wandb_client import OLD_PRESS_S, StopButton, probe
from launcher.train.record.wandb_rows import BestSoFar, Steps

RUN = "run-of-a-test"
OF_SLURM = "a-name-that-only-slurm-knows"
HUB_TOKEN = "hf_a-token-for-the-hub"
Start = Callable[..., tuple[MetricsLog, Tracker]]

# A training that may be killed and resumed: `python -c PROGRAM DIRECTORY FIRST LAST [hold]`.
PROGRAM = f"""
import sys, time
from pathlib import Path
from launcher.train.record.metrics_log import MetricsLog
from launcher.train.record.tracking import LATE, Tracker, TrackingSettings
directory, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = MetricsLog(directory / "metrics.jsonl")
tracker = Tracker(TrackingSettings({RUN!r}, directory, flush_s=1, poll_s=0.1, monitor="eval/accuracy"), log)
for step in range(first, last + 1):
    log.train(step, {{"epoch": step / 10, "train/loss": step + 0.001 * first}})
    if step % 4 == 0:
        log.eval(step, "validation", {{"epoch": step / 10, "eval/accuracy": 1 - abs(step - 8) / 100}})
print("trained", flush=True)
if sys.argv[4:] == ["hold"]:
    time.sleep(600)
tracker.finish(0)
print(tracker.notices(), flush=True)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / RUN
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Opens the record of a run and starts its tracker, which is ended with the test."""
    started: list[tuple[MetricsLog, Tracker]] = []

    def _start(on_stop: Callable[[], None] | None = None, **settings: Any) -> tuple[MetricsLog, Tracker]:
        log = MetricsLog(run_dir / "metrics.jsonl")
        quick = {"flush_s": 1, "poll_s": 0.1, **settings}
        tracker = Tracker(TrackingSettings(RUN, run_dir, **quick), log, on_stop)
        started.append((log, tracker))
        return log, tracker

    yield _start
    for log, tracker in started:
        tracker.finish(1, timeout_s=0)
        log.close()
    wait_until(lambda: not clients(run_dir) and not cores(run_dir), "all processes to end")


# The record


def test_each_line_is_written_once_and_is_plain_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.train(1, {"epoch": 0.5, "train/loss": 0.25, "perf/tokens_per_s": 1000})
    assert log.eval(1, "validation", {"epoch": 0.5, "eval/accuracy": 0.75})
    assert log.eval(1, "test", {"epoch": 0.5, "eval/accuracy": 0.5})
    assert not log.train(1, {"train/loss": 99})
    assert not log.eval(1, "test", {"eval/accuracy": 99})
    assert log.train(2, {"train/loss": float("nan"), "train/grad_norm": float("-inf"), "train/lr": None})
    log.sync()
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 1, "epoch": 0.5, "train/loss": 0.25, "perf/tokens_per_s": 1000}\n'
        '{"step": 1, "epoch": 0.5, "split": "validation", "eval/accuracy": 0.75}\n'
        '{"step": 1, "epoch": 0.5, "split": "test", "eval/accuracy": 0.5}\n'
        '{"step": 2, "train/loss": null, "train/grad_norm": null, "train/lr": null}\n'
    )


def test_steps_redone_after_a_crash_keep_their_first_values(tmp_path: Path) -> None:
    before = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        before.train(step, {"train/loss": step})
    before.close()
    after = MetricsLog(tmp_path / "metrics.jsonl")
    assert [after.train(step, {"train/loss": -step}) for step in (2, 3, 4)] == [False, False, True]
    assert [row["train/loss"] for row in after.rows()] == [1, 2, 3, -4]
    after.close()


@pytest.mark.fault(21)
def test_a_run_killed_at_any_byte_ends_with_the_lines_of_one_that_was_not(tmp_path: Path) -> None:
    def train(path: Path) -> bytes:
        log = MetricsLog(path)
        for step in (1, 2, 3):
            log.train(step, {"train/loss": 1 / step})
            log.eval(step, "validation", {"eval/loss": 1.5})
        log.close()
        return path.read_bytes()

    whole = train(tmp_path / "whole.jsonl")
    for length in range(len(whole)):
        torn = tmp_path / f"{length}.jsonl"
        torn.write_bytes(whole[:length])
        assert train(torn) == whole, f"cut at {length}"


def test_a_tail_of_zeros_from_a_power_failure_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + b"\0" * 50 + b"\n")
    log = MetricsLog(path)
    log.train(2, {})
    log.close()
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


# Rows and summary, as W&B gets them


def line(tree: dict[str, Any]) -> MetricsRow:
    """A line of metrics.jsonl."""
    row = row_of(json.dumps(tree))
    assert row is not None
    return row


def test_the_lines_of_a_step_make_one_row_which_waits_for_its_evaluation() -> None:
    steps = Steps(sent=-1)
    assert steps.add(line({"step": 1, "epoch": 0.1, "train/loss": 3.0}), live=True) is None
    assert (
        steps.add(line({"step": 1, "epoch": 0.1, "split": "validation", "eval/loss": 2.0}), live=True) is None
    )
    assert steps.add(line({"step": 1, "epoch": 0.1, "split": "test", "eval/loss": 2.5}), live=True) is None
    row = {"epoch": 0.1, "train/loss": 3.0, "eval/loss": 2.0, "test/loss": 2.5}
    assert steps.add(line({"step": 2, "train/loss": None}), live=True) == (1, row)
    assert steps.take() == (2, {})
    assert steps.take() is None


def test_an_evaluation_that_comes_after_its_row_was_sent_rides_on_the_next() -> None:
    steps = Steps(sent=4)
    assert steps.add(line({"step": 4, "train/loss": 1.0}), live=False) is None
    assert (
        steps.add(line({"step": 4, "epoch": 1.0, "split": "validation", "eval/loss": 2.0}), live=True) is None
    )
    assert steps.late == {"eval/loss": 2.0}
    assert steps.add(line({"step": 5, "train/loss": 0.5}), live=True) is None
    assert steps.take() == (5, {"eval/loss": 2.0, "train/loss": 0.5})


def test_an_evaluation_that_w_and_b_has_is_not_sent_again() -> None:
    steps = Steps(sent=4)
    steps.add(line({"step": 4, "split": "validation", "eval/loss": 2.0}), live=False)
    assert steps.late == {}


def test_a_client_started_again_sends_no_evaluation_twice() -> None:
    steps = Steps(sent=2)  # what the client before it sent, of this same attempt
    for step in (1, 2):
        steps.add(line({"step": step, "train/loss": 1.0}), live=True)
        steps.add(line({"step": step, "split": "validation", "eval/loss": 2.0}), live=True)
    steps.add(line({"step": 3, "train/loss": 1.0}), live=True)
    assert steps.take() == (3, {"train/loss": 1.0})


@pytest.mark.parametrize(("sent", "row"), [(4, {"eval/loss": 2.0, "train/loss": 0.5}), (5, None)])
def test_a_client_started_again_sends_a_late_evaluation_unless_its_row_arrived(
    sent: int, row: dict[str, float] | None
) -> None:
    steps = Steps(sent)
    steps.add(line({"step": 4, "train/loss": 1.0}), live=False)
    steps.add(line({"step": 4, "split": "validation", "eval/loss": 2.0}), live=True)
    steps.add(line({"step": 5, "train/loss": 0.5}), live=True)
    assert (steps.take(), steps.late) == ((5, row) if row else None, {})


@pytest.mark.parametrize(("mode", "step"), [("max", 2), ("min", 1)])
def test_best_is_of_the_validation_split_and_the_first_of_equals(mode: str, step: int) -> None:
    best = BestSoFar("eval/f1", mode)
    for at, split, f1 in [
        (1, "validation", 0.5),
        (1, "test", 0.9),
        (2, "validation", 0.8),
        (3, "validation", 0.8),
    ]:
        best.add(line({"step": at, "epoch": 0.0, "split": split, "eval/f1": f1, "eval/loss": at / 10}))
    assert best.summary == {"best/step": step, "best/f1": {2: 0.8, 1: 0.5}[step], "best/loss": step / 10}


# Online


OF_A_SHELL = {
    "WANDB_MODE": "offline",
    "WANDB_LAUNCH": "true",
    "WANDB_RESUME_FROM": "another?_step=3",
    "WANDB_SWEEP_PARAM_PATH": "gone/config.yaml",
    "WANDB_ENTITY": "elsewhere",
    "WANDB_TAGS": "t" * 70,
}
"""What people have set for other things."""


def test_metrics_arrive_while_the_training_runs(
    server: WandbStub, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in OF_A_SHELL.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("WANDB_API_KEY", f"{API_KEY}\n")
    config = {"recipe": {"train": {"lr": 3e-4}}, "slurm": {"job_id": 7}}
    log, tracker = start(
        mode="online", name="a name", group="a group", job_type="train", tags=("one", "two"), notes="a note", config=config,
        monitor="eval/accuracy",
    )  # fmt: skip
    log.train(1, {"epoch": 0.1, "train/loss": 1.0})
    log.train(2, {"epoch": 0.2, "train/loss": 0.5})
    log.eval(2, "validation", {"epoch": 0.2, "eval/accuracy": 0.75, "eval/loss": 0.5})
    log.train(3, {"epoch": 0.3, "train/loss": 0.25})
    server.wait_until(
        lambda: len(server.history(RUN)) == 2, "two rows, though the training is at its third step"
    )
    log.eval(3, "validation", {"epoch": 0.3, "eval/accuracy": 0.5, "eval/loss": 0.25})
    log.eval(3, "test", {"epoch": 0.3, "eval/accuracy": 0.125})
    tracker.finish(0)

    assert rows(server.history(RUN)) == [
        {"_step": 1, "epoch": 0.1, "train/loss": 1.0},
        {"_step": 2, "epoch": 0.2, "train/loss": 0.5, "eval/accuracy": 0.75, "eval/loss": 0.5},
        {
            "_step": 3,
            "epoch": 0.3,
            "train/loss": 0.25,
            "eval/accuracy": 0.5,
            "eval/loss": 0.25,
            "test/accuracy": 0.125,
        },
    ]
    run = server.run(RUN)
    assert run.exit_code == 0
    assert {name: run.summary[name] for name in ("best/accuracy", "best/loss", "best/step", "eval/accuracy")} == {
        "best/accuracy": 0.75, "best/loss": 0.5, "best/step": 2, "eval/accuracy": {"max": 0.75, "last": 0.5},
    }  # fmt: skip
    sent = json.loads(run.config)
    assert {name: sent[name]["value"] for name in config} == config
    told = ("displayName", "groupName", "jobType", "tags", "notes", "project")
    assert run.entity == ENTITY
    assert [run.attributes[name] for name in told] == [
        "a name",
        "a group",
        "train",
        ["one", "two"],
        "a note",
        "launcher",
    ]
    assert (tracker.mode, tracker.notices()) == ("online", [f"W&B: online, {tracker.url}"])


def test_no_secret_and_nothing_of_the_environment_leaves_the_training(
    server: WandbStub, start: Start, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", OF_SLURM)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    log, tracker = start()
    log.train(1, {"train/loss": 1.0})
    tracker.finish(0)
    assert server.history(RUN)
    assert "wandb-metadata.json" in server.run(RUN).files
    written = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    encoded = base64.b64encode(f"api:{API_KEY}".encode())
    for place, content in {"the network": server.everything_received(), **written}.items():
        for secret in (API_KEY.encode(), encoded, HUB_TOKEN.encode(), OF_SLURM.encode()):
            assert secret not in content, f"{secret!r} in {place}"
    assert not any(API_KEY in notice for notice in tracker.notices())


@pytest.mark.long
def test_the_stop_button_asks_the_training_to_stop_and_it_goes_on_later_as_the_same_run(
    server: WandbStub, start: Start
) -> None:
    asked = threading.Event()
    server.press_stop()
    log, tracker = start(on_stop=asked.set, tags=("one",))  # a KeyboardInterrupt here would fail the test
    log.train(1, {"train/loss": 3.0})
    log.train(2, {"train/loss": 2.0})
    assert asked.wait(60)
    tracker.finish(75)
    assert "W&B: stop was requested on the run's page" in tracker.notices()
    run = server.run(RUN)
    assert run.preempting
    assert (run.attributes["displayName"], run.attributes["tags"]) == (RUN, ["one"])

    changed = {"displayName": "the good one", "tags": ["one", "baseline"]}  # on the run's page
    run.attributes.update(changed)
    log, tracker = start(tags=("one",))
    log.eval(2, "validation", {"eval/loss": 1.5})  # due at the step of the stop, made up for after it
    log.train(3, {"train/loss": 1.0})
    tracker.finish(0)
    assert rows(server.history(RUN)) == [
        {"_step": 1, "train/loss": 3.0},
        {"_step": 2, "train/loss": 2.0},
        {"_step": 3, "train/loss": 1.0, "eval/loss": 1.5},
    ]
    assert run.exit_code == 0
    assert {name: run.attributes[name] for name in changed} == changed


def test_a_button_that_an_earlier_attempt_has_heeded_stops_no_later_one(tmp_path: Path) -> None:
    stopped: list[str] = []
    said: list[str] = []
    for seconds_before in (0.0, 0.0, OLD_PRESS_S):  # the first attempt, the second, and late in the second
        button = StopButton(tmp_path / "heard", lambda: stopped.append("stop"), said.append)
        button.watched(time.monotonic() - seconds_before)
        button.pressed()
    assert (len(stopped), len(said)) == (2, 1)
    assert said[0].endswith("use launch stop")


# The server fails


@pytest.mark.fault(20)
def test_a_server_that_is_down_at_the_start_means_offline_said_in_one_line(
    server: WandbStub, start: Start, run_dir: Path
) -> None:
    server.go_down()
    log, tracker = start()
    log.train(1, {"train/loss": 1.0})
    tracker.finish(0)
    assert tracker.mode == "offline"
    assert offline_rows(run_dir) == [{"_step": 1, "train/loss": 1.0}]
    [notice] = tracker.notices()
    assert notice.startswith(
        f"W&B: offline, {server.url} does not answer ([Errno 111] Connection refused); `launch sync "
    )


def test_without_a_key_the_run_is_offline(
    server: WandbStub, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    monkeypatch.setenv("TMPDIR", str(beside))
    monkeypatch.delenv("WANDB_API_KEY")
    _, tracker = start()
    tracker.finish(0)
    assert [notice.split(";")[0] for notice in tracker.notices()] == ["W&B: offline, no API key"]
    assert server.received == []
    wait_until(lambda: not list(beside.iterdir()), "wandb's temporary files to be gone")


DELETED = "run a/b/c was previously created and deleted; try a new run name"


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [(401, "no such key", ""), (409, DELETED, "it was deleted there, and W&B takes no id twice")],
    ids=["key", "deleted"],
)
@pytest.mark.fault(20)
def test_a_run_that_is_refused_is_recorded_offline(
    server: WandbStub, start: Start, run_dir: Path, code: int, message: str, said: str
) -> None:
    server.fail(code, "UpsertBucket|RunResumeStatus|Viewer", message)
    log, tracker = start(init_timeout_s=4)
    log.train(1, {"train/loss": 1.0})
    wait_until(lambda: tracker.mode == "offline", "the run to be offline")
    tracker.finish(0)
    assert offline_rows(run_dir) == [{"_step": 1, "train/loss": 1.0}]
    [notice] = tracker.notices()
    assert notice.startswith(f"W&B: offline, could not start online ({said}")
    assert message in notice


def test_a_server_whose_certificate_only_wandb_believes_has_answered(tmp_path: Path) -> None:
    own = [str(tmp_path / name) for name in ("certificate", "key")]
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-out", own[0], "-keyout", own[1]]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *subject], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError), listening.accept()[0] as connection:
                context.wrap_socket(connection, server_side=True)

        threading.Thread(target=answer, daemon=True).start()
        assert probe(f"https://localhost:{listening.getsockname()[1]}", timeout_s=60) is None


def test_a_server_behind_a_proxy_that_only_wandb_is_told_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.handle_request, daemon=True).start()
        monkeypatch.setenv("WANDB_HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        assert probe("http://wandb.invalid", timeout_s=60) is None
    assert asked == ["http://wandb.invalid/graphql"]


@pytest.mark.long
@pytest.mark.fault(20)
def test_a_server_that_hangs_during_init_does_not_hold_the_training(
    server: WandbStub, start: Start, run_dir: Path
) -> None:
    server.hang(where="UpsertBucket")
    log, tracker = start(init_timeout_s=4)
    for step in range(1, 101):
        log.train(step, {"train/loss": 1.0})
    assert tracker.mode is None, "a hundred steps were done before the client had started"
    server.wait_until(lambda: "UpsertBucket" in server.operations(), "the client to hang in init")
    log.train(101, {"train/loss": 1.0})
    assert tracker.mode is None, "and one more while it was hanging"
    wait_until(lambda: tracker.mode == "offline", "init to be given up")
    tracker.finish(0)
    assert [row["_step"] for row in offline_rows(run_dir)] == list(range(1, 102))
    [notice] = tracker.notices()
    assert "could not start online" in notice


@pytest.mark.fault(20)
def test_a_server_that_goes_away_and_comes_back_gets_every_row(server: WandbStub, start: Start) -> None:
    log, tracker = start()
    for step in (1, 2, 3):
        log.train(step, {"train/loss": 1.0})
    server.wait_until(lambda: len(server.history(RUN)) == 2, "the first rows")
    server.fail(503, where="file_stream")
    for step in range(4, 50):
        log.train(step, {"train/loss": 1.0})
    server.wait_until(
        lambda: any(b'\\"_step\\":48' in request.body for request in server.received), "rows in vain"
    )
    server.go_down()
    server.recover()
    log.train(50, {"train/loss": 1.0})
    server.come_back()
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == list(range(1, 51))


@pytest.mark.parametrize("code", quick([401, 403, 404], [401]))
def test_a_server_that_refuses_rows_for_a_while_gets_every_row_once_and_in_order(
    server: WandbStub, start: Start, code: int
) -> None:
    log, tracker = start(reconnect_s=0.5)
    for step in (1, 2, 3):
        log.train(step, {"train/loss": 1.0})
        log.eval(step, "validation", {f"eval/of_{step}": 1.0})
    server.wait_until(lambda: len(server.history(RUN)) == 2, "the first rows")
    server.fail(code, where="file_stream")
    for step in range(4, 50):
        log.train(step, {"train/loss": 1.0})
    log.eval(49, "validation", {"eval/of_49": 1.0})
    notices: list[str] = []
    wait_until(lambda: notices.extend(tracker.notices()) or len(notices) == 2, "the refusal to be noticed")
    server.recover()
    for step in range(50, 60):
        log.train(step, {"train/loss": 1.0})
    server.wait_until(lambda: len(server.history(RUN)) == 58, "the rows of before and after")
    log.train(60, {"train/loss": 1.0})
    tracker.finish(0)

    assert [row["_step"] for row in server.history(RUN)] == list(range(1, 61))
    assert evaluations(server) == [(step, f"eval/of_{step}") for step in (1, 2, 3, 49)]
    online, refused = notices
    assert online == f"W&B: online, {tracker.url}"
    assert refused.startswith(f"W&B: the server refused rows ({code} ")
    assert tracker.notices() == []


@pytest.mark.long
@pytest.mark.fault(20)
def test_a_server_that_takes_rows_again_only_when_the_training_ends_gets_them_then(
    server: WandbStub, start: Start
) -> None:
    server.fail(403, where="file_stream")
    log, tracker = start(reconnect_s=600)
    log.train(1, {"train/loss": 1.0})
    wait_until(lambda: any("refused" in notice for notice in tracker.notices()), "the refusal to be noticed")
    log.train(2, {"train/loss": 1.0})
    server.recover()
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == [1, 2]
    assert (server.run(RUN).exit_code, tracker.notices()) == (0, [])


@pytest.mark.long
@pytest.mark.parametrize("where", ["file_stream", ""], ids=["rows", "everything"])
def test_rows_that_are_refused_to_the_end_come_with_a_later_attempt(
    server: WandbStub, start: Start, run_dir: Path, where: str
) -> None:
    server.go_down()
    log, tracker = start(reconnect_s=0.5)
    wait_until(lambda: tracker.mode == "offline", "the run to begin offline")
    server.come_back()
    wait_until(lambda: tracker.mode == "online", "the run to be online")
    server.fail(401, where)
    for step in (1, 2, 3):
        log.train(step, {"train/loss": 1.0})
    tracker.finish(0)
    *_, refused, late = tracker.notices()
    assert refused == "W&B: the server refused rows (401 Unauthorized); metrics.jsonl has them for later"
    assert late == f"W&B: {LATE}"
    RunDir(run_dir).write_result(Result("completed"))
    assert has_unsent(RunDir(run_dir)), "`launch sync` looks for it"
    assert not list(run_dir.glob("wandb/offline-run-*/*.wandb.synced")), "as if the server had everything"
    assert offline_rows(run_dir) == [], "`wandb sync` would leave a gap"

    server.recover()
    log, tracker = start()
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == [1, 2, 3]
    assert not has_unsent(RunDir(run_dir))


def test_what_a_server_missed_at_the_end_comes_with_a_later_attempt(
    server: WandbStub, start: Start, run_dir: Path
) -> None:
    log, tracker = start(finish_timeout_s=2)
    for step in (1, 2, 3):
        log.train(step, {"train/loss": 1.0})
    server.wait_until(lambda: len(server.history(RUN)) == 2, "the first rows")
    server.hang()
    log.train(4, {"train/loss": 1.0})
    tracker.finish(0)  # wandb gives up
    late = f"W&B: {LATE}"
    assert late in tracker.notices()

    log, tracker = start()
    log.train(5, {"train/loss": 1.0})
    tracker.finish(0, timeout_s=0.5)  # we give up on wandb
    assert late in tracker.notices()
    wait_until(lambda: not clients(run_dir) and not cores(run_dir), "the client to be gone")

    server.recover()
    log, tracker = start()
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == [1, 2, 3, 4, 5]


@pytest.mark.long
def test_a_run_that_began_offline_goes_online_when_the_server_is_back(
    server: WandbStub, start: Start, run_dir: Path
) -> None:
    server.go_down()
    log, tracker = start(reconnect_s=0.5)
    log.train(1, {"train/loss": 1.0})
    wait_until(lambda: tracker.mode == "offline", "the run to be offline")
    log.train(2, {"train/loss": 1.0})
    server.come_back()
    wait_until(lambda: tracker.mode == "online", "the run to be online")
    log.train(3, {"train/loss": 1.0})
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == [1, 2, 3]
    assert list(run_dir.glob("wandb/offline-run-*/*.wandb.synced")), "`wandb sync` would send the rows again"


# The client fails


@pytest.mark.parametrize("victim", quick(["wandb-core", "client"], ["wandb-core"]))
@pytest.mark.fault(20)
def test_a_client_that_is_killed_is_started_again_and_nothing_is_lost(
    server: WandbStub, start: Start, run_dir: Path, victim: str
) -> None:
    log, tracker = start()
    for step in (1, 2, 3):
        log.train(step, {"train/loss": 1.0})
        log.eval(step, "validation", {f"eval/of_{step}": 1.0})
    server.wait_until(lambda: len(server.history(RUN)) == 2, "the first rows")
    [pid] = cores(run_dir) if victim == "wandb-core" else clients(run_dir)
    os.kill(pid, signal.SIGKILL)
    for step in range(4, 20):
        log.train(step, {"train/loss": 1.0})
    tracker.finish(0)
    assert [row["_step"] for row in server.history(RUN)] == list(range(1, 20))
    assert evaluations(server) == [(1, "eval/of_1"), (2, "eval/of_2"), (3, "eval/of_3")]


def test_where_wandb_cannot_be_imported_the_record_is_kept(
    server: WandbStub, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('wandb is not installed here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log, tracker = start()
    log.train(1, {})
    tracker.finish(0)
    assert tracker.notices() == [
        "W&B: not tracking (wandb is not installed here); metrics.jsonl has everything"
    ]
    assert server.received == []


def test_settings_that_wandb_refuses_are_said_in_one_line(
    server: WandbStub, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "not a url")
    log, tracker = start()
    log.train(1, {})
    tracker.finish(0)
    [notice] = tracker.notices()
    assert notice.startswith("W&B: not tracking (")
    assert notice.endswith("); metrics.jsonl has everything")
    assert server.received == []


@pytest.mark.parametrize(
    ("exit_code", "title", "severity"), [(0, f"{RUN} is completed", "INFO"), (75, None, None)]
)
def test_an_end_is_told_where_alerts_are_asked_for_but_no_planned_stop(
    server: WandbStub, start: Start, run_dir: Path, exit_code: int, title: str | None, severity: str | None
) -> None:
    (run_dir / "model").mkdir()
    (run_dir / "model" / "config.json").write_text("{}")
    server.fail(403, "CreateArtifact$", "storage quota is used up")
    log, tracker = start(alerts=True, upload=("model",))
    log.train(1, {"train/loss": 1.0})
    tracker.finish(exit_code)
    refused = [notice for notice in tracker.notices() if "does not take the model" in notice]
    assert ["storage quota is used up" in notice for notice in refused] == ([True] if title else []), refused
    assert [(alert["title"], alert["severity"]) for alert in server.alerts] == (
        [(title, severity)] if title else []
    )


def test_a_training_that_fails_is_told_with_its_class_and_remedy(server: WandbStub, run_dir: Path) -> None:
    error = Error("diverged", "loss nan at step 3", "lower train.lr", step=3)
    RunDir(run_dir).write_result(Result("failed", error=error))
    program = PROGRAM.replace("flush_s=1,", "flush_s=1, alerts=True,").replace("import sys", "import os, sys")
    begun = "while not list((directory / 'wandb').glob('run-*')): time.sleep(0.05)"
    program = program.replace("tracker.finish(0)", f"{begun}\nos._exit(1)")
    subprocess.run([sys.executable, "-c", program, str(run_dir), "1", "3"], check=False)
    server.wait_until(lambda: server.alerts, "an alert", 60)
    assert server.alerts == [
        {
            "title": f"{RUN} failed: diverged at step 3",
            "text": "loss nan at step 3 -> lower train.lr",
            "severity": "ERROR",
        }
    ]
    server.wait_until(lambda: "failure" in server.run(RUN).summary, "the cause in the summary", 60)
    assert server.run(RUN).summary["failure"] == error.sentence()
    wait_until(lambda: not clients(run_dir) and not cores(run_dir), "all processes to end")


def test_a_run_that_completes_takes_back_the_cause_of_an_attempt_that_failed(run_dir: Path) -> None:
    assert cause(run_dir, 0) == cause(run_dir, 75) == {}
    earlier = RunDir(run_dir).attempt(1)
    earlier.path.mkdir(parents=True, exist_ok=True)
    write_json(earlier.result, Result("failed", error=Error("network", "lost", None)).tree())
    assert cause(run_dir, 0) == {"failure": None}
    assert cause(run_dir, 75) == {}


def test_the_summary_says_how_long_steps_take(server: WandbStub, start: Start) -> None:
    log, tracker = start()
    for step in range(1, 101):
        log.train(step, {"perf/step_s": step / 100})
    tracker.finish(0)
    summary = server.run(RUN).summary
    assert [summary[f"perf/step_s_p{percent}"] for percent in (50, 90, 99)] == [0.51, 0.91, 1.0]


def test_rows_say_what_every_node_is_busy_with(server: WandbStub, start: Start, run_dir: Path) -> None:
    (run_dir / "logs").mkdir()
    now = time.time()
    for node, at in ((0, now), (1, now), (2, now - 3600)):
        line = json.dumps({"at": at, "cpu_percent": 40.5 + node, "name": "x"})
        (run_dir / "logs" / f"node_{node}.jsonl").write_text(f"{line}\n")
    (run_dir / "logs" / "node_3.jsonl").write_text("torn")
    log, tracker = start()
    log.train(1, {"train/loss": 1.0})
    log.train(2, {"train/loss": 0.5})
    tracker.finish(0)
    first, second = rows(server.history(RUN))
    assert first == {"_step": 1, "train/loss": 1.0, "node/0/cpu_percent": 40.5, "node/1/cpu_percent": 41.5}
    assert second == {"_step": 2, "train/loss": 0.5}


@pytest.mark.parametrize("variable", ["WANDB_DISABLED=true", "WANDB_MODE=disabled", "WANDB_MODE=offline"])
def test_what_a_user_has_told_wandb_about_all_runs_is_heeded_and_said(
    server: WandbStub, start: Start, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable.split("="))
    _, tracker = start()
    tracker.finish(0)
    mode = "offline" if variable.endswith("offline") else "disabled"
    [notice] = tracker.notices()
    assert notice.startswith(f"W&B: {mode}, as WANDB_MODE, WANDB_DISABLED or W&B's settings say; ")
    assert (tracker.mode, server.received) == (mode, [])


def test_disabled_starts_nothing(server: WandbStub, start: Start, run_dir: Path) -> None:
    _, tracker = start(mode="disabled")
    tracker.finish(0)
    assert (tracker.mode, tracker.notices(), server.received) == ("disabled", [], [])
    assert not (run_dir / "wandb").exists()


# The training fails


@pytest.mark.parametrize("mode", quick(["online", "offline"], ["online"]))
@pytest.mark.fault(21)
def test_a_training_that_is_killed_and_resumed_has_one_monotonic_history(
    server: WandbStub, run_dir: Path, mode: str
) -> None:
    if mode == "offline":
        server.go_down()
    first = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run_dir), "1", "9", "hold"], stdout=subprocess.PIPE
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"trained\n"
        wait_until(lambda: len(tracked(server, run_dir)) >= 8, "the rows of the steps before the newest")
        for pid in [first.pid, *clients(run_dir), *cores(run_dir)]:  # as when the node loses its power
            os.kill(pid, signal.SIGKILL)
    with (run_dir / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 10, "train/lo')
    # From the checkpoint of step 6: 7, 8 and 9 are done again, and so is the evaluation of step 8.
    subprocess.run([sys.executable, "-c", PROGRAM, str(run_dir), "7", "12"], check=True)

    history = tracked(server, run_dir)
    assert [row["_step"] for row in history] == list(range(1, 13))
    assert [row["train/loss"] for row in history] == [
        step + 0.001 * (1 if step <= 9 else 7) for step in range(1, 13)
    ]
    assert [row["_step"] for row in history if "eval/accuracy" in row] == [4, 8, 12]
    if mode == "online":
        summary = server.run(RUN).summary
        assert (summary["best/step"], summary["best/accuracy"]) == (8, 1)


@pytest.mark.long
def test_when_only_the_training_is_killed_the_client_ends_the_run_by_itself(
    server: WandbStub, run_dir: Path
) -> None:
    training = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run_dir), "1", "9", "hold"], stdout=subprocess.PIPE
    )
    with training:
        assert training.stdout is not None
        assert training.stdout.readline() == b"trained\n"
        server.wait_until(lambda: RUN in server.runs and server.run(RUN).inserted, "the run to begin")
        training.kill()
    server.wait_until(lambda: server.run(RUN).exit_code == 1, "the run to be marked as failed")
    assert [row["_step"] for row in server.history(RUN)] == list(range(1, 9)), (
        "the newest waits for its evaluation"
    )
    wait_until(lambda: not clients(run_dir) and not cores(run_dir), "all processes to end")


# What the tests look at


def rows(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what wandb adds."""
    return [{name: row[name] for name in row if name not in {"_runtime", "_timestamp"}} for row in history]


def evaluations(server: WandbStub) -> list[tuple[int, str]]:
    """Step and name of each evaluation that W&B has."""
    return [(row["_step"], name) for row in server.history(RUN) for name in row if name.startswith("eval/")]


def offline_rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of all offline parts of a run, in the order of their making."""
    files = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
    return rows([row for file in files for row in wandb_files.history(file)])


def tracked(server: WandbStub, run_dir: Path) -> list[dict[str, Any]]:
    """The rows that W&B has, or would have after `wandb sync`."""
    return rows(server.history(RUN)) or offline_rows(run_dir)


def clients(run_dir: Path) -> list[int]:
    """Processes that follow the run."""
    return [pid for pid, command in processes() if str(run_dir / "wandb" / "tracker.json") in command]


def cores(run_dir: Path) -> list[int]:
    """The wandb-core processes that write into the run directory."""
    data = f"WANDB_DATA_DIR={run_dir / 'wandb' / 'data'}".encode()
    return [
        pid for pid, command in processes()
        if "wandb-core" in command[0] and data in Path(f"/proc/{pid}/environ").read_bytes()
    ]  # fmt: skip


def processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if command[0]:  # neither a kernel thread nor one that has ended
                    yield int(entry.name), command
