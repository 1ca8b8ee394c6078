"""The live view, driven by Textual's own pilot on real run directories."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog

from launcher.cli.options import runs_meant
from launcher.cli.watch_app import WatchApp
from launcher.cli.watched import Watch
from launcher.executors import executor_for
from launcher.report.terminal_chart import chart
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

MakeRun = Callable[..., RunDir]
LASTS = "touch $run_dir/logs/ready; while [ ! -e $run_dir/control/stop ]; do sleep 0.1; done"
STOPS = """
printf '{"status": "stopped", "steps": 47}' >$run_dir/result.json
printf 75 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""
DEADLINE_S = 40


def trained(run: RunDir, steps: int = 40) -> RunDir:
    """What a training has told until now."""
    with run.metrics.open("w") as metrics, run.events.open("w") as events:
        for step in range(1, steps + 1):
            row = {"step": step, "epoch": 1.0, "train/loss": 2 / step, "perf/examples_per_s": 90.0}
            metrics.write(json.dumps(row) + "\n")
        metrics.write(json.dumps({"step": steps, "split": "validation", "eval/accuracy": 0.75}) + "\n")
        step_event = {"t": 1.0, "event": "step", "step": steps, "total": 80, "loss": 2 / steps, "eta_s": 60.0}
        events.write(json.dumps({**step_event, "examples_per_s": 90.0}) + "\n")
    run.rank_log(0).write_text("hello \x1b[31mfrom\x1b[0m rank 0 [bold]\n")
    return run


def drive(runs: list[RunDir], size: tuple[int, int], does: Callable[[Pilot[Any]], Awaitable[None]]) -> None:
    """Open the view on these runs, and do something in it."""
    drive_found(lambda: runs, size, does)


def drive_found(
    find: Callable[[], list[RunDir]], size: tuple[int, int], does: Callable[[Pilot[Any]], Awaitable[None]]
) -> None:
    async def session() -> None:
        app = WatchApp(Watch(find), every_s=0.3)
        count = len(find())
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: app.query_one(DataTable).row_count == count, "the runs")
            await does(pilot)

    asyncio.run(session())


async def until(pilot: Pilot[Any], condition: Callable[[], Any], what: str) -> None:
    for _ in range(DEADLINE_S * 10):
        if condition():
            return
        await pilot.pause(0.1)
    pytest.fail(f"waited {DEADLINE_S} s for {what}")


def shown(pilot: Pilot[Any]) -> str:
    """The text on the screen."""
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", pilot.app.export_screenshot(simplify=True))
    return html.unescape(" ".join(texts)).replace("\xa0", " ")


def test_a_look_that_ends_while_the_view_is_closed_finds_no_table_and_is_left(make_run: MakeRun) -> None:
    async def closes(pilot: Pilot[Any]) -> None:
        await pilot.app.query_one(DataTable).remove()
        await pilot.pause(1)

    drive([trained(make_run(LASTS))], (80, 24), closes)


def test_a_small_terminal_shows_the_chosen_run_and_a_wide_one_shows_several(make_run: MakeRun) -> None:
    runs = [trained(make_run(run_id=f"run-{number}")) for number in range(3)]
    write_json(runs[1].result, {"status": "failed", "error": {"class": "memory", "message": "out of memory"}})

    async def small(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "train/loss" in shown(pilot), "a curve")
        assert len(pilot.app.query(".panel")) == 1
        await until(pilot, lambda: "Stop" in shown(pilot), "the keys")
        assert "step 40 of 80" in shown(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "eval/accuracy" in shown(pilot), "another curve")
        await pilot.press("down")
        await until(pilot, lambda: "memory: out of memory" in shown(pilot), "the next run")

    async def wide(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: shown(pilot).count("train/loss") == 3, "three curves")

    drive(runs, (80, 24), small)
    drive(runs, (180, 45), wide)


def test_a_narrow_terminal_shows_metrics_whole_and_trials_by_their_values(make_run: MakeRun) -> None:
    runs = [trained(make_run(run_id=f"rates.lr0.000{number}-seed1")) for number in (1, 3)]
    metrics = {"accuracy": 0.75, "macro_f1": 0.7411, "micro_f1": 0.75, "mcc": 0.5012, "loss": 0.4807}
    for run in runs:
        with run.events.open("a") as events:
            evaluated = {
                "t": 2.0,
                "event": "eval",
                "split": "validation",
                "step": 40,
                "metrics": metrics,
            }
            events.write(json.dumps(evaluated) + "\n")
    error = {"class": "memory", "message": "out of memory", "remedy": "batch.micro=4"}
    write_json(runs[1].result, {"status": "failed", "error": error})

    async def does(pilot: Pilot[Any]) -> None:
        await until(
            pilot, lambda: shown(pilot).count("accuracy 0.7500") == 2, "the metric in table and panel"
        )
        assert re.search(r"rates\. +status", shown(pilot))
        assert "lr0.0001-seed1" in shown(pilot)
        assert "mcc 0.5012" in shown(pilot)
        assert "…" not in shown(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "batch.micro=4" in shown(pilot), "what helps the other")
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: re.search("step +left", shown(pilot)), "the column that there is room for")

    drive(runs, (60, 24), does)


def test_the_arrows_choose_a_run_though_the_table_came_late(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount_all = WatchApp.mount_all

    async def late(app: WatchApp, widgets: Any) -> None:
        await asyncio.sleep(0.5)
        await mount_all(app, widgets)

    async def does(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "run-0" in shown(pilot), "the runs")
        await pilot.press("down")
        await until(pilot, lambda: pilot.app.query_one(DataTable).cursor_row == 1, "the next run")

    monkeypatch.setattr(WatchApp, "mount_all", late)
    drive([trained(make_run(run_id=f"run-{number}")) for number in range(2)], (80, 24), does)


def test_the_chosen_run_stays_chosen_as_another_comes_before_it(make_run: MakeRun) -> None:
    runs = [trained(make_run(run_id=f"run-{number}"), steps=40 + number) for number in range(3)]
    watched = runs[1:]

    async def does(pilot: Pilot[Any]) -> None:
        await pilot.press("down")
        await until(pilot, lambda: "step 42 of" in shown(pilot), "the last run")
        watched.insert(0, runs[0])
        await until(pilot, lambda: pilot.app.query_one(DataTable).row_count == 3, "one more")
        assert pilot.app.query_one(DataTable).cursor_row == 2
        await until(pilot, lambda: "step 42 of" in shown(pilot), "the last run again")

    drive(watched, (80, 24), does)


def test_trials_that_a_sweep_gets_later_are_watched_too(make_run: MakeRun) -> None:
    runs = [trained(make_run(run_id=f"rates.lr{number}")) for number in (1, 2, 3)]
    directory = runs[0].path.parent / "rates"
    directory.mkdir()

    def has(count: int) -> None:
        trials = [{"run_id": run.run_id, "values": {"train.lr": run.run_id[-1]}} for run in runs[:count]]
        write_json(directory / "sweep.json", {"trials": trials})

    async def does(pilot: Pilot[Any]) -> None:
        table = pilot.app.query_one(DataTable)
        (directory / "sweep.json").write_text("half writ")
        await pilot.pause(1)
        assert table.row_count == 2
        has(3)
        await until(pilot, lambda: table.row_count == 3, "the new trial")

    has(2)
    drive_found(lambda: runs_meant(["rates"], directory.parent), (80, 24), does)


@pytest.mark.long
def test_keys_stop_and_resume_a_run_and_open_its_logs(make_run: MakeRun) -> None:
    run = trained(make_run(LASTS + STOPS, run_id="live"))
    executor = executor_for("local")
    executor.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")

    async def does(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "running" in shown(pilot), "the state")
        await until(pilot, lambda: re.search(r"local job \d", shown(pilot)), "the job as status calls it")
        await pilot.press("r")
        await until(pilot, lambda: "live is running" in shown(pilot), "the refusal to resume what runs")
        await pilot.press("s", "n")
        assert not run.stop.exists()
        await pilot.press("s")
        await until(pilot, lambda: "save and stop?" in shown(pilot), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "stopped" in shown(pilot), "the end")
        await pilot.press("l")
        await until(pilot, lambda: "rank 0 [bold]" in shown(pilot), "the logs")
        assert r"\x1b[31mfrom" in shown(pilot), "the terminal obeys nothing that is logged"
        assert pilot.app.screen.query_one(RichLog)
        await pilot.press("escape", "r", "y")
        await until(pilot, lambda: len(run.all_jobs()) == 2, "another job")
        await until(pilot, lambda: "running" in shown(pilot), "the run to go on")
        await pilot.press("q")

    drive([run], (100, 30), does)
    assert executor.state(run).status == "running", "quitting stops nothing"
    executor.stop(run)
    wait_until(lambda: not executor.state(run).active, "the end")


def test_curves_grow_with_the_file_and_a_torn_line_waits(make_run: MakeRun) -> None:
    run = trained(make_run(run_id="r"), steps=3)
    watch = Watch(lambda: [run])
    assert watch.look()[0].curves.points("train/loss")[0] == [1, 2, 3]
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "train/loss": ')
        file.flush()
        assert watch.look()[0].curves.points("train/loss")[0] == [1, 2, 3]
        file.write('null}\n{"step": "x"}\nnothing\n')
    steps, values = watch.look()[0].curves.points("train/loss")
    assert (steps, values[-1]) == ([1, 2, 3, 4], None)
    assert watch.look()[0].curves.points("eval/accuracy") == ([3], [0.75])


def test_a_run_that_is_deleted_while_it_is_watched_says_so_and_hides_no_other(make_run: MakeRun) -> None:
    best = {"metric": "accuracy", "value": 0.5, "step": 40}
    runs = [trained(make_run(run_id=name)) for name in ("deleted", "kept")]
    for run in runs:
        write_json(run.result, {"status": "completed", "best": best, "steps": 40, "total_steps": 40})
    watch = Watch(lambda: runs)
    runs[0].plan.unlink()
    deleted, kept = watch.look()
    assert (deleted.line.status, kept.line.status) == ("damaged", "completed")
    assert "plan.json: can't be read: No such file or directory" in deleted.line.doubt


@pytest.mark.parametrize("values", [[1.0] * 5, [None] * 5, [5.0, 1.0, float("nan"), 2.0, 3.0]])
def test_a_curve_fits_its_frame(values: list[float | None]) -> None:
    lines = chart(range(1, 6), values, 40, 8)
    assert len(lines) == 8
    assert all(len(line) <= 40 for line in lines)
    assert chart([], [], 40, 8)[0] == "nothing yet"


def test_few_points_are_joined_and_a_gap_stays_one() -> None:
    lines = chart([1, 2, 3, 4], [1.0, 2.0, None, 3.0], 30, 6)
    columns = ["".join(line[place] for line in lines[:-1]).strip("\u2800") for place in range(10, 30)]
    assert [bool(column) for column in columns] == [True] * 7 + [False] * 12 + [True]


def test_where_there_is_no_terminal_it_says_what_to_use(launch: Callable[..., Any], tmp_path: Path) -> None:
    assert "launch status" in launch("watch", code=2).stderr
    assert "name it" in launch("watch", "--wandb", code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_without_files_of_wandb_there_is_nothing_to_hand_over(
    launch: Callable[..., Any], make_run: MakeRun
) -> None:
    make_run(run_id="r")
    assert "has no files of W&B" in launch("watch", "r", "--wandb", code=2).stderr
