"""Models and data of a hub that moves, goes away, or was asked by many: the real client, against a server on loopback."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.hub_stub import HubStub
from support.launched import RECIPE, Training, error_of
from support.models import pretrained
from support.training import losses

from launcher.executors import executor_for
from launcher.runs.directory import RunDir
from launcher.runs.provenance import read_hub_model

Start = Callable[..., Training]
MODEL, DATA = "me/tiny", "me/reviews"
WORDS = (
    *(word for word in RECIPE if not word.startswith(("model.scratch", "data.limit", "train.max_steps"))),
    f"model.name={MODEL}",
    "model.init=pretrained",
    f"data.source={DATA}",
    "data.train=null",
    "data.validation=null",
    "data.test=null",
    "data.text=text",
    "data.label=label",
    "tuning=lora",
    "train.max_steps=60",
)
"""LoRA: the weights of the hub are in no checkpoint, so that others would be trained on."""
FETCH = "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1])"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A hub with a tiny model and a tiny data set, and nothing of it on this machine."""
    with HubStub() as server:
        server.publish(MODEL, model(tmp_path / "first", word="good"))
        server.publish(DATA, data(tmp_path / "data"), "datasets")
        for name, value in server.environment(token=None).items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server


def model(directory: Path, word: str) -> Path:
    """An encoder with the tokenizer of a BERT, other weights for another word."""
    import torch
    from transformers import AutoModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "good", "bad"]
    pretrained("bert", directory)
    weights = AutoModel.from_pretrained(directory)
    torch.manual_seed(len(word))
    torch.nn.init.normal_(weights.embeddings.word_embeddings.weight)
    weights.save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory)
    return directory


def data(directory: Path) -> Path:
    directory.mkdir()
    for split, count in (("train", 200), ("validation", 40)):
        rows = (f"{'good' if n % 2 else 'bad'} {chr(97 + n % 26)},{n % 2}" for n in range(count))
        (directory / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return directory


@pytest.mark.fault(29)
def test_the_branch_moves_and_the_hub_goes_away(
    hub: HubStub, start: Start, tmp_path: Path, happened: Seen
) -> None:
    """Four ranks start cold, beside a lock that a dead process left; what was fetched is trained on to the end."""
    first = hub.repos[MODEL].tree("main")[0]
    weights = hub.repos[MODEL].trees[first]["model.safetensors"]
    lock = tmp_path / "hf/hub/.locks/models--me--tiny" / f"{hashlib.sha256(weights).hexdigest()}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    whole = RunDir(tmp_path / "whole" / "runs" / "r")
    (tmp_path / "whole").mkdir()
    start(*WORDS, "gpus=4", "run_id=r", directory=tmp_path / "whole").end(code=0)
    assert hub.downloads(MODEL) == sorted(set(hub.downloads(MODEL))), "each file came once"
    assert "model.safetensors" in hub.downloads(MODEL)
    assert hub.downloads(DATA) == ["train.csv", "validation.csv"]
    recorded = read_hub_model(whole)
    assert recorded is not None
    assert (recorded.name, recorded.revision, recorded.commit) == (MODEL, "main", first)

    training = start(*WORDS, "gpus=4", "run_id=r")
    training.wait_for_step(20)
    executor_for("local").stop(training.run)
    training.end(code=75)
    second = hub.publish(MODEL, model(tmp_path / "second", word="better"))
    subprocess.run([sys.executable, "-c", FETCH, MODEL], check=True, capture_output=True)
    cached = tmp_path / "hf/hub/models--me--tiny"
    assert (cached / "refs" / "main").read_text() == second != first
    hub.away = True
    asked = len(hub.requests)
    start("resume", "r").end(code=0)
    since = hub.requests[asked:]
    assert not [request for request in since if MODEL in request], "what is here is not asked for"
    assert losses(training.run) == losses(whole)
    happened(
        "four cold ranks fetched each file once; main moved and the hub went away: the run went on with the commit "
        "that it began with, to the same losses"
    )


@pytest.mark.fault(29)
def test_a_hub_that_is_away_from_the_start(hub: HubStub, start: Start) -> None:
    """Nothing is cached: the run fails by name."""
    hub.away = True
    training = start(*WORDS, "gpus=1", "run_id=r")
    said = training.end(code=1)
    assert error_of(training.run)["class"] == "model"
    assert "launch prefetch" in said
    assert f"{hub.url} can't be reached" in said
    assert not any("resolve" in request for request in hub.requests), (
        "no file of a hub that doesn't answer is asked for"
    )
