"""Models as people have put them on the hub: old names, odd configurations, files of other tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import inputs, pretrained
from support.training import recipe
from transformers import AutoModel

from launcher.errors import RunFailed
from launcher.planning.model_files import UNMERGEABLE
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.model.build import BuiltModel, build_model
from launcher.train.tasks import get_task


class Tokenizer:
    pad_token_id, mask_token_id = 0, 4


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained("bert", tmp_path_factory.mktemp("bert"))


def build(directory: Path, **changes: Any) -> BuiltModel:
    model = {"init": "pretrained", "name": str(directory)}
    wanted = recipe(Path("unused"), model=model, **changes)
    names = ("a", "b", "c") if wanted.task == "classification" else ()
    return build_model(wanted, get_task(wanted, Tokenizer()), names, Tokenizer())


def changed(encoder: Path, directory: Path, drop: str = "", **entries: Any) -> Path:
    """A copy of the encoder with other entries in its config.json."""
    shutil.copytree(encoder, directory)
    config = json.loads((encoder / "config.json").read_bytes()) | entries
    config.pop(drop, None)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def as_pickle(encoder: Path, directory: Path, content: Any) -> Path:
    shutil.copytree(encoder, directory, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.save(content, directory / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return directory


def weights(encoder: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    found = {}
    for name, value in AutoModel.from_pretrained(encoder).state_dict().items():
        new, now = next(((new, now) for now, new in old.items() if name.endswith(now)), ("", ""))
        found[prefix + (name.removesuffix(now) + new)] = value
    return found


def failure(directory: Path, **changes: Any) -> str:
    with pytest.raises(RunFailed) as caught:
        build(directory, **changes)
    return str(caught.value)


def test_the_oldest_files_of_bert_are_read(encoder: Path, tmp_path: Path) -> None:
    """Norms with gamma and beta, a buffer of positions, a pickle from before zip files, and no model_type."""
    buffers = {"bert.embeddings.position_ids": torch.arange(64)[None]}
    changed(encoder, tmp_path / "config", drop="model_type")
    old = as_pickle(tmp_path / "config", tmp_path / "scibert", weights(encoder, "bert.") | buffers)
    plain = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        expected = plain(**inputs()).last_hidden_state
        found = build(old).base.eval().base_model(**inputs()).last_hidden_state
    assert torch.equal(found, expected)


def test_how_somebody_ran_a_model_is_no_part_of_it(encoder: Path, tmp_path: Path) -> None:
    entries = {"return_dict": False, "use_return_dict": False, "output_attentions": True}
    entries |= {"output_hidden_states": True, "chunk_size_feed_forward": 2}
    output = build(changed(encoder, tmp_path / "m", **entries)).base(**inputs())
    assert list(output) == ["logits"]
    # As in ms-marco-MiniLM, whose scores are logits; those of a run are not.
    plain = "torch.nn.modules.linear.Identity"
    entries = {
        "sbert_ce_default_activation_function": plain,
        "sentence_transformers": {"activation_fn": plain},
    }
    config = build(changed(encoder, tmp_path / "ce", **entries), task="ranking").base.config
    assert config.sentence_transformers["activation_fn"].endswith(".Sigmoid")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"position_embedding_type": "relative_key_query"}, "position_embedding_type=relative_key_query"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config=gptq: quantised weights"),
        (
            {"model_type": "new", "auto_map": {"AutoConfig": "c.New"}},
            "code that lies beside a model is never",
        ),
        ({"model_type": "longformer"}, "model_type=longformer: this model family is not supported"),
    ],
)
def test_another_model_under_a_known_name_is_refused(
    encoder: Path, tmp_path: Path, entries: dict[str, Any], words: str
) -> None:
    assert words in failure(changed(encoder, tmp_path / "m", **entries))


def test_files_that_hold_no_weights_for_the_model_are_told(encoder: Path, tmp_path: Path) -> None:
    found = failure(as_pickle(encoder, tmp_path / "parallel", weights(encoder, "module.")))
    assert "no weights for 37 parameters" in found
    assert "and has module." in found
    found = failure(as_pickle(encoder, tmp_path / "whole", AutoModel.from_pretrained(encoder)))
    assert "holds other things than weights" in found
    cut = as_pickle(encoder, tmp_path / "cut", weights(encoder)) / "pytorch_model.bin"
    whole = cut.read_bytes()
    for length in (0, 100, len(whole) // 2):
        cut.write_bytes(whole[:length])
        assert "its file of weights is damaged" in failure(cut.parent)


def test_an_adapter_beside_the_model_is_refused(encoder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    shutil.copytree(encoder, tmp_path / "m")
    model = AutoModel.from_pretrained(encoder)
    with without_expected_warnings():
        get_peft_model(model, LoraConfig(r=2, target_modules=["query"])).save_pretrained(tmp_path / "m")
    assert "holds an adapter beside the model" in failure(tmp_path / "m")


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_pooler_that_nobody_reads_may_be_missing(encoder: Path, tmp_path: Path, tuning: str) -> None:
    """RoBERTa's on the hub have none."""
    bare = {name: value for name, value in weights(encoder).items() if "pooler" not in name}
    lora = {"targets": "all-linear"}
    built = build(as_pickle(encoder, tmp_path / "m", bare), task="embedding", tuning=tuning, lora=lora)
    assert not built.doubts
    assert not any("pooler" in name for name, each in built.model.named_parameters() if each.requires_grad)


def test_what_starts_from_random_weights_unasked_is_told(encoder: Path, tmp_path: Path) -> None:
    assert not build(encoder).doubts
    (doubt,) = build(encoder, task="masked-lm").doubts
    assert "has no weights for this task's head" in doubt
    assert "with tuning=lora it would stay so" in failure(encoder, task="masked-lm", tuning="lora")
    (doubt,) = build(changed(encoder, tmp_path / "cut", num_hidden_layers=1)).doubts
    assert "has 16 weights that its configuration leaves out" in doubt


def test_a_model_that_never_guessed_words_has_nothing_to_hide_them_with(encoder: Path) -> None:
    class WithoutMask(Tokenizer):
        mask_token_id = None

    model = {"init": "pretrained", "name": str(encoder)}
    wanted = recipe(Path("unused"), model=model, task="masked-lm")
    with pytest.raises(RunFailed, match="no mask token"):
        build_model(wanted, get_task(wanted, WithoutMask()), (), WithoutMask())


def test_what_sentence_transformers_would_do_otherwise_is_told(encoder: Path, tmp_path: Path) -> None:
    """As with BAAI/bge (first token), LaBSE (a dense layer) and e5 (prompts)."""
    shutil.copytree(encoder, tmp_path / "m")
    kinds = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        ("2_Dense", "Dense"),
        ("3_Normalize", "Normalize"),
    ]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "m" / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"prompts": {"query": "query: ", "document": ""}}
    (tmp_path / "m" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    doubts = "\n".join(build(tmp_path / "m", task="embedding").doubts)
    assert "trained with embedding.pooling=cls, and this run has mean" in doubts
    assert "2_Dense (Dense) is left out" in doubts
    assert "{'query': 'query: '}" in doubts
    fitting = {"pooling": "cls", "prompts": {"query": "query: "}}
    (doubt,) = build(tmp_path / "m", task="embedding", embedding=fitting).doubts
    assert "2_Dense" in doubt


def test_peft_merges_every_other_adapter() -> None:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    tuners = {kind.value: PEFT_TYPE_TO_TUNER_MAPPING.get(kind) for kind in PeftType}
    without = {name for name, tuner in tuners.items() if not hasattr(tuner, "merge_and_unload")}
    assert without - {"XLORA", "POLY"} <= UNMERGEABLE
