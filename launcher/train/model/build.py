"""Building the encoder with its head, adapting it, and writing it as a plain Hugging Face directory."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from launcher import tasks
from launcher.errors import RunFailed, first_line
from launcher.families import find
from launcher.families.shared.names import DropoutKeys, Sizes
from launcher.planning.model_files import adapter_beside
from launcher.recipe.model import Dropout, Scratch
from launcher.recipe.recipe import Recipe
from launcher.runs.best_model import STEP_FILE, Kept
from launcher.runs.failure_classes import FREE_SPACE
from launcher.runs.files import let_group_read, write_json
from launcher.runs.records import tree_of
from launcher.runs.synced_files import sync, sync_tree
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.compat.sharded_tensors import without_sharded_tensors
from launcher.train.compat.switch import say_gone
from launcher.train.model.adapters import add_adapters, save_merged
from launcher.train.model.family import family_of
from launcher.train.model.fresh_and_frozen import freeze, reinitialise
from launcher.train.pretrained import load_config, local_first, read_json
from launcher.train.tasks import Task, extra_head


@dataclass(frozen=True)
class BuiltModel:
    """The model that trains, and what is needed to write it down."""

    model: torch.nn.Module
    """A PreTrainedModel, or a PeftModel around one."""
    base: PreTrainedModel
    """The transformers model itself."""
    lora: bool
    adapter_start: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Where adapters started that were taken out of the weights (PiSSA): what the adapter on disk is the difference to."""
    doubts: Sequence[str] = ()
    """Sentences for the user about what was loaded."""


def build_model(recipe: Recipe, task: Task, label_names: Sequence[str], tokenizer: Any) -> BuiltModel:
    """Load or make the encoder with a head for `task`; float32, on the CPU, the same on every rank.

    Raises RunFailed('model') where it can't be had.
    """
    torch.manual_seed(recipe.seed)
    config = make_config(recipe, task, label_names, tokenizer)
    task.check_model(config)
    family = family_of(config)
    with without_expected_warnings():
        base, doubts = _load(recipe, task, config)
    for name in task.unread:
        if isinstance(module := getattr(base, name, None), torch.nn.Module):
            module.requires_grad_(False)
    if recipe.model.reinit_layers:
        reinitialise(base, recipe.model.reinit_layers)
    if recipe.model.gradient_checkpointing:
        # transformers renamed it in 5.20 or so; the older name warns there.
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    model: torch.nn.Module = base
    start: Mapping[str, torch.Tensor] = {}
    if recipe.tuning == "lora":
        heads = () if task.ready_head else family.head_modules
        model, start = add_adapters(recipe, task.peft_type, base, heads, task.unread)
    # After the adapters: the one on disk is for a model without this head.
    head = task.extra_head(config)
    if head is not None and recipe.model.init == "pretrained" and _told_apart(recipe, task, label_names):
        extra_head.take_up(head, Path(str(recipe.model.name)))
    extra_head.attach(base, head)
    freeze(model, recipe)
    return BuiltModel(model, base, recipe.tuning == "lora", start, doubts)


def make_config(recipe: Recipe, task: Task, label_names: Sequence[str], tokenizer: Any) -> PretrainedConfig:
    """The model's own configuration, or one from `model.scratch`, with the head and the dropout of the recipe."""
    head = {**task.head_config(label_names), **task.remembered()}
    if recipe.model.name is None:
        config = scratch_config(recipe.model.scratch, tokenizer, head)
    else:
        config = load_config(recipe.model.name, recipe.model.revision, **head)
    for key, value in dropout_entries(family_of(config).dropout, recipe.model.dropout).items():
        setattr(config, key, value)
    return config


def dropout_entries(names: DropoutKeys, dropout: Dropout) -> dict[str, float]:
    """What the recipe's dropout is called in a configuration."""
    wanted = (
        (names.hidden, dropout.hidden),
        (names.attention, dropout.attention),
        (names.classifier, dropout.classifier),
    )
    return {key: value for keys, value in wanted if value is not None for key in keys}


def scratch_config(scratch: Scratch, tokenizer: Any, head: Mapping[str, Any]) -> PretrainedConfig:
    """A small configuration of the wanted family for this tokenizer."""
    sizes = Sizes(
        scratch.layers,
        scratch.hidden,
        scratch.heads,
        scratch.intermediate,
        len(tokenizer),
        tokenizer.model_max_length,
    )
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    entries = find(scratch.family).scratch_config(sizes)
    return AutoConfig.for_model(scratch.family, **{**entries, **special, **head})


def fetch_model(recipe: Recipe) -> None:
    """Bring configuration and weights into the local hub cache."""
    from transformers import AutoModel

    name, revision = str(recipe.model.name), recipe.model.revision
    load_config(name, revision)  # refuses a model before it is downloaded
    with without_expected_warnings():
        local_first(AutoModel.from_pretrained, name, revision)
    list(tasks.of(recipe).doubts_of_model(functools.partial(read_json, name, revision)))  # keeps their files


def _load(recipe: Recipe, task: Task, config: PretrainedConfig) -> tuple[PreTrainedModel, Sequence[str]]:
    """(the transformers model, what is doubtful about it)."""
    import transformers

    auto_class = getattr(transformers, task.auto_class)
    if recipe.model.init == "scratch":
        model: PreTrainedModel = auto_class.from_config(config, dtype=torch.float32)
        return model, ()
    model, report = local_first(
        auto_class.from_pretrained,
        str(recipe.model.name),
        recipe.model.revision,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _check_loaded(model, report, str(recipe.model.name))
    fresh = any(key.startswith("classifier.") for key in report["missing_keys"])
    if not fresh and not _same_classes(load_config(str(recipe.model.name), recipe.model.revision), config):
        _renew_output(model)
    return model, _doubts(recipe, task, model, report)


def _same_classes(source: PretrainedConfig, config: PretrainedConfig) -> bool:
    """Whether the outputs of a head made for `source` mean what they are to mean now."""
    return source.num_labels == config.num_labels and (
        config.num_labels == 1 or source.id2label == config.id2label
    )


def _told_apart(recipe: Recipe, task: Task, label_names: Sequence[str]) -> bool:
    """Whether the model that is started from was trained to tell the same classes apart."""
    try:
        return not label_names or task.names_in(
            load_config(str(recipe.model.name), recipe.model.revision)
        ) == tuple(label_names)
    except AttributeError:  # it has no labels with an order
        return False


def _renew_output(model: Any) -> None:
    """Draw the last layer of a classification head anew: it told other classes apart. What lies below it is kept."""
    if (head := getattr(model, "classifier", None)) is None:
        return
    *_, output = (module for module in head.modules() if isinstance(module, torch.nn.Linear))
    torch.nn.init.normal_(output.weight, std=model.config.initializer_range)
    if output.bias is not None:
        torch.nn.init.zeros_(output.bias)


def _check_loaded(model: PreTrainedModel, report: Mapping[str, Any], name: str) -> None:
    """Only the head may be fresh: a checkpoint that lacks parts of the encoder is not the model it says it is."""
    for adapter in (getattr(model, "peft_config", None) or {}).values():
        beside = adapter_beside({"peft_type": getattr(adapter.peft_type, "value", None)})
        raise RunFailed("model", f"{name} {beside.message}", beside.remedy)
    encoder = f"{model.base_model_prefix}."
    other_shape = [key for key, *_ in report["mismatched_keys"]]
    for keys, fault in ((report["missing_keys"], "no weights"), (other_shape, "weights of another shape")):
        wrong = sorted(key for key in keys if key.startswith(encoder) and "pooler" not in key.split("."))
        if wrong:
            unread = sorted(report["unexpected_keys"], key=lambda key: (not key.endswith(wrong[0]), key))
            instead = f", and has {unread[0]}, which the model doesn't know" if unread else ""
            raise RunFailed(
                "model",
                f"{name} has {fault} for {len(wrong)} parameters of the encoder, such as {wrong[0]}{instead}",
                "give one that transformers loads by itself, without code of its own; "
                "or use model.init=scratch to train from random weights on purpose",
            )


def _doubts(recipe: Recipe, task: Task, model: PreTrainedModel, report: Mapping[str, Any]) -> list[str]:
    """What a user should know of a model that was loaded. Raises RunFailed('recipe') for a head that would never train."""
    name = str(recipe.model.name)
    read = functools.partial(read_json, name, recipe.model.revision)
    found = [f"{name}: {doubt}" for doubt in task.spec.doubts_of_model(read)]
    layers = f"{family_of(model.config).modules.layers}."
    if extra := sorted(key for key in report["unexpected_keys"] if layers in key):
        found.append(f"{name} has {len(extra)} weights that its configuration leaves out, such as {extra[0]}")
    fresh = sorted(key for key in report["missing_keys"] if not set(task.unread) & set(key.split(".")))
    if task.ready_head and fresh:
        text = f"{name} has no weights for this task's head, which starts from random ones: {fresh[0]}"
        if recipe.tuning == "lora":
            raise RunFailed("recipe", f"{text}; with tuning=lora it would stay so", "use tuning=full")
        found.append(text)
    return found


def cpu_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in module.state_dict().items()
    }


def save_model(
    built: BuiltModel,
    state: Mapping[str, torch.Tensor],
    tokenizer: Any,
    directory: Path,
    step: int | None = None,
    further: Mapping[str, Any] | None = None,
    *,
    shared: bool = False,
) -> None:
    """Write a plain Hugging Face directory: there whole or not at all, replacing an older one.

    `state` are the weights under the names of `built.model`, which are used up. Adapters are merged; they stand in
    `adapter/` as well. `step` is kept beside it, and `further` JSON files by path. Where it is shared, the group may read it.
    Raises RunFailed('checkpoint') where the disk doesn't take it.
    """
    from safetensors import SafetensorError

    staging = directory.with_name(f".{directory.name}.new")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        with without_expected_warnings():
            _write_weights(built, state, staging)
            tokenizer.save_pretrained(staging)
        if step is not None:
            write_json(staging / STEP_FILE, tree_of(Kept(step)))
        for path, content in (further or {}).items():
            (staging / path).parent.mkdir(mode=0o700, exist_ok=True)
            write_json(staging / path, content)
        if shared:
            let_group_read(staging)
        _put_in_place(staging, directory)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise RunFailed(
            "checkpoint", f"the model could not be written: {first_line(error)}", FREE_SPACE
        ) from error


def _write_weights(built: BuiltModel, state: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Weights and configuration, adapters merged, and what a head has beyond transformers' own."""
    if built.lora:
        save_merged(built.model, state, built.adapter_start, directory)
        return
    plain, own = extra_head.split_state(state)
    try:
        with without_sharded_tensors():
            built.base.save_pretrained(directory, state_dict=dict(plain))
    except ImportError:  # another version of transformers may not do without
        say_gone("saving without torch.distributed.tensor", "models are saved with it")
        built.base.save_pretrained(directory, state_dict=plain)
    extra_head.save(own, directory)


def _put_in_place(staging: Path, directory: Path) -> None:
    """Make `staging` be `directory`, once it is on the disk, in the place of an older one."""
    old = directory.with_name(f".{directory.name}.old")
    sync_tree(staging)
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    staging.rename(directory)
    sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
