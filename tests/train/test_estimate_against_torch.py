"""The launch side's figures against the real thing: transformers' modules, and what autograd keeps."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)

from launcher.families import FAMILIES, find, known_shape, shape_from_config
from launcher.planning import estimate
from launcher.planning.estimate import (
    Setup,
    activation_bytes,
    adapter_parameters,
    estimate_memory,
    evaluation_bytes,
)
from launcher.planning.layout import setup_of
from launcher.planning.step_time import step_flops
from launcher.recipe.recipe import Recipe
from launcher.train.model.precision import autocast
from launcher.train.model.unpadded import enable_packing, make_collate
from launcher.train.packed import packing, relative_attention
from launcher.train.process.ranks import Ranks
from launcher.train.tasks import Task, get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.use.evaluation import Evaluator

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
HIDDEN, LAYERS = 64, 2


def tiny(family: str, layers: int = LAYERS, **options: object) -> PreTrainedConfig:
    """A small model of the family without dropout; widths and lengths differ, so that shapes don't collide."""
    sizes = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "vocab_size": 101,
    }
    special = SPECIAL if family == "modernbert" else {}
    return AutoConfig.for_model(family, **{**sizes, **special, **NO_DROPOUT, **options})


VARIANTS = [
    *((family, {}) for family in FAMILIES),
    ("roberta", {"max_position_embeddings": 514, "type_vocab_size": 1}),
    ("electra", {"embedding_size": 32}),
    ("deberta-v2", DEBERTA_V3),
    ("deberta-v2", {**DEBERTA_V3, "share_att_key": False, "conv_kernel_size": 3, "embedding_size": 32}),
    ("deberta-v2", {"relative_attention": True, "pos_att_type": ["c2p"], "type_vocab_size": 2}),
    ("modernbert", {"norm_bias": True, "mlp_bias": True, "attention_bias": True, "classifier_bias": True}),
]


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_parameters_and_linear_modules_are_exactly_those_of_transformers(family, options):
    config = tiny(family, **options)
    shape = shape_from_config(config.to_dict(), "config.json")
    with torch.device("meta"):
        encoder = AutoModel.from_config(config)
        classifier = AutoModelForSequenceClassification.from_config(config)
    assert shape.parameters == count(encoder)
    assert shape.body_parameters + shape.classifier_parameters(config.num_labels) == count(classifier)
    built = Counter(
        (name.rpartition(".")[2], module.in_features, module.out_features)
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.Linear) and "layer" in name
    )
    predicted = {
        (leaf, kind.inputs, kind.outputs): kind.instances
        for leaf, kinds in shape.linear_modules().items()
        for kind in kinds
    }
    assert predicted == built


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_says_nothing_means_what_it_means_to_transformers(family):
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(family))
    assert shape_from_config({"model_type": family}, "config.json").parameters == count(model)


PUBLISHED = {
    "bert-base-uncased": ("bert", {}),
    "roberta-base": ("roberta", {"max_position_embeddings": 514, "type_vocab_size": 1}),
    "distilbert-base-uncased": ("distilbert", {}),
    "google/electra-small-discriminator": ("electra", {}),
    "microsoft/deberta-v3-base": (
        "deberta-v2",
        {
            **DEBERTA_V3,
            "position_buckets": 256,
            "num_hidden_layers": 12,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
    ),
    "answerdotai/ModernBERT-base": ("modernbert", {}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_shapes_are_those_of_their_published_configs(name):
    family, options = PUBLISHED[name]
    config = AutoConfig.for_model(family, **options)
    assert shape_from_config(config.to_dict(), "config.json") == known_shape(name)
    with torch.device("meta"):
        assert count(AutoModel.from_config(config)) == known_shape(name).parameters


PACKED = ("deberta-v2",)
"""Families whose packed attention keeps other tensors than transformers' own."""


def trained_model(config: PreTrainedConfig, setup: Setup) -> torch.nn.Module:
    """A model that computes all tokens in every layer."""
    if config.model_type in PACKED:
        model = AutoModelForTokenClassification.from_config(config).train()
        assert enable_packing(model, torch.device("cpu"), rows="all")
        return model
    has_flash = find(config.model_type).has_flash_attention
    implementation = "sdpa" if setup.attention == "flash" and has_flash else "eager"
    return AutoModel.from_config(config, attn_implementation=implementation).train()


def packed_inputs(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Examples of one length, end to end."""
    examples, length = ids.shape
    return {
        "input_ids": ids.view(1, -1),
        "position_ids": torch.arange(length).repeat(examples)[None],
        "lengths": torch.full((examples,), length),
        "cu_seqlens": torch.arange(0, examples * length + 1, length, dtype=torch.int32),
    }


def saved_bytes(config: PreTrainedConfig, setup: Setup, examples: int, length: int) -> int:
    """Bytes of the distinct tensors that autograd keeps in a forward pass, without weights and their copies."""
    model = trained_model(config, setup)
    if setup.tuning == "lora":
        model.requires_grad_(False)
        model.get_input_embeddings().weight.requires_grad_(True)  # so that every layer is differentiated
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters() if p.dim() == 2}
    shapes |= {shape[::-1] for shape in shapes}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        copy = tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in shapes
        if storage.data_ptr() not in weights and not copy:
            kept[storage.data_ptr()] = storage  # held, so that its address isn't used again
        return tensor

    ids = torch.randint(5, 100, (examples, length))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.model_type in PACKED:
        inputs = packed_inputs(ids)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=setup.precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        model(**inputs)
    return sum(storage.nbytes() for storage in kept.values())


ACTIVATIONS = [
    (family, precision, attention)
    for family in FAMILIES
    for precision in ("fp32", "bf16")
    for attention in ("flash", "eager")
    if family not in ("xlm-roberta", "camembert")
    and (attention == "eager" or find(family).has_flash_attention)
    # Behind a projection, autocast on a CPU keeps norms in bf16, which it doesn't on a GPU.
    and (family, precision) != ("albert", "bf16")
]


ACTIVATION_OPTIONS = {
    "deberta-v2": DEBERTA_V3,
    # Without a projection, for the same reason.
    "electra": {"embedding_size": HIDDEN},
    # A window that covers everything, for which no mask is kept.
    "modernbert": {"local_attention": 1024},
}


def grows_by(config_of, setup: Setup, examples: int, length: int) -> tuple[float, float]:
    """(measured, predicted) bytes of one layer more."""
    measured, predicted = [], []
    for layers in (2, 5):
        config = config_of(layers)
        shape = shape_from_config(config.to_dict(), "config.json")
        measured.append(saved_bytes(config, setup, examples, length))
        predicted.append(activation_bytes(shape, setup, tokens=examples * length, length=length))
    return (measured[1] - measured[0]) / 3, (predicted[1] - predicted[0]) / 3


@pytest.mark.parametrize(("family", "precision", "attention"), ACTIVATIONS)
def test_a_layers_activations_are_within_5_percent_of_what_autograd_keeps(family, precision, attention):
    options = ACTIVATION_OPTIONS.get(family, {})
    setup = Setup(precision=precision, attention=attention, device="cpu", dropout=False)
    measured, predicted = grows_by(
        lambda layers: tiny(family, layers, **options), setup, examples=3, length=48
    )
    assert predicted == pytest.approx(measured, rel=0.05)


def test_scores_with_positions_are_kept_as_long_as_the_estimate_says():
    assert estimate.SCORES_KEPT == relative_attention.KEPT_WEIGHTS
    assert estimate.SCORES_IN_WORK == packing.LARGEST_GROUP
    shape = known_shape("microsoft/deberta-v3-base")
    setup = Setup(device="cpu", precision="fp32", dropout=False)
    few, many = (activation_bytes(shape, setup, tokens=256 * n, length=256) for n in (16, 64))
    assert many < 4 * few  # beyond 2 ** 24 scores none are kept


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta-v2"])
def test_masks_of_dropout_are_counted(family, precision):
    options = {**ACTIVATION_OPTIONS.get(family, {}), **dict.fromkeys(NO_DROPOUT, 0.1)}
    setup = Setup(precision=precision, attention="eager", device="cpu")
    measured, predicted = grows_by(
        lambda layers: tiny(family, layers, **options), setup, examples=3, length=48
    )
    assert predicted == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_frozen_matrices_keep_no_inputs(family, precision):
    setup = Setup(tuning="lora", lora_r=1, precision=precision, device="cpu", dropout=False)
    measured, predicted = grows_by(lambda layers: tiny(family, layers), setup, examples=3, length=40)
    shape = shape_from_config(tiny(family).to_dict(), "config.json")
    width = 4 if precision == "fp32" else 2
    adapters = len(shape.family.lora_targets) * width * (HIDDEN + 1) * 3 * 40
    assert predicted - adapters == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_operations_are_within_2_percent_of_torchs_own_count(checkpointing):
    """torch's counter sees matrix products only, as the estimate does."""
    from torch.utils.flop_counter import FlopCounterMode

    config = tiny("bert")
    described = shape_from_config(config.to_dict(), "config.json")
    shape = replace(described, family=replace(described.family, has_pooler=False))
    model = AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    ids = torch.randint(5, 100, (3, 40))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.sum().backward()
    setup = Setup(gradient_checkpointing=checkpointing)
    assert step_flops(shape, setup, tokens=120, mean_length=40) == pytest.approx(
        counter.get_total_flops(), rel=0.02
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's
@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "deberta-v2", "modernbert"])
def test_adapters_are_as_large_as_peft_makes_them(family):
    from peft import LoraConfig, get_peft_model

    config = tiny(family)
    shape = shape_from_config(config.to_dict(), "config.json")
    setup = Setup(tuning="lora", lora_r=4)
    adapted = get_peft_model(
        AutoModel.from_config(config), LoraConfig(r=4, target_modules=list(shape.family.lora_targets))
    )
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == adapter_parameters(shape, setup)


MANY_WORDS, EXAMPLE = 120_000, 64
CPU = torch.device("cpu")


class Tokenizer:
    """What masked language modelling asks of one."""

    mask_token, mask_token_id, all_special_ids = "[MASK]", 4, (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return MANY_WORDS


class WordGuesser:
    """A masked LM whose vocabulary is most of it, and 64 texts of 64 tokens: as many as an evaluation takes at a time."""

    def __init__(self, precision: str) -> None:
        self.recipe = Recipe.model_validate({"task": "masked-lm", "precision": precision, "device": "cpu"})
        self.task: Task = get_task(self.recipe, Tokenizer())
        sizes = {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        }  # fmt: skip
        config = AutoConfig.for_model("bert", vocab_size=MANY_WORDS, **sizes)
        self.shape = shape_from_config(config.to_dict(), "config.json")
        self.model = AutoModelForMaskedLM.from_config(config)
        self.collate, _ = make_collate(self.task, Tokenizer(), self.model, CPU)

    def split(self, texts: int) -> TokenSplit:
        ids = np.random.default_rng(0).integers(5, MANY_WORDS, texts * EXAMPLE).astype(np.int32)
        words = np.r_[-100, np.arange(EXAMPLE - 2), -100].astype(np.int32)
        return TokenSplit(
            ids, np.arange(0, len(ids) + 1, EXAMPLE), marks=np.tile(words, texts), labelled=True
        )

    def forward(self, inputs: dict[str, torch.Tensor]) -> object:
        with autocast(self.recipe.precision, CPU):
            return self.model(**inputs)

    def evaluate(self, texts: int) -> None:
        self.model.eval()
        alone = Ranks(rank=0, local_rank=0, world_size=1, device=CPU)
        Evaluator(self.forward, self.task, self.collate, alone, self.model.config).score(self.split(texts))

    def train(self, texts: int) -> None:
        batch = self.collate(self.split(texts), np.arange(texts), 0)
        self.task.loss_sum(self.forward(batch.inputs), batch).backward()


def resident(what: str) -> int:
    """Bytes of this process that /proc/self/status gives under VmRSS (now) or VmHWM (at most)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def grown(work: Callable[[], None]) -> int:
    """Bytes that the process had at most meanwhile, beyond what it had before."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from now on
    work()
    return resident("VmHWM") - before


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_of_a_large_vocabulary_need_the_memory_that_is_predicted(precision):
    guesser = WordGuesser(precision)
    setup = setup_of(guesser.recipe, 1, "cpu")
    guesser.evaluate(2)
    guesser.train(2)  # gradients are there from now on
    tokens = estimate.EVALUATED_TOKENS["cpu"]
    texts = tokens // EXAMPLE
    evaluated, trained = grown(lambda: guesser.evaluate(texts)), grown(lambda: guesser.train(texts))
    assert evaluation_bytes(guesser.shape, setup, EXAMPLE) == pytest.approx(evaluated, rel=0.3)
    kept = activation_bytes(guesser.shape, setup, tokens=tokens, length=EXAMPLE)
    assert kept == pytest.approx(trained, rel=0.3)


def test_an_evaluation_that_needs_more_than_a_small_step_is_what_a_plan_has_room_for():
    setup, few = Setup(precision="fp32", device="cpu", guessed=0.15), known_shape("xlm-roberta-base")
    step = activation_bytes(few, setup, tokens=2 * EXAMPLE, length=EXAMPLE)
    needed = estimate_memory(few, setup, micro_batch_size=2, max_length=EXAMPLE).activations
    assert needed == evaluation_bytes(few, setup, EXAMPLE) > step
