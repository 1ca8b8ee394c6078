"""Parameters that a task needs beyond those of the transformers model: a CRF's transitions, ordinal thresholds.

They are a submodule of the model, so that optimizers, ZeRO and checkpoints treat them as any other parameter, but they
are saved in a file of their own: model.safetensors holds what transformers expects, no more and no less.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

NAME = "launcher_head"
"""Name of the submodule, and of what it computes in the model's output."""
FILE = f"{NAME}.safetensors"


def attach(model: torch.nn.Module, head: torch.nn.Module | None) -> None:
    """Make `head` part of a transformers model: `head(logits)` then stands in the output as `launcher_head`.

    One that `reads_features` instead gets what the last linear layer gets, and its output is added to the logits.

    It is called inside the model's forward pass, where ZeRO-3 gathers its parameters; it must return tensors of its own,
    not the parameters, since those are gone afterwards.
    """
    if head is None:
        return
    model.add_module(NAME, head)
    if getattr(head, "reads_features", False):
        _feed_features(model)
    else:
        model.register_forward_hook(_add_output)


def _feed_features(model: Any) -> None:
    """Let the extra head read what the last linear layer reads, and add to its logits."""
    seen: list[torch.Tensor] = []
    *_, last = (module for module in model.classifier.modules() if isinstance(module, torch.nn.Linear))
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    def add(whole: Any, _args: tuple[Any, ...], output: Any) -> Any:
        output.logits = output.logits + getattr(whole, NAME)(seen.pop())
        return output

    model.register_forward_hook(add)


def _add_output(model: Any, _args: tuple[Any, ...], output: Any) -> Any:
    output[NAME] = getattr(model, NAME)(output.logits)
    return output


def split_state(
    state: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(weights of the transformers model, those of the extra head under their names in it)."""
    prefix = f"{NAME}."
    own: dict[str, torch.Tensor] = {}
    rest: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        place, found, leaf = name.partition(prefix)
        if found and (not place or place.endswith(".")):
            own[leaf] = tensor
        else:
            rest[name] = tensor
    return rest, own


def save(state: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Write the extra head's weights beside the model's; nothing where there are none."""
    from safetensors.torch import save_file

    if state:
        save_file(dict(state), directory / FILE)


def take_up(head: torch.nn.Module, directory: Path) -> None:
    """Give a new head the weights that `directory` holds; where there are none, or of another shape, it stays as it is."""
    from safetensors.torch import load_file

    if not (directory / FILE).is_file():
        return
    held, wanted = load_file(directory / FILE), head.state_dict()
    if {name: tensor.shape for name, tensor in held.items()} == {name: t.shape for name, t in wanted.items()}:
        head.load_state_dict(held)


def load(model: torch.nn.Module, head: torch.nn.Module | None, directory: Path) -> None:
    """Attach `head` to a loaded model with the weights that `save` wrote."""
    from safetensors.torch import load_file

    if head is not None:
        head.load_state_dict(load_file(directory / FILE))
    attach(model, head)
