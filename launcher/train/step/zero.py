"""DeepSpeed's ZeRO 1, 2 or 3."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from launcher.errors import RunFailed
from launcher.planning.plan import Plan
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json
from launcher.train.compat.plain_values import plain_values_only
from launcher.train.compat.unused_muon import import_muon
from launcher.train.compat.zero_shards import load_from_other_world, shards_in
from launcher.train.model.build import cpu_state
from launcher.train.process.ranks import Ranks
from launcher.train.step.operators import building, extensions_dir
from launcher.train.step.optimizers import make_optimizer, set_learning_rate
from launcher.train.step.regularisation import penalty
from launcher.train.step.strategy import StepOutcome, Strategy, all_finite, nothing_left_to_write


class ZeroRedundancy(Strategy):
    """DeepSpeed's ZeRO 1, 2 or 3 from the run's ds_config.json."""

    even_micro_batches = True

    def __init__(self, plan: Plan, run: RunDir, ranks: Ranks, model: torch.nn.Module) -> None:
        deepspeed = import_deepspeed(plan.device)
        import_muon()
        self._ranks = ranks
        self._plan = plan
        optimizer = make_optimizer(plan.recipe, model)
        with building():
            deepspeed.init_distributed(
                dist_backend="nccl" if ranks.device.type == "cuda" else "gloo", auto_mpi_discovery=False
            )
            self._engine, *_ = deepspeed.initialize(
                model=model.to(ranks.device), optimizer=optimizer, config=read_json(run.ds_config)
            )
        self._deepspeed = deepspeed
        self._parameters = [p for p in self._engine.module.parameters() if p.requires_grad]
        if plan.zero_stage == 3 and plan.recipe.zero.offload != "nvme":
            self._clear_padding()
        if self._engine.world_size != ranks.world_size:
            raise RunFailed(
                "launch", f"DeepSpeed sees {self._engine.world_size} ranks, torchrun {ranks.world_size}"
            )

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        return self._engine(**inputs)

    def backward(self, loss_sum: torch.Tensor, units: float | torch.Tensor, last: bool) -> None:
        # DeepSpeed averages over ranks; the global batch is normalised here, so that is undone.
        self._engine.set_gradient_accumulation_boundary(last)
        loss = loss_sum * (self._ranks.world_size / units)
        train = self._plan.recipe.train
        if last and (train.l1 or train.l2):
            loss = loss + penalty(self._parameters, train.l1, train.l2)
        self._engine.backward(loss, scale_wrt_gas=False)
        if not last:
            self._engine.step()

    def clip(self) -> None:
        """DeepSpeed clips within its step."""

    def step(self, lr: float) -> StepOutcome:
        set_learning_rate(self._engine.optimizer.param_groups, lr)
        skipped_before = self._engine.skipped_steps
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        known = torch.as_tensor(math.nan if norm is None else norm)
        return StepOutcome(known.to(self._ranks.device), self._engine.skipped_steps > skipped_before)

    def train_mode(self, training: bool) -> None:
        self._engine.train(training)

    def averaged(self) -> AbstractContextManager[None]:
        return nullcontext()  # conflicts refuse train.ema here

    def unfreeze(self, depth: int) -> None:
        raise AssertionError(f"unfreezing to depth {depth}, which conflicts refuse here")

    def is_finite(self) -> bool:
        weights = [getattr(parameter, "ds_tensor", parameter) for parameter in self._parameters]
        inner = self._engine.optimizer.optimizer
        states = [value for state in inner.state.values() for value in state.values()]
        return all_finite([*weights, *states])

    def full_state(self) -> dict[str, torch.Tensor] | None:
        module = self._engine.module
        if self._plan.zero_stage < 3:
            return cpu_state(module) if self._ranks.is_main else None
        state: dict[str, torch.Tensor] = {}
        for name, value in module.state_dict(keep_vars=True).items():
            sharded = [value] if hasattr(value, "ds_id") else []
            with self._deepspeed.zero.GatheredParameters(sharded):
                if self._ranks.is_main:
                    state[name] = value.detach().to("cpu", copy=True).contiguous()
        return state if self._ranks.is_main else None

    def save(self, directory: Path) -> Callable[[], None]:
        self._engine.save_checkpoint(str(directory), tag="engine", exclude_frozen_parameters=True)
        return nothing_left_to_write

    def load(self, directory: Path) -> None:
        with plain_values_only(sorted((directory / "engine").glob("*.pt"))):
            self._load(directory)

    def _clear_padding(self) -> None:
        """Zero what makes parts equally long: it is whatever lay in memory, NaN with deterministic=true, and is saved."""
        from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

        for parameter in self._parameters:
            part = parameter.ds_tensor
            own = max(0, parameter.ds_numel - self._ranks.rank * part.numel())
            part.detach()[own:].zero_()
            values = safe_get_local_fp32_param(parameter).detach()
            values[own:].zero_()
            safe_set_local_fp32_param(parameter, values)  # of what is offloaded, that was a copy

    def _load(self, directory: Path) -> None:
        writers = len(shards_in(directory / "engine"))
        if writers != self._ranks.world_size:
            load_from_other_world(self._engine, directory, "engine")
            return
        path, _ = self._engine.load_checkpoint(str(directory), tag="engine", load_module_strict=False)
        if path is None:
            raise RunFailed("checkpoint", f"DeepSpeed could not load {directory}")


def import_deepspeed(device: str) -> Any:
    """DeepSpeed with its accelerator and its operators' directory set before it looks at them."""
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(extensions_dir()))
    if device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # the verbs come here without having joined ranks
    # Operators are loaded through ninja, which stands beside Python; nobody has activated this environment.
    os.environ["PATH"] = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    )
    import deepspeed

    return deepspeed
