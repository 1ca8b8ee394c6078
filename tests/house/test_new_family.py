"""A family that the project doesn't have, added in a copy of the package by its own files alone: planned, trained, used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import launcher

PACKAGE = Path(launcher.__file__).parent
DATA = (
    "data.train=data.csv",
    "data.validation=data.csv",
    "data.test=null",
    "data.text=text",
    "data.label=label",
)
SPECIFICATION = '''"""data2vec (Baevski et al., 2022, arXiv:2202.03555): RoBERTa, trained in another way."""

from launcher.families.shared.base import Family
from launcher.families.shared.names import Sizes, SpecialTokens

FAMILY = Family(
    name="data2vec-text",
    known={{"facebook/data2vec-text-base": {{"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}}}},
    sizes=Sizes(vocab=30522),
    positions_start_behind_padding=True,
    has_pooler=True,
    packed_by={packed_by!r},
    special_tokens=SpecialTokens(
        ordered=("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        start="<s>",
        end="</s>",
        pad="<pad>",
        unknown="<unk>",
        mask="<mask>",
        pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
        token_types=False,
    ),
)
'''
PACKED_LAYERS = '''"""Packed examples in data2vec, whose layers are BERT's."""

from launcher.train.model.bert import adapt, ready_mask

__all__ = ["adapt", "ready_mask"]
'''


@pytest.fixture(
    params=[
        pytest.param(None, id="without code of its own", marks=pytest.mark.long),
        pytest.param("data2vec_text", id="with packed layers"),
    ]
)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with a copy of the package that knows the family, and data beside it."""
    home = tmp_path / "copy"
    shutil.copytree(PACKAGE, home / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    for shipped in ("recipes", "slurm", "ds_configs"):
        (home / shipped).symlink_to(PACKAGE.parent / shipped)
    specification = SPECIFICATION.format(packed_by=request.param)
    (home / "launcher" / "families" / "data2vec_text.py").write_text(specification)
    if request.param is not None:
        (home / "launcher" / "train" / "model" / "data2vec_text.py").write_text(PACKED_LAYERS)
    rows = [f"{word} {noun},{word}" for word in ("bon", "mauvais") for noun in ("jour", "pain", "vin", "mot")]
    (home / "data.csv").write_text("text,label\n" + "\n".join(rows * 4) + "\n")
    return home


def launch(home: Path, *words: str) -> str:
    """What a verb of the copy prints on stdout."""
    command = [sys.executable, "-m", "launcher", *words]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_family_is_planned_trained_and_used(copy: Path) -> None:
    known = json.loads(
        launch(copy, "plan", "recipe=bert-cls", "model.name=facebook/data2vec-text-base", *DATA, "--json")
    )
    assert known["traffic"]["parameters"] == pytest.approx(124e6, rel=0.01)  # as its paper says

    scratch = (
        "model.init=scratch",
        "model.name=null",
        "model.scratch.family=data2vec-text",
        "train.max_steps=10",
    )
    run = launch(
        copy, "run", "recipe=smoke", *DATA, *scratch, "device=cpu", "gpus=1", "executor=local"
    ).strip()
    config = json.loads((copy / "runs" / run / "model" / "config.json").read_text())
    assert (config["model_type"], config["max_position_embeddings"]) == ("data2vec-text", 514)
    assert json.loads((copy / "runs" / run / "result.json").read_text())["steps"] == 10
    said = (copy / "runs" / run / "logs").glob("**/*")
    padded = any("examples are padded" in file.read_text() for file in said if file.is_file())
    assert padded == (not (copy / "launcher" / "train" / "model" / "data2vec_text.py").exists())

    predicted = launch(copy, "predict", run, "--text", "bon vin", "--json")
    assert "bon" in predicted
