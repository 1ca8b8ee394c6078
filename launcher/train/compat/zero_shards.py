"""A checkpoint of ZeRO taken up by another number of ranks: every parameter's state put together by name, and cut anew.

What lies where in a rank's shard is read from the shard itself. Tested with deepspeed 0.19; where another version has other
names, the run fails by name and resumes on the number of ranks that it had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from launcher.errors import RunFailed
from launcher.train.compat.plain_values import read_values

SHARDS = "*_optim_states.pt"


@dataclass(frozen=True)
class WholeState:
    """What all shards of a checkpoint hold together."""

    weights: Mapping[str, torch.Tensor]
    """Flat, by name of parameter."""
    moments: Mapping[str, Mapping[str, torch.Tensor]]
    """Of the optimizer, flat: by its name for them, and by name of parameter."""
    others: Sequence[Mapping[str, Any]]
    """What else the optimizer has for each group: its count of steps."""
    scaler: Any
    """DeepSpeed's scale of the loss."""


def shards_in(directory: Path) -> list[Path]:
    """The shards of a checkpoint of DeepSpeed's, in the order of the ranks that wrote them."""
    return sorted(
        directory.glob(SHARDS), key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.name)]
    )


def load_from_other_world(engine: Any, directory: Path, tag: str) -> None:
    """Take up the checkpoint whichever number of ranks wrote it. Raises RunFailed where DeepSpeed is not as it was tested."""
    paths = shards_in(directory / tag)
    try:
        if engine.zero_optimization_stage() == 3:
            _give_parts(engine, paths)
        else:
            engine.load_checkpoint(
                str(directory), tag=tag, load_module_strict=False, load_optimizer_states=False
            )
            _give(engine, whole_state(paths))
    except (AttributeError, KeyError, IndexError, TypeError, ImportError) as error:
        raise RunFailed(
            "checkpoint",
            f"the shards of {len(paths)} ranks can't be put together: {type(error).__name__}: {error}",
            f"resume it on {len(paths)} ranks",
        ) from error


def whole_state(paths: Sequence[Path]) -> WholeState:
    """The shards of all ranks put together. Raises RunFailed where one holds more than tensors and plain values."""
    shards = [read_values(path, mmap=True)["optimizer_state_dict"] for path in paths]
    states = [shard["base_optimizer_state"]["state"] for shard in shards]
    flat = [shard["single_partition_of_fp32_groups"] for shard in shards]
    first = states[0]
    names = [key for key, value in first[0].items() if _is_flat(value)]
    return WholeState(
        _joined(shards, flat),
        {
            key: _joined(shards, [[state[group][key] for group in sorted(state)] for state in states])
            for key in names
        },
        [{key: value for key, value in first[group].items() if key not in names} for group in sorted(first)],
        shards[0]["loss_scaler"],
    )


def _joined(shards: Sequence[Any], flat: Sequence[Sequence[torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The pieces of each parameter in the flat tensors of each rank's groups, end to end."""
    pieces: dict[str, list[torch.Tensor]] = {}
    for shard, groups in zip(shards, flat, strict=True):
        for places, tensor in zip(shard["param_slice_mappings"], groups, strict=True):
            for name, place in places.items():
                pieces.setdefault(name, []).append(tensor.narrow(0, place.start, place.numel))
    return {name: torch.cat(found) for name, found in pieces.items()}


@torch.no_grad()
def _give(engine: Any, whole: WholeState) -> None:
    """Let every rank take its part."""
    from deepspeed.utils import (
        lazy_init_hp_params_optimizer_state,
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
    )

    optimizer = engine.optimizer
    state = optimizer.optimizer.state
    groups = zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, whole.others, strict=True)
    for parameters, flat, others in groups:
        state[flat] = {**_copied(others), **{key: torch.zeros_like(flat) for key in whole.moments}}
        lazy_init_hp_params_optimizer_state(parameters, flat, state)
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            safe_set_full_fp32_param(parameter, whole.weights[name].reshape(parameter.shape))
            for key, values in whole.moments.items():
                safe_set_full_optimizer_state(parameter, values[name].reshape(parameter.shape), key)
    optimizer.loss_scaler = whole.scaler


def _give_parts(engine: Any, paths: Sequence[Path]) -> None:
    """ZeRO-3: have every rank load the shard that it would have written.

    A shard's flat tensors hold, end to end, an equal part of each parameter of a group, filled up with zeros on the last rank.
    """
    models = paths[0].with_name(paths[0].name.replace("_optim_states", "_model_states"))
    saved = read_values(models, mmap=True)
    groups = [
        {engine.param_names[each]: each.ds_numel for each in group} for group in engine.optimizer.fp16_groups
    ]
    if [list(shapes) for shapes in saved["param_shapes"]] != [list(group) for group in groups]:
        raise KeyError("groups of other parameters")
    shards = [read_values(path, mmap=True)["optimizer_state_dict"] for path in paths]
    mine = _shard_of(
        shards, [list(group.values()) for group in groups], engine.global_rank, engine.world_size
    )
    engine.optimizer.load_state_dict([mine] * engine.world_size)
    engine.skipped_steps = saved["skipped_steps"]


def _shard_of(shards: Sequence[Any], sizes: Sequence[Sequence[int]], rank: int, count: int) -> dict[str, Any]:
    """What one of `count` ranks would have written, from what those that wrote did, of groups of parameters of these sizes."""

    def cut(parts: Sequence[torch.Tensor], group: int) -> torch.Tensor:
        return _cut(parts, sizes[group], rank, count)

    flat = [shard["fp32_flat_groups"] for shard in shards]
    states = [shard["optimizer_state_dict"]["state"] for shard in shards]
    state = {
        group: {
            key: cut([each[group][key] for each in states], group) if _is_flat(value) else value
            for key, value in first.items()
        }
        for group, first in states[0].items()
    }
    return {
        **shards[0],
        "fp32_flat_groups": [cut(parts, group) for group, parts in enumerate(zip(*flat, strict=True))],
        "optimizer_state_dict": {**shards[0]["optimizer_state_dict"], "state": state},
    }


def _cut(parts: Sequence[torch.Tensor], sizes: Sequence[int], rank: int, count: int) -> torch.Tensor:
    """The flat tensor of one of `count` ranks, from those of all that wrote."""
    mine, at = [], 0
    for size in sizes:
        before, now = -(-size // len(parts)), -(-size // count)
        whole = torch.cat([part.narrow(0, at, before) for part in parts])[:size]
        mine.append(torch.nn.functional.pad(whole, (0, now * count - size)).narrow(0, now * rank, now))
        at += before
    return torch.cat(mine)


def _is_flat(value: Any) -> bool:
    return torch.is_tensor(value) and value.dim() == 1


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if torch.is_tensor(value) else value for key, value in values.items()}
