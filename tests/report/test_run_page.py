"""The page about a run, as a file and in a browser."""

from __future__ import annotations

import json
import math
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from support.browser import accessibility_findings, browser
from support.plans import new_run, plan_of

from launcher.errors import DamagedFile
from launcher.report.charts import names_of
from launcher.report.curves import MOST_POINTS, curves_of, drawn
from launcher.report.machines import machine_curves
from launcher.report.run_page import page
from launcher.report.story import Story
from launcher.runs.columns import read_columns
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.verb_results import Explanation, Word

CAUSE = "loss nan <script>alert(1)</script>"


def finished_run(directory: Path, steps: int = 120, seed: int = 1, **result: Any) -> RunDir:
    """A run directory with metrics, two attempts and a result, as a training leaves it."""
    run = new_run(plan_of({"executor": "local", "seed": seed}, run_dir=directory / f"run-{seed}"))
    noise = random.Random(seed)
    with run.metrics.open("w") as file:
        for step in range(1, steps + 1):
            loss = 2 * math.exp(-3 * step / steps) + noise.random() / 5
            row = {
                "step": step,
                "epoch": step / 60,
                "train/loss": loss,
                "train/lr": 1e-4 * (1 - step / steps),
            }
            row |= {
                "train/grad_norm": None if step == 7 else 1 + noise.random(),
                "perf/examples_per_s": 900.0,
                "perf/tokens_per_s": 9000.0,
                "perf/padding": 0.25,
            }
            file.write(json.dumps(row) + "\n")
            if step % (steps // 4) == 0:
                evaluated = {"eval/accuracy": 1 - loss / 3, "eval/loss": loss}
                file.write(
                    json.dumps({"step": step, "epoch": step / 60, "split": "validation", **evaluated}) + "\n"
                )
    for number, status in ((1, "interrupted"), (2, "completed")):
        attempt = run.attempt(number)
        attempt.path.mkdir(parents=True)
        started = time.time() - 500 + 100 * number
        record = {
            "number": number,
            "started_at": started,
            "ended_at": started + 60,
            "job_id": "local 7",
            "status": status,
        }
        record |= {
            "restart_count": 0,
            "hosts": ["node1"],
            "executor": "local",
            "log_offset": 0,
            "last_step": 60 * number,
        }
        write_json(attempt.record, record)
    best = {"metric": "accuracy", "value": 0.9, "step": steps}
    ended = {
        "status": "completed",
        "run_id": run.run_id,
        "best": best,
        "test": {"accuracy": 0.88, "loss": 0.3},
    }
    ended |= {"steps": steps, "wall_s": 120.0, "attempts": 2, "error": None, "epochs": 2.0, "extra": None}
    ended |= {"predicted": {"step_s": 0.02}, "measured": {"step_s": 0.03, "total": 2**30, "parameters": 1000}}
    write_json(run.result, ended | result)
    return run


def examined(run: RunDir, text: str = "the cake was superb", **changes: Any) -> RunDir:
    """The run with what its best model made of the test data."""
    counts = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 10, "predicted": 9}
    record: dict[str, Any] = {
        "split": "test",
        "examples": 20,
        "step": 120,
        "metrics": {"loss": 0.3, "accuracy": 0.85},
        "classes": [{"name": name, **counts} for name in ("no", "yes")],
        "confusion": {"names": ["no", "yes"], "counts": [[8, 2], [1, 9]], "of": "examples"},
        "calibration": {
            "error": 0.05,
            "bins": [{"confidence": 0.9, "accuracy": 0.85, "count": 20}],
            "of": "examples",
        },
        "mistakes": [{"text": [text], "expected": "no", "predicted": "yes", "confidence": 0.93}],
        "wrong": 3,
        "bootstrap": {
            "level": 0.95,
            "draws": 1000,
            "seed": 1,
            "units": 20,
            "of": "examples",
            "intervals": {"accuracy": {"low": 0.7, "high": 0.95}},
        },
    }
    run.evaluated.mkdir()
    write_json(run.evaluated / "test.json", record | changes)
    return run


def test_a_run_that_still_trains_shows_its_best_so_far(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.result.unlink()
    run.model.mkdir()
    (run.model / "config.json").write_text("{}")
    cards = {card.name: card for card in Story(run).cards}
    values = {row.step: row.figures["eval/accuracy"] for row in read_columns(run).evaluations}
    best = max(values, key=lambda step: values[step] or 0)
    assert cards["best accuracy"].value == f"{values[best]:.4f}"
    assert cards["best accuracy"].note == f"validation, step {best}, so far"
    assert cards["training time"].note == "2 attempts, no end yet"


def test_a_run_that_ended_without_an_evaluation_says_so(tmp_path: Path) -> None:
    run = finished_run(tmp_path, best=None, test=None)
    run.metrics.write_text('{"step": 1, "train/loss": 2.0}\n')
    cards = {card.name: (card.value, card.note) for card in Story(run).cards}
    assert cards["best accuracy"] == ("-", "nothing was evaluated")
    assert cards["test accuracy"] == ("-", "nothing was tested")


def test_classes_mistakes_and_calibration_are_on_the_page(tmp_path: Path) -> None:
    run = examined(finished_run(tmp_path), text="<script>alert(2)</script>")
    run.events.write_text(
        '{"t": 1.0, "event": "notice", "text": "validation: 3 of 9 texts are in train, too"}\n'
    )
    words = (Word("superb", 0.5, 0),)
    why = Explanation("yes", probability=0.9, logit=1.0, masked_logit=-1.0, words=words, rest=0.0)
    text = page([run], "0.1.0", {run.run_id: [why]})
    assert "<script>alert(2)" not in text
    for said in (
        "0.7000 to 0.9500",
        "percentile bootstrap over 20 examples",
        "no taken for yes: 2 (20.0%)",
        "90.0% confident on average and 85.0% right: overconfident",
        "3 of 20 predictions are wrong",
        "validation: 3 of 9 texts are in train, too",
        "+1.000 as it is",
        'aria-label="Attempts over time"',
        "launch reproduce run-1",
    ):
        assert said in text


def test_labels_have_a_probability_and_what_is_not_known_has_no_column(tmp_path: Path) -> None:
    calibration = {
        "error": 0.01,
        "bins": [{"confidence": 0.5, "accuracy": 0.49, "count": 20}],
        "of": "labels",
    }
    mistake = {"text": ["a cake"], "expected": "0.5", "predicted": "0.75"}
    run = examined(
        finished_run(tmp_path),
        calibration=calibration,
        mistakes=[mistake],
        metrics={"mae": 0.25, "pearson": None},
        bootstrap=None,
    )
    text = page([run], "0.1.0")
    assert "Over 20 labels the mean probability is 50.0%, and 49.0% hold." in text
    assert "share that holds</text>" in text
    assert "pearson" not in text
    assert '<th class="number">confidence</th>' not in text


@pytest.mark.parametrize(("steps", "weight"), [(20, 0.0), (60, 0.17), (200, 0.75), (5000, 0.9)])
def test_curves_of_few_steps_are_smoothed_less(steps: int, weight: float, tmp_path: Path) -> None:
    assert f'step="0.01" value="{weight}"' in page([finished_run(tmp_path, steps=steps)], "0.1.0")


@pytest.mark.parametrize(
    ("run_ids", "names"),
    [
        (["bert-of-kind-1", "bert-of-kind-2"], ["1", "2"]),
        (["rates.lr=1e-4", "rates.lr=1e-5", "rates.lr=1e-4,seed=2"], ["1e-4", "1e-5", "1e-4,seed=2"]),
        (["bert", "bert-2"], ["bert", "bert-2"]),
        (["s-1a2.lr0.001-seed1", "s-1a2.lr0.002-seed1"], ["lr0.001-seed1", "lr0.002-seed1"]),
        (["alone" * 9], ["alonealonealonea…alonealonealone"]),
    ],
)
def test_curves_are_called_by_what_tells_their_runs_apart(run_ids: list[str], names: list[str]) -> None:
    assert list(names_of(run_ids).values()) == names


def test_an_evaluation_that_was_damaged_is_named(tmp_path: Path) -> None:
    run = examined(finished_run(tmp_path), wrong="many")
    with pytest.raises(DamagedFile, match=r"test\.json: wrong"):
        page([run], "0.1.0")


def test_a_sweep_is_told_by_its_best_and_stays_small(tmp_path: Path) -> None:
    runs = []
    for seed in range(1, 13):
        best = {"metric": "accuracy", "value": 0.5 + seed / 100, "step": 120}
        runs.append(finished_run(tmp_path, steps=5000, seed=seed, best=best))
    text = page(runs, "0.1.0")
    assert len(text.encode()) < 2_000_000
    assert text.index("run-12</td>") < text.index("run-1</td>"), "the best comes first"
    assert "Of 12 runs the first 2 are told in full" in text


def test_trials_that_failed_are_told_at_the_top_of_a_sweep(tmp_path: Path) -> None:
    error = {"class": "diverged", "message": "the loss is not a number", "step": 3}
    runs = [finished_run(tmp_path, seed=seed) for seed in range(1, 8)]
    runs += [finished_run(tmp_path, seed=seed, status="failed", best=None, error=error) for seed in (8, 9)]
    head = page(runs, "0.1.0").partition("</header>")[0]
    assert '<span class="state failed">failed</span>: run-8, run-9: diverged, step 3</p>' in head
    assert "<p>7 completed, 2 failed; the best are</p>" in head


def test_machines_are_drawn_over_the_steps(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.logs.mkdir(exist_ok=True)
    events = [{"event": "step", "t": 1000.0 + step, "step": step} for step in range(1, 121)]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    for node, busy in ((0, 90), (1, 50), (10, 10)):
        lines = [
            {"at": at, "cpu_percent": busy, "memory_percent": 20.5} for at in (990.0, 1030.5, 1030.7, 1060.0)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        run.logs.joinpath(f"node_{node}.jsonl").write_text(text + '{"at": 1070, "cpu_percent": true}\n{"at"')
    curves = machine_curves(run, MOST_POINTS)["Cores busy, percent"]
    assert list(curves) == ["node 0", "node 1", "node 10"]
    assert (curves["node 1"].steps, curves["node 1"].values) == ([0, 30, 60], [50, 50, 50])
    assert "Cores busy, percent. node 0: from 90.0000" in page([run], "1")


def test_curves_of_many_steps_are_drawn_together_and_lose_no_extreme() -> None:
    values: list[float | None] = [1.0] * 99_999 + [7.0]
    values[5], values[50_000] = None, -3.0
    curve = drawn(range(100_000), values)
    assert len(curve.steps) <= MOST_POINTS
    assert curve.low is not None
    assert curve.high is not None
    assert min(value for value in curve.low if value is not None) == -3.0
    assert max(value for value in curve.high if value is not None) == 7.0


def test_a_page_of_100_000_steps_stays_small_and_holds_what_was_measured(tmp_path: Path) -> None:
    run = finished_run(tmp_path, steps=100_000)
    text = page([run], "0.1.0")
    assert len(text.encode()) < 2_000_000
    for figure in (
        "0.9000",
        "0.8800",
        "2 min 00 s",
        "100,000",
        "0.0300",
        "1.0 GiB",
        "9,000/s",
        "25.0% padding",
    ):
        assert figure in text
    assert len(curves_of(read_columns(run)).evaluations["validation"]) == 4


def test_nothing_in_a_run_becomes_part_of_the_page(tmp_path: Path) -> None:
    error = {
        "class": "diverged",
        "rank": 0,
        "host": "n",
        "step": 9,
        "message": CAUSE,
        "remedy": "lower train.lr",
    }
    run = finished_run(tmp_path, status="failed", error=error)
    with run.metrics.open("a") as file:
        file.write(json.dumps({"step": 121, "split": "</script><b>", "eval/</script>": 1.0}) + "\n")
    text = page([run], "0.1.0")
    assert "<script>alert" not in text
    assert "</script><b>" not in text
    assert "src=" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "lower train.lr" in text


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_in_a_browser(tmp_path: Path, width: int, dark: bool) -> None:
    """Charts are drawn, nothing is fetched or reported as an error, nothing is wider than the window, axe finds nothing."""
    path = tmp_path / "report.html"
    message = f'crashed\n  File "{"/torch/distributed/elastic" * 5}/registry.py"'
    failed = {"status": "failed", "error": {"class": "crashed", "message": message, "remedy": "resume"}}
    runs = [finished_run(tmp_path, seed=1), finished_run(tmp_path, seed=2, **failed)]
    path.write_text(page([examined(run) for run in runs], "0.1.0"), encoding="utf-8")
    with browser(width, dark=dark) as opened:
        opened.get(path.as_uri())
        assert opened.execute_script("return document.querySelectorAll('canvas').length") == 7
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert opened.get_log("browser") == []
        assert accessibility_findings(opened) == []
        legend = opened.execute_script("return document.querySelector('.u-legend').innerText")
        ends = r"step:?120(1|2):?0\.\d+(1|2):?0\.\d+(1|2),validation:?0\.\d+(1|2),validation:?0\.\d+"
        assert re.fullmatch(ends, "".join(legend.split())), "what each curve ends with, before it is touched"


def test_a_hundred_classes_make_a_light_page_that_axe_finds_right(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(100)]
    counts = [[9 * (row == column) + (row == 99 - column) for column in range(100)] for row in range(100)]
    of = {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 10, "predicted": 10}
    run = examined(
        finished_run(tmp_path),
        classes=[{"name": name, **of} for name in names],
        confusion={"names": names, "counts": counts, "of": "examples"},
    )
    path = tmp_path / "report.html"
    path.write_text(page([run], "0.1.0"), encoding="utf-8")
    assert path.stat().st_size < 500_000
    with browser(1200) as opened:
        opened.get(path.as_uri())
        assert accessibility_findings(opened) == []


def test_on_paper_two_charts_stand_beside_each_other_and_nothing_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(
        page([finished_run(tmp_path, seed=1), finished_run(tmp_path, seed=2)], "0.1.0"), encoding="utf-8"
    )
    with browser(718) as opened:  # the width of A4 between its margins
        opened.get(path.as_uri())
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        widths = opened.execute_script(
            "return [...document.querySelectorAll('.u-wrap')].map((plot) => plot.clientWidth)"
        )
        assert set(widths) == {320}
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 718
        tops = "return [...document.querySelectorAll('.charts > figure')].slice(0, 2).map((each) => each.offsetTop)"
        first, second = opened.execute_script(tops)
        assert first == second
        legend = "return document.querySelector('.u-legend').innerText"
        assert "".join(opened.execute_script(legend).split()) == "121,validation2,validation"
