"""A training process imports neither what it never calls nor anything that would change what it computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.training import ROOT, make_run, metrics, recipe, result, torchrun

from launcher.run import RunDir

UNUSED = (
    "torch._dynamo.eval_frame",
    "accelerate.accelerator",
    "scipy.optimize",
    "sklearn.metrics",
    "deepspeed",
)
SCRIPT = f"""
import json, sys
from launcher.train import __main__ as program
code = program.main(sys.argv[1:])
print(json.dumps([name for name in {UNUSED} if name in sys.modules]), file=open(sys.argv[1] + "/imported.json", "w"))
sys.exit(code)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_adapters_train_in_a_process_of_their_own(tmp_path: Path, tiny_data: Path, tiny_run: RunDir) -> None:
    """Where nothing but the training has imported what peft needs."""
    start = {"init": "pretrained", "name": str(tiny_run.model)}
    wanted = recipe(tiny_data, tuning="lora", model=start, train={"max_steps": 2}, eval={"every": None})
    run = make_run(tmp_path / "run", wanted)
    done = python("-m", "launcher.train", str(run.path))
    assert done.returncode == 0, done.stderr
    assert result(run)["status"] == "completed", result(run)


def test_a_training_imports_nothing_that_it_does_not_call(tmp_path: Path, tiny_data: Path) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data, train={"max_steps": 2}, eval={"every": None}))
    done = python("-c", SCRIPT, str(run.path))
    assert done.returncode == 0, done.stderr
    assert result(run)["status"] == "completed"
    assert json.loads((run.path / "imported.json").read_text()) == []


def test_two_ranks_train_without_them_as_well(tmp_path: Path, tiny_data: Path) -> None:
    wanted: dict[str, Any] = {
        "train": {"max_steps": 2},
        "eval": {"every": None},
        "model": {"dropout": {"hidden": 0.0, "attention": 0.0}},
    }
    alone = make_run(tmp_path / "alone", recipe(tiny_data, **wanted))
    both = make_run(tmp_path / "both", recipe(tiny_data, gpus=2, **wanted))
    for run, ranks in ((alone, 1), (both, 2)):
        with torchrun(run, ranks) as agent:
            printed = agent.communicate()[0]
        assert agent.returncode == 0, printed
    assert [row["train/loss"] for row in metrics(both)] == pytest.approx(
        [row["train/loss"] for row in metrics(alone)], abs=1e-5
    )


def test_the_tracer_comes_when_it_is_wanted() -> None:
    """torch.compile needs the module that stands in for until then."""
    script = """
from launcher.train.lean import trim_imports
trim_imports()
import torch
assert "torch._dynamo.eval_frame" not in __import__("sys").modules
torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], fused=True).zero_grad()
assert "torch._dynamo.eval_frame" not in __import__("sys").modules
double = torch.compile(lambda x: 2 * x, backend="eager", fullgraph=True)
assert double(torch.ones(2)).tolist() == [2.0, 2.0]
assert "torch._dynamo.eval_frame" in __import__("sys").modules
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
