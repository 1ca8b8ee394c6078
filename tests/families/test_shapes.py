"""What a model's shape says, without torch: parameter counts, linear modules, config.json, the hub cache."""

import json
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.families import FAMILIES, known_names, known_shape, shape_from_config, shape_of
from launcher.families.shared.base import resolve_lora_targets
from launcher.planning.model_config import find_config

ROBERTA_BASE = {
    "model_type": "roberta",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}


def known(name):
    shape = known_shape(name)
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("name", "millions"),  # as their papers and model cards state them
    [
        ("bert-base-uncased", 110),
        ("bert-large-uncased", 340),
        ("roberta-base", 125),
        ("roberta-large", 355),
        ("xlm-roberta-base", 278),
        ("xlm-roberta-large", 560),
        ("distilbert-base-uncased", 66),
        ("distilroberta-base", 82),
        ("google/electra-small-discriminator", 14),
        ("google/electra-base-discriminator", 110),
        ("google/electra-large-discriminator", 335),
        ("microsoft/deberta-v3-xsmall", 22 + 48),  # backbone and embeddings, which its card lists apart
        ("microsoft/deberta-v3-small", 44 + 98),
        ("microsoft/deberta-v3-base", 86 + 98),
        ("microsoft/deberta-v3-large", 304 + 131),
        ("microsoft/mdeberta-v3-base", 86 + 190),
        ("answerdotai/ModernBERT-base", 149),
        ("answerdotai/ModernBERT-large", 395),
        ("jhu-clsp/ettin-encoder-17m", 17),
        ("jhu-clsp/ettin-encoder-32m", 32),
        ("jhu-clsp/ettin-encoder-68m", 68),
        ("jhu-clsp/ettin-encoder-150m", 150),
        ("jhu-clsp/ettin-encoder-400m", 400),
        ("jhu-clsp/ettin-encoder-1b", 1028),
        ("jhu-clsp/mmBERT-small", 140),
        ("jhu-clsp/mmBERT-base", 307),
        ("almanach/camembert-base", 110),
        ("almanach/camembert-large", 335),
        ("microsoft/mpnet-base", 110),
        ("albert-base-v2", 11.7),  # as its repository states; the paper rounds
        ("albert/albert-large-v2", 17.7),
        ("albert-xlarge-v2", 58.7),
        ("albert-xxlarge-v2", 223),
        ("sentence-transformers/all-MiniLM-L6-v2", 22.7),
        ("prajjwal1/bert-tiny", 4.4),
    ],
)
def test_known_models_have_their_published_size(name, millions):
    assert known(name).parameters / 1e6 == pytest.approx(millions, rel=0.04)


def test_exact_counts_of_the_bare_encoders():
    assert known("bert-base-uncased").parameters == 109_482_240
    assert known("roberta-base").parameters == 124_645_632


def test_a_pooler_is_no_part_of_the_body():
    bert = known("bert-base-uncased")
    assert bert.parameters - bert.body_parameters == 768 * 768 + 768
    assert bert.body_parameters + bert.classifier_parameters(labels=2) == 109_483_778


@pytest.mark.parametrize("prefix", ["google-bert/", ""])
def test_the_hubs_oldest_models_answer_to_both_of_their_names(prefix):
    assert known_shape(prefix + "bert-base-chinese") == known("hfl/chinese-roberta-wwm-ext")
    assert known_shape("FacebookAI/roberta-large") == known_shape("roberta-large")


def test_an_unknown_name_has_no_shape():
    assert known_shape("somebody/bert-base-uncased") is None
    assert known_shape("google-bert/hfl/chinese-bert-wwm") is None
    assert shape_of("somebody/their-model", config=None) is None


def test_a_config_outranks_the_name():
    smaller = {**ROBERTA_BASE, "num_hidden_layers": 3}
    shape = shape_of("roberta-base", config=smaller)
    assert shape is not None
    assert shape.layers == 3


@pytest.mark.parametrize("name", ["roberta-base", "xlm-roberta-large", "distilroberta-base"])
def test_two_of_robertas_514_positions_are_never_used(name):
    assert known(name).max_length == 512


def test_max_length_of_modernbert():
    assert known("answerdotai/ModernBERT-base").max_length == 8192


def test_one_leaf_name_may_have_several_widths():
    assert known("bert-base-uncased").linear_modules() == {
        "query": ((12, 768, 768),),
        "key": ((12, 768, 768),),
        "value": ((12, 768, 768),),
        "dense": ((12, 768, 768), (12, 768, 3072), (12, 3072, 768)),
    }
    assert known("answerdotai/ModernBERT-base").linear_modules() == {
        "Wqkv": ((22, 768, 2304),),
        "Wo": ((22, 768, 768), (22, 1152, 768)),
        "Wi": ((22, 768, 2304),),
    }


@pytest.mark.parametrize("name", known_names())
def test_default_lora_targets_exist_in_every_model(name):
    shape = known(name)
    assert resolve_lora_targets(shape, None) == shape.family.lora_targets
    assert set(shape.family.lora_targets) <= set(shape.linear_modules())


def test_all_linear_means_every_leaf_name():
    shape = known("distilbert-base-uncased")
    assert resolve_lora_targets(shape, "all-linear") == resolve_lora_targets(shape, ["all-linear"])
    assert resolve_lora_targets(shape, ["all-linear"]) == (
        "q_lin",
        "k_lin",
        "v_lin",
        "out_lin",
        "lin1",
        "lin2",
    )


def test_every_lora_target_that_the_model_lacks_is_named_with_the_nearest():
    with pytest.raises(UserError) as error:
        resolve_lora_targets(known("microsoft/deberta-v3-base"), ["query", "value_proj", "q_lin"])
    assert [problem.value for problem in error.value.problems] == ["query", "q_lin"]
    assert "did you mean query_proj?" in str(error.value)


def test_a_config_gives_the_shape_of_the_model_known_by_name():
    assert shape_from_config(ROBERTA_BASE, "config.json") == known("roberta-base")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_may_leave_everything_to_the_defaults(family):
    assert shape_from_config({"model_type": family}, "config.json").family.name == family


def test_an_unsupported_family_is_refused_with_those_that_are_supported():
    with pytest.raises(UserError) as error:
        shape_from_config({"model_type": "gpt2"}, "models/x/config.json")
    assert str(error.value).startswith("models/x/config.json: model_type=gpt2: this model family is not")
    assert all(family in str(error.value) for family in FAMILIES)


def test_a_config_without_a_family_is_refused():
    with pytest.raises(UserError, match="names no model family"):
        shape_from_config({"hidden_size": 768}, "config.json")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("prajjwal1/bert-tiny", "bert"),
        ("allenai/scibert_scivocab_uncased", "bert"),
        ("org/distilbert-nli", "distilbert"),
        ("/models/xlm-roberta-base/", "xlm-roberta"),
    ],
)
def test_an_old_config_without_a_family_is_read_by_the_models_name(name, family):
    shape = shape_of(name, config={"num_hidden_layers": 3, "n_layers": 3})
    assert shape is not None
    assert (shape.family.name, shape.layers) == (family, 3)


def test_all_mistakes_of_a_config_are_reported_together():
    wrong = {**ROBERTA_BASE, "hidden_size": "768", "num_hidden_layers": 0, "num_attention_heads": 7}
    with pytest.raises(UserError) as error:
        shape_from_config({**wrong, "vocab_size": True}, "config.json")
    fields = [problem.field for problem in error.value.problems]
    assert fields == ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads"]


def test_positions_all_taken_by_padding_are_refused():
    with pytest.raises(UserError, match="leaves no usable position"):
        shape_from_config({**ROBERTA_BASE, "max_position_embeddings": 2}, "config.json")


def test_the_config_of_a_model_directory_is_found(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(ROBERTA_BASE))
    assert find_config(str(tmp_path)) == ROBERTA_BASE


def test_a_directory_without_a_config_has_none(tmp_path: Path):
    assert find_config(str(tmp_path)) is None


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A local hub cache with one model, laid out as huggingface_hub lays it out."""
    folder = tmp_path / "hub" / "models--acme--encoder"
    snapshot = folder / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abcd")
    (snapshot / "config.json").write_text(json.dumps(ROBERTA_BASE))
    return tmp_path / "hub"


def test_the_config_of_a_hub_id_is_found_in_the_local_cache(hub: Path):
    assert find_config("acme/encoder", hub) == ROBERTA_BASE
    assert find_config("acme/encoder", hub, revision="0123abcd") == ROBERTA_BASE
    assert find_config("acme/encoder", hub, revision="v2") is None
    assert find_config("acme/other", hub) is None


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", "hub"), ("HF_HOME", ""), ("XDG_CACHE_HOME", None)]
)
def test_the_cache_is_where_the_environment_says(hub: Path, monkeypatch, variable, below):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if below is None:
        (hub.parent / "huggingface").mkdir()
        hub.rename(hub.parent / "huggingface" / "hub")
    monkeypatch.setenv(variable, str(hub.parent / (below or "")))
    assert find_config("acme/encoder") == ROBERTA_BASE


@pytest.mark.parametrize("name", ["../secrets", "acme/../encoder", "a/b/c", "", "acme/enc oder"])
def test_a_name_that_is_no_hub_id_never_leaves_the_cache(hub: Path, name):
    assert find_config(name, hub) is None


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_a_mistake_with_its_path(tmp_path: Path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: (can't be read as JSON|must hold a JSON object)"):
        find_config(str(tmp_path))
