"""A model that the hub doesn't give, or that is none: what is said, by the real client against a server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.hub_stub import HubStub

LOAD = """
import json, sys
from transformers import AutoModel
from launcher.errors import RunFailed
from launcher.train.pretrained import load_config, local_first
found = []
for name, revision in json.loads(sys.argv[1]):
    try:
        load_config(name, revision)
        local_first(AutoModel.from_pretrained, name, revision)
        found.append("")
    except RunFailed as error:
        found.append(f"{error.error_class}: {error}")
print(json.dumps(found))
"""


def test_each_refusal_of_the_hub_says_what_helps(tmp_path: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    holds = {
        "adapter": {"adapter_config.json": {"base_model_name_or_path": "me/base"}},
        "tensorflow": {"config.json": config, "tf_model.h5": {}},
        "remote": {"config.json": {"model_type": "new", "auto_map": {"AutoConfig": "configuration.New"}}},
    }
    wanted = [("me/adapter", None), ("me/tensorflow", None), ("me/remote", None), ("me/tensorflow", "v9")]
    wanted += [("me/gated", None), ("FacebookAI/robberta-base", None)]
    wanted.append(("all-MiniLM-L6-v2", None))
    with HubStub() as hub:
        for name, files in holds.items():
            (tmp_path / name).mkdir()
            for file, content in files.items():
                (tmp_path / name / file).write_text(json.dumps(content))
            hub.publish(f"me/{name}", tmp_path / name)
        hub.refused = {"me/gated": (403, "GatedRepo"), "FacebookAI/robberta-base": (401, "RepoNotFound")}
        hub.refused["all-MiniLM-L6-v2"] = hub.refused["FacebookAI/robberta-base"]
        ways = {**os.environ, **hub.environment(token=None), "HF_HOME": str(tmp_path / "hf")}
        environment = {name: value for name, value in ways.items() if value is not None}
        command = [sys.executable, "-c", LOAD, json.dumps(wanted)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    adapter, tensorflow, remote, revision, gated, typo, short = json.loads(done.stdout)
    assert "me/adapter holds an adapter of me/base and no model\n    -> merge it" in adapter
    assert "-> give a model of transformers, with config.json and model.safetensors" in tensorflow
    assert "code that lies beside a model is never run" in remote
    assert "me/tensorflow has no revision v9" in revision
    assert "given out on request" in gated
    assert "HF_TOKEN" in gated
    assert "did you mean roberta-base" in typo or "did you mean FacebookAI/roberta-base" in typo
    assert "did you mean sentence-transformers/all-MiniLM-L6-v2" in short
    assert all(said.startswith("model: ") for said in json.loads(done.stdout))
