"""Ten steps of a tiny model against recorded losses: a change that is not about numbers must not move them.

After one that is meant to: pytest --update-goldens tests/train/test_golden_losses.py, and say so in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.training import RankServer, make_run, metrics, recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
TOLERANCE = 2e-4
"""Other processors round differently, and ten steps add that up."""
CASES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "cosine, no warm-up, no clipping": {
        "train": {"schedule": "cosine", "warmup": 0, "clip": None, "weight_decay": 0.1}
    },
}


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_as_recorded(
    case: str, tmp_path: Path, tiny_data: Path, ranks: RankServer, request: pytest.FixtureRequest
) -> None:
    changes = {"train": {}, **CASES[case]}
    changes["train"] = {"max_steps": 10, "lr": 3e-3, **changes["train"]}
    run = ranks.complete(make_run(tmp_path / "run", recipe(tiny_data, **changes)))
    found = {
        "train/loss": [round(row["train/loss"], 6) for row in metrics(run)],
        "train/grad_norm": [round(row["train/grad_norm"], 5) for row in metrics(run)],
        "eval/loss": [round(row["eval/loss"], 6) for row in metrics(run, "validation")],
    }
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--update-goldens"):
        GOLDEN.write_text(json.dumps({**recorded, case: found}, indent=1) + "\n")
        return
    expected = recorded[case]
    tolerance = 20 * TOLERANCE if case == "bf16" else TOLERANCE  # 8 bits of mantissa
    assert found["train/loss"] == pytest.approx(expected["train/loss"], abs=tolerance)
    assert found["eval/loss"] == pytest.approx(expected["eval/loss"], abs=tolerance)
    assert found["train/grad_norm"] == pytest.approx(expected["train/grad_norm"], rel=20 * tolerance)
