"""`launch plan` and `launch recipes`: what you see is what is submitted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Launch

SLURM = ("executor=slurm", "device=cpu", "nodes=4")


def test_it_says_everything_about_a_launch(launch: Launch, tmp_path: Path) -> None:
    text = launch(
        "plan",
        "recipe=roberta-large-cls",
        "executor=slurm",
        "nodes=64",
        "gpus=8",
        "device=cuda",
        "zero.stage=3",
        "data.max_length=128",
    ).stdout
    for part in (
        "64 nodes x 8 GPUs = 512 on cuda",
        "deepspeed, ZeRO stage 3",
        "--gpus-per-node=8",
        "sent by a rank in a step",
        "--- ds_config.json",
        "--- job.sbatch",
        "#SBATCH --nodes=64",
    ):
        assert part in text
    for part in ("weights", "gradients", "optimizer", "activations"):
        assert f"{part} " in text
    assert "\x1b[" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_slow_step_still_has_a_rate(launch: Launch, tmp_path: Path) -> None:
    """Texts of 40,000 characters in windows: a step of 64 takes minutes on a CPU, at less than one example a second."""
    (tmp_path / "long.csv").write_text(
        "text,label\n" + "".join(f"{'word ' * 8000},{n % 2}\n" for n in range(8))
    )
    text = launch(
        "plan",
        "recipe=roberta-large-cls",
        "executor=local",
        "device=cpu",
        f"data.train={tmp_path / 'long.csv'}",
        "data.source=null",
        "data.text=text",
        "data.label=label",
        "data.windows=mean",
    ).stdout
    assert re.search(r" 0\.0\d+ examples/s", text)
    assert not re.search(r"\b0/s", text)


def test_as_json_it_is_the_plan(launch: Launch) -> None:
    plan = json.loads(launch("plan", "recipe=roberta-cls", *SLURM, "gpus=2", "--json").stdout)
    assert (plan["nodes"], plan["gpus"], plan["world_size"]) == (4, 2, 8)
    assert plan["layout"]["global_batch_size"] == plan["recipe"]["batch"]["global"]


def test_the_script_and_the_config_alone(launch: Launch) -> None:
    words = ("plan", "recipe=roberta-cls", *SLURM, "zero.stage=2")
    assert launch(*words, "--script").stdout.startswith("#!/bin/bash\n")
    assert json.loads(launch(*words, "--ds-config").stdout)["zero_optimization"]["stage"] == 2


def test_out_writes_the_files_and_nothing_else(launch: Launch, tmp_path: Path) -> None:
    result = launch("plan", "recipe=roberta-cls", *SLURM, "zero.stage=2", "run_id=x", "--out", "planned")
    files = [path.relative_to(tmp_path / "planned") for path in (tmp_path / "planned").rglob("*.*")]
    # There is a patch, too, where somebody is working on the code.
    assert sorted(str(path) for path in files if path.suffix != ".patch") == [
        "ds_config.json",
        "job.sbatch",
        "plan.json",
        "provenance/launched.json",
        "provenance/origins.json",
        "recipe.yaml",
    ]
    assert "nothing was submitted" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planned"]
    again = launch("plan", "recipe=roberta-cls", *SLURM, "--out", "planned", code=2)
    assert "is there and not empty" in again.stderr


def test_two_launches_in_the_same_second_are_two_runs(launch: Launch) -> None:
    ids = {json.loads(launch("plan", "recipe=smoke", "--json").stdout)["run_id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("args", [["plan", "recipe=roberta-cls", *SLURM], ["recipes"], ["status"]])
def test_no_heavy_package_is_loaded(tmp_path: Path, args: list[str]) -> None:
    code = (
        "import sys; from launcher.cli import execute; code = execute(sys.argv[1:]);"
        "loaded = {name.split('.')[0] for name in sys.modules};"
        "print(sorted(loaded & {'torch', 'transformers', 'datasets', 'numpy', 'pandas', 'wandb', 'deepspeed', 'peft'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_recipes_are_listed_with_a_sentence(launch: Launch) -> None:
    listed = json.loads(launch("recipes", "--json").stdout)
    names = {entry["name"] for entry in listed}
    assert {"smoke", "bert-cls", "roberta-cls", "roberta-cls-lora", "roberta-large-cls"} <= names
    assert all(entry["description"] for entry in listed)
    assert "roberta-cls" in launch("recipes").stdout


def test_a_recipe_is_shown_with_the_origin_of_each_value(launch: Launch) -> None:
    result = launch("recipes", "show", "smoke", "train.lr=0.5", "--json", env={"LAUNCH_TRAIN__EPOCHS": "2"})
    values = json.loads(result.stdout)["values"]
    assert values["train.lr"] == {"value": 0.5, "origin": "override"}
    assert values["train.epochs"] == {"value": 2.0, "origin": "environment LAUNCH_TRAIN__EPOCHS"}
    assert values["task"]["origin"].startswith("smoke.yaml:")
    assert values["train.beta1"]["origin"] == "default"
    shown = launch("recipes", "show", "smoke").stdout
    assert any(line.split() == ["train.beta1", "0.9", "default"] for line in shown.splitlines())


def test_data_are_counted(launch: Launch) -> None:
    facts = json.loads(launch("data", "recipe=smoke", "--json").stdout)
    splits = facts["splits"]
    assert splits["train"]["examples"] > splits["test"]["examples"] > 0
    assert facts["columns"] == ["text", "label"]
