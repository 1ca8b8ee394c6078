"""Low-rank adapters around a model, and merging them for a plain directory."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from launcher.families import shape_from_config
from launcher.families.shared.base import resolve_lora_targets
from launcher.recipe.recipe import Recipe
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.tasks import extra_head

Tensors = Mapping[str, torch.Tensor]
IDLE_COPY = ".original_module."
"""In names of parameters that peft keeps of what is trained in full beside the adapters, as they were before."""


def add_adapters(
    recipe: Recipe,
    peft_type: str | None,
    base: PreTrainedModel,
    head_modules: Sequence[str],
    unread: Sequence[str] = (),
) -> tuple[torch.nn.Module, Tensors]:
    """(the model with adapters, which train beside the head, and where they start if that is taken out of the weights).

    Modules that are `unread` have none.
    """
    # peft asks for torch.distributed.tensor by name, which nothing else imports in a process of its own.
    import torch.distributed.tensor  # noqa: F401
    from peft import LoraConfig, get_peft_model

    lora = recipe.lora
    heads = [name for name in head_modules if _has_module(base, name)]
    shape = shape_from_config(base.config.to_dict(), str(recipe.model.name))
    targets = resolve_lora_targets(shape, lora.targets)
    whole = [*heads, _embeddings_name(base)] if lora.train_embeddings else heads
    config = LoraConfig(
        task_type=peft_type,
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # it only divides it by r
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights="pissa" if lora.init == "pissa" else True,
        target_modules=_target_pattern(targets, (*heads, *unread)),
        modules_to_save=whole,
        bias="none",
    )
    if recipe.model.gradient_checkpointing:
        base.enable_input_require_grads()  # type: ignore[no-untyped-call]
    with without_expected_warnings():
        adapted = get_peft_model(base, config, autocast_adapter_dtype=False, revision=recipe.model.revision)
    return adapted, _start(adapted) if lora.init == "pissa" else {}


def _start(adapted: torch.nn.Module) -> Tensors:
    """Copies of the adapters' factors, named as in the adapter's file."""
    return {
        name.replace(".default.", "."): parameter.detach().clone()
        for name, parameter in adapted.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }


def _embeddings_name(base: Any) -> str:
    embeddings = base.get_input_embeddings()
    names = (str(name) for name, module in base.named_modules() if module is embeddings)
    return next(names).split(".")[-1]


def _target_pattern(targets: Sequence[str], without: Sequence[str]) -> str:
    """Adapt the named modules of the encoder, but nothing inside the head, which trains in full, or what nobody reads."""
    outside = "(?!.*(?:^|\\.)(?:" + "|".join(without) + ")(?:\\.|$))" if without else ""
    return f"^{outside}(?:.*\\.)?(?:{'|'.join(targets)})$"


def _has_module(model: torch.nn.Module, leaf: str) -> bool:
    return any(name.split(".")[-1] == leaf and module is not None for name, module in model.named_modules())


def save_merged(model: torch.nn.Module, state: Tensors, start: Tensors, directory: Path) -> None:
    """Write the model with its adapters merged, and the adapters in `adapter/`; `state` is used up.

    It merges on a copy: merging and un-merging the live weights would change them by rounding.
    """
    with torch.device("meta"):
        skeleton: Any = copy.deepcopy(model).to("meta")
    _fill(skeleton, state)
    # Embeddings are never resized here; peft would ask the hub, at each save, whether they were.
    skeleton.save_pretrained(directory / "adapter", save_embedding_layers=False)
    if start:
        _relate_to_pretrained(directory / "adapter", start)
    merged = skeleton.merge_and_unload()
    plain, own = extra_head.split_state(merged.state_dict())
    merged.save_pretrained(directory, state_dict=plain)
    extra_head.save(own, directory)


def _relate_to_pretrained(adapter: Path, start: Tensors) -> None:
    """Rewrite a PiSSA adapter, which belongs to weights without their largest directions, as one for the whole weights.

    B A - B0 A0 is one adapter of twice the rank (Meng et al., 2024, section 3).
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    for name, first in start.items():
        if ".lora_A." in name:
            weights[name] = torch.cat([weights[name], first.to("cpu")]).contiguous()
        else:
            weights[name] = torch.cat([weights[name], -first.to("cpu")], dim=1).contiguous()
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The scale, alpha / r or alpha / sqrt(r), stays what it was.
    config["lora_alpha"] *= 2**0.5 if config["use_rslora"] else 2
    config |= {"r": 2 * config["r"], "init_lora_weights": True}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put weights in place whatever stood there: under ZeRO-3 parameters have no elements, so loading would refuse."""
    for name, tensor in state.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        is_parameter = leaf in dict(module.named_parameters(recurse=False))
        setattr(module, leaf, torch.nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
