"""A model that can't be loaded is a mistake before the launch, as far as this machine can know."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.errors import Problem, UserError
from launcher.planning.prepare import prepare

CONFIG = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG |= {"intermediate_size": 64, "vocab_size": 100}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hf" / "hub"


def model(directory: Path, *files: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for name in files:
        start = (2).to_bytes(8, "little") if name.endswith(".safetensors") else b""
        (directory / name).write_bytes(start + b"{}")
    return directory


def mistakes(directory: Path, *words: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    start = () if any(word.startswith("model.init=") for word in words) else ("model.init=pretrained",)
    try:
        prepare(
            ["recipe=smoke", "executor=local", *start, *words], environ or {}, directory
        ).refuse_unreachable()
    except UserError as error:
        return list(error.problems)
    return []


def mistake(directory: Path, *words: str, environ: Mapping[str, str] | None = None) -> str:
    (problem,) = mistakes(directory, *words, environ=environ)
    return f"{problem.field}: {problem.message} -> {problem.remedy}"


def test_a_whole_model_is_fine(tmp_path: Path) -> None:
    model(tmp_path / "m", "model.safetensors", "tokenizer.json")
    assert mistakes(tmp_path, "model.name=m") == []
    assert mistakes(tmp_path, f"model.name={tmp_path / 'm'}") == []


@pytest.mark.parametrize(
    "content", [b"\xff" * 500, b"{}", (1 << 40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}x"]
)
def test_weights_that_are_not_whole(tmp_path: Path, content: bytes) -> None:
    directory = model(tmp_path / "m", "model.safetensors", "tokenizer.json")
    (directory / "model.safetensors").write_bytes(content)
    assert "has a damaged model.safetensors" in mistake(tmp_path, "model.name=m")


def test_a_pickle_of_weights_that_is_cut_short(tmp_path: Path) -> None:
    weights = model(tmp_path / "m", "tokenizer.json") / "pytorch_model.bin"
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("archive/data.pkl", "x" * 500)
    assert mistakes(tmp_path, "model.name=m") == []
    weights.write_bytes(weights.read_bytes()[:400])
    assert "has a damaged pytorch_model.bin" in mistake(tmp_path, "model.name=m")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", '{"a": 1', '{"a":' * 50_000, "[]", "{" + " " * (2 << 20)])
def test_json_that_is_not_whole(tmp_path: Path, name: str, content: str) -> None:
    directory = model(tmp_path / "m", "model.safetensors", "tokenizer.json")
    (directory / name).write_text(content, encoding="utf-8")
    assert f"has a damaged {name}" in " ".join(it.message for it in mistakes(tmp_path, "model.name=m"))


@pytest.mark.parametrize(
    "word", ["model.name=m/config.json", "model.name=./m/config.json", "init_from=m/config.json"]
)
def test_a_file_of_the_model(tmp_path: Path, word: str) -> None:
    model(tmp_path / "m", "model.safetensors", "tokenizer.json")
    found = mistake(tmp_path, word)
    assert found.startswith(word.partition("=")[0])
    assert str(tmp_path / "m") in found or "no run" in found


def test_an_archive_of_a_model_is_to_be_unpacked(tmp_path: Path) -> None:
    """The directory that it lies in is none of a model."""
    (tmp_path / "m.zip").write_bytes(b"PK")
    assert mistake(tmp_path, "model.name=./m.zip") == (
        "model.name: is a file -> give a directory with a config.json; an archive has to be unpacked first"
    )


def test_a_configuration_by_its_old_name(tmp_path: Path) -> None:
    """As models from before 2020 were published, many Chinese ones among them, some for TensorFlow alone."""
    directory = model(tmp_path / "m", "vocab.txt", "bert_model.ckpt.index")
    (directory / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (directory / "config.json").rename(directory / "bert_config.json")
    assert mistake(tmp_path, "model.name=m") == (
        "model.name: has bert_config.json in place of config.json -> rename it, and let it say its model_type"
    )
    (directory / "bert_config.json").rename(directory / "config.json")
    assert "has no weights for PyTorch, but bert_model.ckpt.index" in mistake(tmp_path, "model.name=m")


def test_what_a_directory_lacks_is_said_together(tmp_path: Path) -> None:
    model(tmp_path / "m")
    found = [problem.message for problem in mistakes(tmp_path, "model.name=m")]
    assert found == ["has no weights", "has no tokenizer"]
    # From random weights the configuration and the tokenizer do.
    found = [problem.message for problem in mistakes(tmp_path, "model.name=m", "model.init=scratch")]
    assert found == ["has no tokenizer"]


def test_weights_of_another_library(tmp_path: Path) -> None:
    model(tmp_path / "m", "tf_model.h5", "vocab.txt")
    assert "has no weights for PyTorch, but tf_model.h5" in mistake(tmp_path, "model.name=m")


def test_weights_in_several_files_are_all_there(tmp_path: Path) -> None:
    directory = model(tmp_path / "m", "a.safetensors", "vocab.txt")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "lacks b.safetensors, which its index names" in mistake(tmp_path, "model.name=m")
    (directory / "b.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert mistakes(tmp_path, "model.name=m") == []


def test_a_pointer_of_git_lfs_and_an_empty_file_are_no_weights(tmp_path: Path) -> None:
    weights = model(tmp_path / "m", "vocab.txt") / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", encoding="utf-8")
    assert "git lfs pull" in mistake(tmp_path, "model.name=m")
    weights.write_bytes(b"")
    assert "has an empty model.safetensors" in mistake(tmp_path, "model.name=m")


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    settings = tmp_path / "m" / "adapter_config.json"
    settings.write_text("{}", encoding="utf-8")
    assert "holds an adapter and no model -> merge it" in mistake(tmp_path, "model.name=m")
    settings.write_text('{"base_model_name_or_path": "roberta-base"}', encoding="utf-8")
    for key in ("model.name", "init_from"):
        assert mistake(tmp_path, f"{key}=m").startswith(
            f"{key}: holds an adapter of roberta-base and no model"
        )
    (tmp_path / "m" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert "holds an adapter of roberta-base and no model" in mistake(tmp_path, "model.name=m")


def test_an_adapter_that_no_weights_can_take_in_is_not_to_be_merged(tmp_path: Path) -> None:
    settings = {"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "roberta-base"}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert mistake(tmp_path, "model.name=m") == (
        "model.name: holds an adapter of roberta-base and no model; it is a PROMPT_TUNING, which can't be merged into one "
        "-> give the model itself, roberta-base: no training can start from what it has learnt"
    )
    beside = model(tmp_path / "n", "model.safetensors", "tokenizer.json") / "adapter_config.json"
    beside.write_text(json.dumps(settings), encoding="utf-8")
    said = mistake(tmp_path, "model.name=n")
    assert said.endswith("beside the model -> take adapter_config.json away to train the model without it")


def test_the_adapter_of_a_run_is_merged_beside_it(tmp_path: Path) -> None:
    directory = model(tmp_path / "run" / "model", "model.safetensors", "tokenizer.json")
    (directory / "adapter").mkdir()
    (directory / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    for key in ("model.name", "init_from"):
        assert mistake(tmp_path, f"{key}=run/model/adapter").endswith(f"give {directory}, where it is merged")


def test_an_adapter_in_the_cache_is_not_said_to_be_missing(tmp_path: Path, hub: Path) -> None:
    snapshot = hub / "models--me--adapter" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "adapter_config.json").write_text("{}", encoding="utf-8")
    said = mistake(tmp_path, "model.name=me/adapter", environ={"HF_HUB_OFFLINE": "1"})
    assert "holds an adapter and no model" in said


def test_an_encoder_in_a_folder_is_named(tmp_path: Path) -> None:
    """As sentence-transformers wrote it before its version 2."""
    encoder = model(tmp_path / "m" / "0_Transformer", "model.safetensors", "vocab.txt")
    modules = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert f"has the encoder in 0_Transformer -> give {encoder}" in mistake(tmp_path, "model.name=m")


def test_an_adapter_beside_the_model_would_be_loaded_with_it(tmp_path: Path) -> None:
    directory = model(tmp_path / "m", "model.safetensors", "tokenizer.json", "adapter_config.json")
    assert "holds an adapter beside the model -> merge it" in mistake(tmp_path, "model.name=m")
    (directory / "adapter_config.json").unlink()
    assert mistakes(tmp_path, "model.name=m") == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("https://huggingface.co/FacebookAI/roberta-base", "give the id: FacebookAI/roberta-base"),
        ("https://huggingface.co/gpt2/tree/main", "give the id: gpt2/tree"),
        ("a/b/c", "an id such as org/name"),
        ("missing/config.json", "give the model's directory: missing"),
        ("bert base", "an id such as org/name"),
    ],
)
def test_what_can_be_no_id_of_the_hub(tmp_path: Path, name: str, remedy: str) -> None:
    assert remedy in mistake(tmp_path, f"model.name={name}")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_model_that_is_not_cached_where_the_hub_is_forbidden(
    tmp_path: Path, hub: Path, variable: str
) -> None:
    found = mistake(tmp_path, "model.name=org/m", environ={variable: "1"})
    assert found.startswith(
        f"model.name: is not in {hub}, and {variable} forbids to ask the hub -> run launch prefetch"
    )
    assert mistakes(tmp_path, "model.name=org/m", environ={variable: "0"}) == []
    assert mistakes(tmp_path, "model.name=org/m") == []


def test_a_cached_model_is_fine_and_one_cached_in_part_is_not(tmp_path: Path, hub: Path) -> None:
    snapshot = model(hub / "models--org--m" / "snapshots" / "abc", "tokenizer.json")
    (hub / "models--org--m" / "refs").mkdir()
    (hub / "models--org--m" / "refs" / "main").write_text("abc", encoding="utf-8")
    offline = {"HF_HUB_OFFLINE": "1"}
    assert "has no weights" in mistake(tmp_path, "model.name=org/m", environ=offline)
    (snapshot / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert mistakes(tmp_path, "model.name=org/m", environ=offline) == []
    assert mistakes(tmp_path, "model.name=org/m", "model.revision=v2", environ=offline) != []


@pytest.mark.usefixtures("hub")
def test_nothing_is_known_of_a_cache_that_is_elsewhere_on_the_nodes(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("env: {HF_HOME: /shared/hf, HF_HUB_OFFLINE: '1'}\n", encoding="utf-8")
    assert mistakes(tmp_path, "model.name=org/m", "cluster=./site.yaml") == []
    (tmp_path / "site.yaml").write_text("env: {HF_HUB_OFFLINE: '1'}\n", encoding="utf-8")
    assert "HF_HUB_OFFLINE forbids" in mistake(tmp_path, "model.name=org/m", "cluster=./site.yaml")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_a_data_set_that_is_not_cached_where_the_hub_is_forbidden(
    tmp_path: Path, hub: Path, variable: str
) -> None:
    model(tmp_path / "m", "model.safetensors", "tokenizer.json")
    words = ["model.name=m", "data.source=nyu-mll/glue:sst2"]
    assert mistake(tmp_path, *words, environ={variable: "1"}).startswith("data.source: is not in ")
    assert mistakes(tmp_path, *words) == []
    (hub.parent / "datasets" / "nyu-mll___glue").mkdir(parents=True)
    assert mistakes(tmp_path, *words, environ={variable: "1"}) == []


@pytest.mark.usefixtures("hub")
def test_a_plan_for_another_machine_says_it_and_is_made(tmp_path: Path) -> None:
    words = ["recipe=smoke", "model.init=pretrained", "model.name=org/m", "executor=local"]
    planned = prepare(words, {"HF_HUB_OFFLINE": "1"}, tmp_path)
    assert any(note.startswith("model.name=org/m: is not in ") for note in planned.plan.notes)
    assert planned.plan.plan_id == prepare(words, {}, tmp_path).plan.plan_id
