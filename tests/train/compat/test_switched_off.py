"""LAUNCH_COMPAT=off: the same training without anything that only saves time; and what happens where a part is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from support.training import ROOT, events, losses, make_run, metrics, recipe, result

from launcher.runs.directory import RunDir
from launcher.train.compat import (
    dataset_fingerprint,
    flash_attention,
    fused_optimizers,
    switch,
)

STOCK = """
import sys
from launcher.train import __main__ as program
code = program.main(sys.argv[1:])
assert type(sys.modules["torch._dynamo"]).__name__ == "module", "something stands in for it"
sys.exit(code)
"""


def trained(run: RunDir, *start: str, **environment: str) -> RunDir:
    done = subprocess.run(
        [sys.executable, *start, str(run.path)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert result(run)["status"] == "completed"
    return run


def test_a_training_gives_the_same_without_what_only_saves_time(tmp_path: Path, tiny_data: Path) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 6}, eval={"every": 3})
    usual = trained(make_run(tmp_path / "usual", wanted), "-m", "launcher.train")
    plain = trained(make_run(tmp_path / "plain", wanted), "-c", STOCK, LAUNCH_COMPAT="off")
    assert losses(plain) == pytest.approx(losses(usual), abs=1e-6)
    ours, theirs = metrics(usual, "validation"), metrics(plain, "validation")
    assert [row["eval/loss"] for row in ours] == pytest.approx([row["eval/loss"] for row in theirs], abs=1e-6)
    assert len(events(usual, "eval")) == len(events(plain, "eval"))


@pytest.fixture(autouse=True)
def _nothing_was_said() -> None:
    switch.say_gone.cache_clear()


def test_a_fused_optimizer_that_cannot_leave_a_step_out_is_named_once_and_the_host_decides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    plain, fused = torch.optim.AdamW([weight]), torch.optim.AdamW([weight], fused=True)
    del fused._step_supports_amp_scaling
    for optimizer in (plain, fused, fused):
        assert not fused_optimizers.step_if_finite(optimizer, torch.tensor(1.0))
    assert capsys.readouterr().err.splitlines() == [
        (
            "launch: AdamW._step_supports_amp_scaling is gone from the installed version; "
            "the host waits for the norm of every step"
        )
    ]


def test_a_part_that_is_gone_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert dataset_fingerprint.fingerprint(object()) is None
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "launch: datasets' _fingerprint is gone from the installed version; rows are hashed instead"
    ]


def test_this_torch_has_the_kernel() -> None:
    assert flash_attention.has_operator()


def test_versions_that_were_never_tested_are_named() -> None:
    assert switch.never_tested({"torch": "2.13.1+cpu", "peft": "9.0.0", "python": "3.12"}) == ["peft 9.0.0"]


def test_what_constraints_txt_installs_is_what_was_tested() -> None:
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    assert switch.never_tested({name: pinned[name] for name in switch.TESTED}) == []
    assert all(metadata.version(name) for name in switch.TESTED)
