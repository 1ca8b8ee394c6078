"""A training process imports neither what it never calls nor anything that would change what it computes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import pretrained
from support.training import ROOT, RankServer, make_run, metrics, recipe, result, torchrun
from transformers import AutoModelForSequenceClassification

from launcher.families import FAMILIES
from launcher.loading.resolve import dump_recipe
from launcher.runs.directory import RunDir
from launcher.train.compat.empty_weights import empty_weights
from launcher.train.compat.model_names import Names, kept_names

UNUSED = (
    "torch._dynamo.eval_frame",
    "accelerate.accelerator",
    "scipy.optimize",
    "sklearn.metrics",
    "deepspeed",
    "sympy",
    "torch.distributed.tensor",
)
SCRIPT = f"""
import json, sys
from launcher.train import __main__ as program
code = program.main(sys.argv[1:])
print(json.dumps([name for name in {UNUSED} if name in sys.modules]), file=open(sys.argv[1] + "/imported.json", "w"))
sys.exit(code)
"""
VERBS = f"""
import sys
from launcher.train import __main__ as program
program.main(["doctor"])
models = [name for name in ("transformers", "torch._dynamo.eval_frame") if name in sys.modules]
program.main(["data", sys.argv[1]])
print(models, [name for name in {UNUSED} if name in sys.modules], file=sys.stderr)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_adapters_train_in_a_process_of_their_own(tmp_path: Path, tiny_data: Path, tiny_run: RunDir) -> None:
    """Where nothing but the training has imported what peft needs."""
    start = {"init": "pretrained", "name": str(tiny_run.model)}
    wanted = recipe(tiny_data, tuning="lora", model=start, train={"max_steps": 2}, eval={"every": None})
    run = make_run(tmp_path / "run", wanted)
    done = python("-m", "launcher.train", str(run.path))
    assert done.returncode == 0, done.stderr
    assert result(run)["status"] == "completed", result(run)


@pytest.mark.parametrize("init", ["scratch", "pretrained"])
def test_a_training_imports_nothing_that_it_does_not_call(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, init: str
) -> None:
    model = {} if init == "scratch" else {"init": init, "name": str(tiny_run.model)}
    wanted = recipe(tiny_data, model=model, train={"max_steps": 2}, eval={"every": None})
    run = make_run(tmp_path / "run", wanted)
    done = python("-c", SCRIPT, str(run.path))
    assert done.returncode == 0, done.stderr
    assert result(run)["status"] == "completed"
    assert json.loads((run.path / "imported.json").read_text()) == []


def test_looking_at_a_machine_or_at_data_imports_no_more(tmp_path: Path, tiny_data: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe(tiny_data)))
    done = python("-c", VERBS, str(tmp_path / "recipe.yaml"))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[] []"), done.stderr


@pytest.mark.long
def test_two_ranks_train_without_them_as_well(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted: dict[str, Any] = {
        "train": {"max_steps": 2},
        "eval": {"every": None},
        "model": {"dropout": {"hidden": 0.0, "attention": 0.0}},
    }
    alone = ranks.complete(make_run(tmp_path / "alone", recipe(tiny_data, **wanted)))
    both = make_run(tmp_path / "both", recipe(tiny_data, gpus=2, **wanted))
    with torchrun(both, 2) as agent:
        printed = agent.communicate()[0]
    assert agent.returncode == 0, printed
    assert [row["train/loss"] for row in metrics(both)] == pytest.approx(
        [row["train/loss"] for row in metrics(alone)], abs=1e-5
    )


@pytest.mark.long
def test_the_tracer_comes_when_it_is_wanted() -> None:
    """torch.compile needs the module that stands in for until then."""
    script = """
from launcher.train.compat.short_start import shorten_start
shorten_start()
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_filled_the_same_without_drawing_first(tmp_path: Path, family: str) -> None:
    """Weights from the file, the drawn head, and the buffers that no file holds."""
    pretrained(family, tmp_path)
    models = []
    for context in (contextlib.nullcontext(), empty_weights()):
        torch.manual_seed(3)
        with context:
            models.append(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    for read in (torch.nn.Module.named_parameters, torch.nn.Module.named_buffers):
        usual, quick = (dict(read(model)) for model in models)
        assert usual.keys() == quick.keys()
        for name, tensor in usual.items():
            assert torch.equal(tensor, quick[name]), name


@pytest.mark.long
def test_names_of_models_are_kept_between_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = """
from launcher.train.compat.model_names import keep_model_names
keep_model_names()
import transformers
print(sorted(set(dir(transformers))), transformers.BertConfig, transformers.models.llama.LlamaConfig)
"""
    usual = python("-c", script.replace("keep_model_names()", ""))
    first = python("-c", script)
    kept = sorted((tmp_path / "launcher" / "imports").iterdir())
    assert len(kept) == 2  # with the prefix `models.` and without
    again = python("-c", script)
    assert usual.stdout == first.stdout == again.stdout != "", first.stderr + again.stderr

    for file in kept:
        file.write_text(file.read_text().replace('"BertConfig"', '"BretConfig"'))
    assert "no attribute BertConfig" in python("-c", script).stderr, "the files were not read"


@pytest.mark.parametrize("text", ['{"stamp": ', '{"stamp": "of another installation"}', "[]"])
def test_names_that_were_kept_for_another_or_damaged_are_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    models = tmp_path / "models"
    models.mkdir()
    found: Names = {frozenset({"torch"}): {"bert": {"BertModel", "BertLayer"}}}
    reads = []

    def read(path: Path, **_: object) -> Names:
        reads.append(path)
        return found

    names = kept_names(read)
    assert names(models) == names(models) == found
    assert len(reads) == 1
    (kept,) = (tmp_path / "launcher" / "imports").iterdir()
    kept.write_text(text)
    assert names(models) == names(models) == found
    assert len(reads) == 2


def test_two_installations_of_one_version_keep_their_names_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reads = []

    def read(path: Path, **_: object) -> Names:
        reads.append(path)
        return {frozenset({"torch"}): {path.parent.name: {"BertModel"}}}

    names = kept_names(read)
    installed = [tmp_path / name / "models" for name in ("one", "other")]
    for models in installed:
        models.mkdir(parents=True)
    first = [names(models) for models in installed]
    assert [names(models) for models in installed] == first
    assert reads == installed


@pytest.mark.parametrize("code", [0, 3])
def test_a_checkpoint_on_its_way_to_the_disk_arrives(tmp_path: Path, code: int) -> None:
    """Even where the attempt failed meanwhile; what was printed is there, too. Nobody waits for a library's idle threads."""
    script = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from launcher.train.__main__ import leave
from launcher.train.process.threads import CHECKPOINT_WRITER
pool = ThreadPoolExecutor()
pool.submit(int).result()
def write():
    time.sleep(0.3)
    open(sys.argv[1], "w").write("whole")
threading.Thread(target=write, name=CHECKPOINT_WRITER).start()
print("last words")
leave(int(sys.argv[2]))
"""
    done = python("-c", script, str(tmp_path / "checkpoint"), str(code))
    assert (done.returncode, done.stdout) == (code, "last words\n")
    assert (tmp_path / "checkpoint").read_text() == "whole"
