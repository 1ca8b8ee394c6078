"""The shipped DeepSpeed configurations, as rendered, on two ranks of this CPU: the same losses as plain PyTorch.

NVMe offload needs libaio and a GPU; its golden is in test_render.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ds_ranks
from support.plans import plan_of, rendered

CASES: dict[str, dict[str, Any]] = {
    f"zero{stage}_{offload}_{precision}": {
        "nodes": 2,
        "precision": precision,
        "zero": {"stage": stage, "offload": offload},
    }
    for stage, offload, precision in [
        (1, "none", "fp32"),
        (2, "none", "fp32"),
        (3, "none", "fp32"),
        (1, "cpu", "fp32"),
        (2, "cpu", "fp32"),
        (3, "cpu", "fp32"),
        (2, "none", "bf16"),
        (3, "none", "bf16"),
    ]
}


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[float]]]:
    """Name of the case -> (losses under DeepSpeed, losses without)."""
    directory = tmp_path_factory.mktemp("ds")
    for name, recipe in CASES.items():
        (directory / f"{name}.json").write_text(rendered(plan_of(recipe))["ds_config.json"])
    report = directory / "report"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, ds_ranks.__file__, str(report), *map(str, sorted(directory.glob("*.json")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[list[float]]] = json.loads(Path(report).read_text())
    return found


@pytest.mark.long  # train/test_layouts_agree.py has ZeRO
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_losses_under_deepspeed_are_those_without(name: str, losses: dict[str, list[list[float]]]) -> None:
    ours, reference = losses[name]
    assert ours == pytest.approx(reference, abs=1e-2 if name.endswith("bf16") else 1e-6)
    assert reference[-1] < reference[0] - 0.1
