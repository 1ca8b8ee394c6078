"""Six families, in full and with adapters: what trains, what dropout is called, and that what is saved is what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.training import recipe
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from launcher import families
from launcher.errors import RunFailed
from launcher.families import shape_from_config
from launcher.planning.estimate import Setup, idle_copies, total_parameters
from launcher.planning.prepare import scratch_config as planned_config
from launcher.recipe.model import Scratch
from launcher.recipe.recipe import Recipe
from launcher.train.inputs import tokenizer_for
from launcher.train.model.adapters import IDLE_COPY
from launcher.train.model.build import BuiltModel, build_model, cpu_state, save_model
from launcher.train.model.build import scratch_config as made_config
from launcher.train.step.optimizers import make_optimizer
from launcher.train.tasks import MicroBatch, get_task
from launcher.train.tokens.tokenizer import train_tokenizer

# peft asks for a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
DEBERTA_V3 = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 8,
    "type_vocab_size": 0,
    "pooler_hidden_size": 32,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "roberta": SHAPE,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 64},
    "electra": SHAPE | {"embedding_size": 16},
    "albert": SHAPE | {"embedding_size": 16},
    "mpnet": SHAPE,
    "deberta-v2": SHAPE | DEBERTA_V3,
    "modernbert": SHAPE,
}
SCRATCH_FAMILIES = families.FAMILIES
TEXTS = [
    f"the {adjective} {noun}" for adjective in ("good", "bad", "odd") for noun in ("day", "night", "cake")
]
NAMES = ("bad", "fair", "good")
ADAPTED = {
    "bert": {"query", "value"},
    "roberta": {"query", "value"},
    "distilbert": {"q_lin", "v_lin"},
    "electra": {"query", "value"},
    "albert": {"query", "value"},
    "mpnet": {"q", "v"},
    "deberta-v2": {"query_proj", "value_proj"},
    "modernbert": {"Wqkv"},
}
HEADS = {
    "bert": {"bert.pooler", "classifier"},
    "roberta": {"classifier"},
    "distilbert": {"pre_classifier", "classifier"},
    "electra": {"classifier"},
    "albert": {"albert.pooler", "classifier"},
    "mpnet": {"classifier"},
    "deberta-v2": {"pooler", "classifier"},
    "modernbert": {"head", "classifier"},
}


def _tokenizer(family: str) -> Any:
    return train_tokenizer(TEXTS, Scratch.model_validate({"family": family, "vocab": 100}), max_length=48)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Directory with the bare encoder of a family, as one has it from the hub."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            torch.manual_seed(7)
            tokenizer = _tokenizer(family)
            special = {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
            for name in ("bos", "eos", "cls", "sep"):
                special[f"{name}_token_id"] = (
                    tokenizer.cls_token_id if name in ("bos", "cls") else tokenizer.sep_token_id
                )
            made[family] = tmp_path_factory.mktemp(family)
            AutoModel.from_config(
                AutoConfig.for_model(family, **FAMILIES[family], **special)
            ).save_pretrained(made[family])
            tokenizer.save_pretrained(made[family])
        return made[family]

    return make


def _recipe(directory: Path | None, **changes: Any) -> Recipe:
    model = {"init": "scratch"} if directory is None else {"init": "pretrained", "name": str(directory)}
    return recipe(Path("unused"), **{**changes, "model": {**model, **changes.get("model", {})}})


def _build(wanted: Recipe, tokenizer: Any) -> BuiltModel:
    return build_model(wanted, get_task(wanted), NAMES, tokenizer)


def _inputs(tokenizer: Any) -> dict[str, torch.Tensor]:
    return dict(tokenizer([*TEXTS[:5], "good"], padding=True, return_tensors="pt"))


def _train_a_step(built: BuiltModel, wanted: Recipe, tokenizer: Any) -> set[str]:
    """Take one optimizer step; names of the parameters that have changed."""
    before = cpu_state(built.model)
    optimizer = make_optimizer(wanted, built.model)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    built.model.train()
    for _ in range(2):  # the first update of an adapter leaves one of its two factors as it was
        inputs = _inputs(tokenizer)
        output = built.model(**inputs)
        get_task(wanted).loss_sum(output, MicroBatch(inputs, labels, 6)).backward()
        optimizer.step()
        optimizer.zero_grad()
    built.model.eval()
    return {name for name, value in cpu_state(built.model).items() if not torch.equal(value, before[name])}


@torch.no_grad()
def _logits(model: Any, tokenizer: Any) -> torch.Tensor:
    logits: torch.Tensor = model.eval()(**_inputs(tokenizer)).logits
    return logits


@pytest.fixture(scope="module", params=["full", "lora"])
def trained(
    request: pytest.FixtureRequest, family: str, pretrained: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BuiltModel, set[str], Path]:
    """(the model after a step, names of what changed, the directory it was saved in)."""
    wanted = _recipe(pretrained(family), tuning=request.param, train={"lr": 1e-2})
    tokenizer = _tokenizer(family)
    built = _build(wanted, tokenizer)
    changed = _train_a_step(built, wanted, tokenizer)
    directory = tmp_path_factory.mktemp("saved") / "model"
    save_model(built, cpu_state(built.model), tokenizer, directory)
    return built, changed, directory


def test_what_should_train_trains_and_nothing_else(family: str, trained: Any) -> None:
    built, changed, _ = trained
    wanting = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
    assert changed == wanting
    if not built.lora:
        assert wanting == {name for name, _ in built.model.named_parameters()}
        return
    heads = {name for name in wanting if "modules_to_save" in name}
    adapters = wanting - heads
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in adapters} == ADAPTED[family]
    assert {name.split("base_model.model.")[1].split(".modules_to_save")[0] for name in heads} == HEADS[
        family
    ]
    for head in HEADS[family]:
        parameters = dict(built.base.get_submodule(head).named_parameters())
        assert any(parameter.requires_grad for parameter in parameters.values())


def test_the_saved_directory_is_plain_and_gives_the_same_logits(family: str, trained: Any) -> None:
    built, _, directory = trained
    tokenizer = AutoTokenizer.from_pretrained(directory)
    loaded, report = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    expected = _logits(built.model, _tokenizer(family))
    torch.testing.assert_close(_logits(loaded, tokenizer), expected, atol=1e-5, rtol=1e-5)
    assert loaded.config.id2label == dict(enumerate(NAMES))
    (scores,) = pipeline("text-classification", model=str(directory), top_k=None)([TEXTS[0]])
    assert {found["label"] for found in scores} == set(NAMES)
    assert max(found["score"] for found in scores) == pytest.approx(
        float(expected[0].softmax(-1).max()), abs=1e-5
    )


def test_saving_leaves_the_model_as_it_was(family: str, trained: Any, tmp_path: Path) -> None:
    built, _, _ = trained
    before = cpu_state(built.model)
    save_model(built, cpu_state(built.model), _tokenizer(family), tmp_path / "model")
    after = cpu_state(built.model)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_adapter_loads_on_the_pretrained_model(family: str, pretrained: Any, trained: Any) -> None:
    from peft import PeftModel

    built, _, directory = trained
    assert (directory / "adapter").exists() == built.lora
    if built.lora:
        base = AutoModelForSequenceClassification.from_pretrained(pretrained(family), num_labels=3)
        adapted = PeftModel.from_pretrained(base, directory / "adapter")
        torch.testing.assert_close(
            _logits(adapted, _tokenizer(family)),
            _logits(built.model, _tokenizer(family)),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("kind", [None, "hidden", "attention", "classifier"])
def test_each_kind_of_dropout_has_an_effect_and_there_is_no_other(
    family: str, pretrained: Any, kind: str | None
) -> None:
    if kind is not None and not getattr(families.find(family).dropout, kind):
        kind = None
    dropout = {name: 0.5 if name == kind else 0.0 for name in ("hidden", "attention", "classifier")}
    tokenizer = _tokenizer(family)
    built = _build(_recipe(pretrained(family), model={"dropout": dropout}), tokenizer)
    built.model.train()
    with torch.no_grad():
        once, again = (built.model(**_inputs(tokenizer)).logits for _ in range(2))
    assert torch.equal(once, again) == (kind is None)


def test_adapters_have_their_own_dropout(family: str, pretrained: Any) -> None:
    wanted = _recipe(
        pretrained(family),
        tuning="lora",
        lora={"dropout": 0.25, "r": 4, "alpha": 12.0},
        model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
    )
    built = _build(wanted, _tokenizer(family))
    adapters = [module for module in built.model.modules() if hasattr(module, "lora_dropout")]
    assert adapters
    for module in adapters:
        assert module.lora_dropout["default"].p == 0.25
        assert module.scaling["default"] == 3.0
    shape = shape_from_config(built.base.config.to_dict(), "config.json")
    setup = Setup(tuning="lora", lora_r=4, head_parameters=shape.classifier_parameters(len(NAMES)))
    parameters = dict(built.model.named_parameters())
    used = sum(parameter.numel() for name, parameter in parameters.items() if IDLE_COPY not in name)
    assert used == total_parameters(shape, setup)
    assert sum(map(torch.numel, parameters.values())) == used + idle_copies(shape, setup)


def test_gradient_checkpointing_changes_no_gradient(family: str, pretrained: Any) -> None:
    if not families.find(family).can_checkpoint:
        return
    gradients = []
    for checkpointing in (False, True):
        none = {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}
        wanted = _recipe(pretrained(family), model={"dropout": none, "gradient_checkpointing": checkpointing})
        tokenizer = _tokenizer(family)
        built = _build(wanted, tokenizer)
        assert bool(getattr(built.base, "is_activation_checkpointing", False)) == checkpointing
        built.model.train()
        built.model(**_inputs(tokenizer)).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in built.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_the_same_seed_makes_the_same_model(family: str, pretrained: Any) -> None:
    one, same, other = (
        cpu_state(_build(_recipe(pretrained(family), tuning="lora", seed=seed), _tokenizer(family)).model)
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(same[name], value) for name, value in one.items())
    assert not all(torch.equal(other[name], value) for name, value in one.items())


@pytest.mark.parametrize("kind", SCRATCH_FAMILIES)
def test_a_model_from_scratch_takes_its_longest_input(kind: str, tmp_path: Path) -> None:
    scratch = {"family": kind, "hidden": 32, "layers": 1, "heads": 2, "intermediate": 48, "vocab": 100}
    tokenizer = _tokenizer(kind)
    wanted = _recipe(None, model={"scratch": scratch})
    built = _build(wanted, tokenizer)
    inputs = dict(tokenizer("good day " * 40, truncation=True, max_length=48, return_tensors="pt"))
    assert inputs["input_ids"].shape == (1, 48)
    assert built.model(**inputs).logits.shape == (1, 3)
    save_model(built, cpu_state(built.model), tokenizer, tmp_path / "model")
    found = pipeline("text-classification", model=str(tmp_path / "model"))("a good day")
    assert found[0]["label"] in NAMES


@pytest.mark.parametrize("max_length", [None, 24, 1024])
@pytest.mark.parametrize("kind", SCRATCH_FAMILIES)
def test_a_model_from_scratch_has_the_shape_that_was_planned(
    kind: str, max_length: int | None, tmp_path: Path
) -> None:
    scratch = {"family": kind, "hidden": 32, "layers": 1, "heads": 2, "intermediate": 48, "vocab": 64}
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text},A\n" for text in TEXTS))
    texts = str(tmp_path / "train.csv")
    data = {"train": texts, "validation": texts, "test": texts, "max_length": max_length}
    wanted = _recipe(None, model={"scratch": scratch}, data=data)
    tokenizer = tokenizer_for(wanted)
    whole = wanted.model.scratch.model_copy(update={"vocab": len(tokenizer)})  # these texts have fewer words
    planned = planned_config(whole, wanted.scratch_length)
    built = made_config(wanted.model.scratch, tokenizer, {}).to_dict()
    assert shape_from_config(built, "built") == shape_from_config(planned, "planned")
    assert shape_from_config(built, "built").max_length == max(512, max_length or 0)


@pytest.mark.parametrize("fault", ["no weights", "weights of another shape"])
def test_an_encoder_that_is_not_whole_is_refused(pretrained: Any, tmp_path: Path, fault: str) -> None:
    AutoModel.from_pretrained(pretrained("bert")).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if "layer.1.attention.self.query.weight" in name)
    if fault == "no weights":
        del weights[name]
    else:
        weights[name] = weights[name][:, :5].contiguous()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        RunFailed, match=rf"has {fault} for 1 parameters .*encoder\.layer\.1\.attention"
    ) as caught:
        _build(_recipe(tmp_path), _tokenizer("bert"))
    assert caught.value.error_class == "model"
    assert "model.init=scratch" in str(caught.value.remedy)


def test_a_head_of_another_task_is_replaced(pretrained: Any, tmp_path: Path) -> None:
    """A classifier of two classes, and a masked language model without a pooler, are both good encoders to start from."""
    AutoModelForSequenceClassification.from_pretrained(pretrained("bert"), num_labels=2).save_pretrained(
        tmp_path / "two"
    )
    AutoModelForMaskedLM.from_pretrained(pretrained("bert")).save_pretrained(tmp_path / "mlm")
    for name in ("two", "mlm"):
        built = _build(_recipe(tmp_path / name), _tokenizer("bert"))
        assert built.model(**_inputs(_tokenizer("bert"))).logits.shape == (6, 3)


def test_what_cannot_be_had_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nobody/no-such-model"):
        with pytest.raises(RunFailed) as caught:
            _build(_recipe(Path(name)), _tokenizer("bert"))
        assert caught.value.error_class == "model"
        assert name in caught.value.message


def test_a_disk_that_takes_no_more_is_named(pretrained: Any, tmp_path: Path) -> None:
    built = _build(_recipe(pretrained("bert")), _tokenizer("bert"))
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(RunFailed, match="the model could not be written") as caught:
        save_model(built, cpu_state(built.model), _tokenizer("bert"), tmp_path / "file" / "model")
    assert caught.value.error_class == "checkpoint"
