"""`launch compare`: the table, with latency measured when asked for and kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch

from launcher.cli.verbs.compare import text_of
from launcher.report.comparison import Comparison, Spread
from launcher.report.significance import Difference
from launcher.runs.directory import RunDir


@pytest.fixture
def two(finished: tuple[RunDir, Any], tmp_path: Path) -> Path:
    """A directory of two runs, `one` and `two`."""
    for name in ("one", "two"):
        shutil.copytree(finished[0].path, tmp_path / "runs" / name)
    return tmp_path / "runs"


@pytest.mark.long
def test_latency_is_measured_once_and_kept(launch: Launch, two: Path) -> None:
    before = launch("compare", "one", "two")
    assert " ms" not in before.stdout
    rows = json.loads(launch("compare", "one", "two", "--latency", "--json").stdout)["rows"]
    assert [row["runs"] for row in rows] == [["one"], ["two"]]  # of the same seed
    assert [row["latency_ms"]["count"] for row in rows] == [1, 1]
    kept = [json.loads((two / name / "latency.json").read_text()) for name in ("one", "two")]
    assert [entry["ms"] > 0 for entry in kept] == [True, True]
    shown = launch("compare", "one", "two").stdout
    assert "accuracy" in shown
    assert " ms" in shown


def row(best: float, *runs: str, against: Difference | None = None) -> Comparison:
    seeds = tuple(range(1, len(runs) + 1))
    return Comparison(
        runs=runs,
        seeds=seeds,
        folds=(),
        model="bert from scratch",
        best=Spread(best, 0.01 if len(runs) > 1 else None, len(runs)),
        values=(best,) * len(runs),
        test=Spread(0.9, None, 1),
        train_s=Spread(118.0, None, 1),
        latency_ms=None,
        memory_bytes=Spread(2.0**30, None, 1),
        size_bytes=Spread(2.0**21, None, 1),
        parameters=524930,
        against_best=against,
    )


def test_a_table_fits_80_columns_and_says_once_what_all_have_in_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        row(0.95, "rates.lr0.0003-seed1", "rates.lr0.0003-seed2"),
        row(0.94, "rates.lr0.0007-seed1", "rates.lr0.0007-seed2", against=Difference(-0.0083, 2, 1.0)),
    ]
    whole = text_of(rows, "accuracy", "rates").splitlines()
    assert whole[0].split() == ["rates.", "accuracy", "from", "the", "best", "test", "training", "memory"]
    assert whole[2].startswith("lr0.0007, 2 seeds  0.9400 ± 0.0100  -0.0083, p 1  ")
    assert whole[3] == "all of them: size 2.0 MiB, parameters 524,930, model bert from scratch"
    assert "rates.lr0.0003-seed1 and 1 more seed " in text_of(rows, "accuracy", None)

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        for sweep in ("rates", None):
            table = text_of(rows, "accuracy", sweep).splitlines()[:3]
            assert max(map(len, table)) <= columns
            assert "-0.0083, p 1" in table[2]


@pytest.mark.usefixtures("two")
def test_a_run_that_is_not_there(launch: Launch) -> None:
    result = launch("compare", "one", "twp", code=2)
    assert "no run 'twp'" in result.stderr
    assert "did you mean two?" in result.stderr
    assert result.stdout == ""
