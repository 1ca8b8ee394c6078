"""A run that is to go on with another number of ranks, and may not; tests/faults/test_other_world.py trains those that may."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import make_run, recipe

from launcher.errors import UserError
from launcher.planning import machine
from launcher.planning.replan import replan
from launcher.runs.records import read_json


@pytest.mark.fault(27)
def test_what_cannot_change_is_refused_and_nothing_is_written(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data, gpus=4, zero={"stage": 0}))
    before = read_json(run.plan)
    with pytest.raises(
        UserError, match=r"train.lr=1: can't change on resuming(.|\n)*allowed: nodes, gpus, time"
    ):
        replan(run, ["train.lr=1"], {}, tmp_path)
    with pytest.raises(UserError, match="gpus"):
        replan(run, ["gpus=none"], {}, tmp_path)
    assert read_json(run.plan) == before
    monkeypatch.setattr(machine, "has_async_io", lambda: True)  # or that would be refused here
    sharded = make_run(
        tmp_path / "sharded",
        recipe(tiny_data, gpus=4, zero={"stage": 3, "offload": "nvme", "nvme_path": str(tmp_path)}),
    )
    with pytest.raises(
        UserError, match=r"ZeRO-3 with zero\.offload=nvme saves a part of the state for each of 4 ranks"
    ):
        replan(sharded, ["gpus=2"], {}, tmp_path)


def test_a_run_may_go_on_with_more_time(tmp_path: Path, tiny_data: Path) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data, executor="slurm", time="10"))
    before = run.plan_tree()["recipe"]
    replan(run, ["time=2:00:00"], {}, tmp_path)
    after = run.plan_tree()["recipe"]
    assert "#SBATCH --time=2:00:00" in run.job_sbatch.read_text()
    # The run was put elsewhere by this test.
    assert after == {**before, "time": "2:00:00", "runs_dir": after["runs_dir"]}
