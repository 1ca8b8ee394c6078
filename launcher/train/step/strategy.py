"""How a step is computed: plain PyTorch on one or several ranks, or DeepSpeed's ZeRO.

Both get the loss of each micro-batch as a sum and divide it by what the whole global batch holds, so that gradients are
those of the mean over the global batch, whatever the layout.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist

from launcher.errors import RunFailed
from launcher.paths import user_cache
from launcher.planning.plan import Plan
from launcher.runs.directory import RunDir, read_json
from launcher.train.model.build import cpu_state
from launcher.train.model.layer_depth import depths
from launcher.train.process.ranks import Ranks
from launcher.train.step.gradient_buckets import GradientBuckets
from launcher.train.step.host_copy import HostCopy
from launcher.train.step.optimizers import make_optimizer, set_learning_rate, settle
from launcher.train.step.regularisation import WeightAverage, penalty
from launcher.train.step.row_gradients import RowGradients, use_row_gradients

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepOutcome:
    """What an optimizer step did."""

    grad_norm: torch.Tensor
    """Norm of the whole gradient before clipping; a scalar on the device, which the host has not waited for."""
    skipped: bool = False
    """True where fp16 overflowed and the loss scale was lowered instead."""


class Strategy(Protocol):
    """What the loop needs, and no more."""

    even_micro_batches: bool
    """Whether all ranks must compute the same number of micro-batches."""

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        """Forward pass in the recipe's precision: what the transformers model returns."""

    def backward(self, loss_sum: torch.Tensor, units: float | torch.Tensor, last: bool) -> None:
        """Add the gradient of loss_sum / units; `last` closes the accumulation."""

    def step(self, lr: float) -> StepOutcome:
        """Reduce, clip and apply the gradient."""

    def train_mode(self, training: bool) -> None: ...

    def averaged(self) -> AbstractContextManager[None]:
        """Within it, the weights are their average over steps where the recipe asks for one; for evaluating and saving."""

    def unfreeze(self, depth: int) -> None:
        """From the next step on, train what lies at this depth of the model or above."""

    def full_state(self) -> dict[str, torch.Tensor] | None:
        """All weights on the CPU of rank 0, None elsewhere; every rank must call it."""

    def save(self, directory: Path) -> Callable[[], None]:
        """Write what resuming needs into `directory`; every rank must call it.

        Returns the part of the work that needs no rank but 0 and no device, for a thread to do.
        """

    def load(self, directory: Path) -> None:
        """Take up what `save` wrote at the same world size; every rank must call it."""


def make_strategy(plan: Plan, run: RunDir, ranks: Ranks, model: torch.nn.Module) -> Strategy:
    """The strategy that the plan names, holding `model` on this rank's device."""
    return (
        ZeroRedundancy(plan, run, ranks, model) if plan.strategy == "deepspeed" else Plain(plan, ranks, model)
    )


class Plain:
    """One process, or several that sum their gradients once a step in buckets of fixed order.

    Not DistributedDataParallel: its buckets are laid out anew after the first backward pass, which makes a resumed run
    differ in the last bit from three ranks on.
    """

    even_micro_batches = False

    def __init__(self, plan: Plan, ranks: Ranks, model: torch.nn.Module) -> None:
        self._plan = plan
        self._ranks = ranks
        self.model = model.to(ranks.device)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._rows: list[RowGradients] = (
            use_row_gradients(self.model) if _sparse_gradients(plan, ranks) else []
        )
        if ranks.world_size > 1:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                dist.broadcast(tensor.detach(), src=0)
        self._buckets = GradientBuckets(self._parameters) if ranks.world_size > 1 else None
        self._optimizer = make_optimizer(plan.recipe, self.model)
        settle(self._optimizer, ranks.device, plan.compile == "graph")
        self._scaler = torch.amp.GradScaler(ranks.device.type, enabled=plan.precision == "fp16")
        ema = plan.recipe.train.ema
        self._average = None if ema is None else WeightAverage(self._parameters, ema)
        self._copy = HostCopy()
        self._lowest = 0
        self._training: bool | None = None

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        with autocast(self._plan, self._ranks.device):
            return self.model(**inputs)

    def backward(self, loss_sum: torch.Tensor, units: float | torch.Tensor, last: bool) -> None:
        if last and self._buckets is not None:
            self._buckets.reduce_when_ready()
        self._scaler.scale(loss_sum / units).backward()  # type: ignore[no-untyped-call]

    def step(self, lr: float) -> StepOutcome:
        self.set_rate(lr)
        outcome = self.update()
        if self._average is not None and not outcome.skipped:
            self._average.update()
        return outcome

    def set_rate(self, lr: float) -> None:
        """Have the next update use this learning rate."""
        set_learning_rate(self._optimizer.param_groups, lr)

    def update(self) -> StepOutcome:
        """Reduce, clip and apply the gradient, which is gone then."""
        if self._buckets is not None:
            self._buckets.finish()
        self._scaler.unscale_(self._optimizer)
        self._add_penalty()
        norm = self._clip()
        skipped = self._apply(norm)
        self._zero()
        return StepOutcome(norm, skipped)

    def train_mode(self, training: bool) -> None:
        if self._training != training:  # a model's own word is not that of the modules within
            self.model.train(training)
            self._training = training

    def averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.in_place()

    def unfreeze(self, depth: int) -> None:
        if depth == self._lowest:
            return
        self._lowest = depth
        places = depths(self.model)
        trained = {parameter: places[name] for name, parameter in self.model.named_parameters()}
        for parameter in self._parameters:
            parameter.requires_grad_(trained[parameter] >= depth)
            parameter.grad = None
        if self._buckets is not None:
            self._buckets.close()
            self._buckets = GradientBuckets(p for p in self._parameters if p.requires_grad)

    def full_state(self) -> dict[str, torch.Tensor] | None:
        return cpu_state(self.model) if self._ranks.is_main else None

    def save(self, directory: Path) -> Callable[[], None]:
        if not self._ranks.is_main:
            return _nothing
        trainable = self._trainable()
        state = {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}
        if self._average is not None:
            state["average"] = self._average.state()
        files = self._copy.take({"model.pt": trainable, "optimizer.pt": state})

        def write() -> None:
            for name, value in files.items():
                with (directory / name).open("wb") as file:  # given a path, torch hides what the disk said
                    torch.save(value, file)

        return write

    def load(self, directory: Path) -> None:
        trainable = torch.load(directory / "model.pt", map_location="cpu", weights_only=True)
        state = torch.load(directory / "optimizer.pt", map_location="cpu", weights_only=True)
        named = self._trainable()
        if named.keys() != trainable.keys():
            raise RunFailed("checkpoint", "the checkpoint holds other parameters than the recipe trains")
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(trainable[name])
        self._optimizer.load_state_dict(state["optimizer"])
        settle(self._optimizer, self._ranks.device, self._plan.compile == "graph")
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load(state["average"])

    def _trainable(self) -> dict[str, torch.nn.Parameter]:
        """What trains sooner or later, by name."""
        ours = set(self._parameters)
        return {name: p for name, p in self.model.named_parameters() if p in ours}

    def _add_penalty(self) -> None:
        """Add the gradient of the penalty to that of the loss, which is whole by now."""
        train = self._plan.recipe.train
        if train.l1 or train.l2:
            active = [parameter for parameter in self._parameters if parameter.requires_grad]
            penalty(active, train.l1, train.l2).backward()  # type: ignore[no-untyped-call]

    def discard(self) -> None:
        """Throw the gradient away."""
        self._zero()

    def trained_elements(self) -> int:
        """Elements of all parameters that have a gradient."""
        return sum(parameter.numel() for parameter in self._parameters)

    def new_gradient_bytes(self) -> int:
        """Bytes that a backward pass takes for gradients: none where all gradients have their place already."""
        return 0 if self._buckets is not None else sum(p.numel() * p.element_size() for p in self._parameters)

    def _apply(self, norm: torch.Tensor) -> bool:
        """Update the weights, unless the gradient is not finite; whether fp16 overflowed."""
        if self._scaler.is_enabled():
            scale = self._scaler.get_scale()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            return self._scaler.get_scale() < scale
        if getattr(self._optimizer, "_step_supports_amp_scaling", False):
            # Fused kernels look at this themselves: the host need not wait for the norm.
            self._optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif math.isfinite(float(norm)):
            self._optimizer.step()
        return False

    def _clip(self) -> torch.Tensor:
        by_row = {rows.weight for rows in self._rows}
        taken = [rows.take() for rows in self._rows]
        clipped = [p for p in self._parameters if p.grad is not None and p not in by_row] + taken
        norm = torch.nn.utils.get_total_norm([p.grad for p in clipped if p.grad is not None])
        clip = self._plan.recipe.train.clip
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(clipped, clip, norm)
            for rows, values in zip(self._rows, taken, strict=True):
                rows.give(values)
        return norm

    def _zero(self) -> None:
        if self._buckets is not None:
            self._buckets.zero()
        else:
            self._optimizer.zero_grad(set_to_none=True)
            for rows in self._rows:
                rows.clear()


class ZeroRedundancy:
    """DeepSpeed's ZeRO 1, 2 or 3 from the run's ds_config.json."""

    even_micro_batches = True

    def __init__(self, plan: Plan, run: RunDir, ranks: Ranks, model: torch.nn.Module) -> None:
        deepspeed = import_deepspeed(plan.device)
        self._ranks = ranks
        self._plan = plan
        optimizer = make_optimizer(plan.recipe, model)
        deepspeed.init_distributed(
            dist_backend="nccl" if ranks.device.type == "cuda" else "gloo", auto_mpi_discovery=False
        )
        self._engine, *_ = deepspeed.initialize(
            model=model.to(ranks.device), optimizer=optimizer, config=read_json(run.ds_config)
        )
        self._deepspeed = deepspeed
        self._parameters = [p for p in self._engine.module.parameters() if p.requires_grad]
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
        return _nothing

    def load(self, directory: Path) -> None:
        path, _ = self._engine.load_checkpoint(str(directory), tag="engine", load_module_strict=False)
        if path is None:
            raise RunFailed("checkpoint", f"DeepSpeed could not load {directory}")


def _sparse_gradients(plan: Plan, ranks: Ranks) -> bool:
    """Whether nothing but the words of a batch gives embeddings a gradient, and a CPU has to look through it."""
    train = plan.recipe.train
    dense = train.l1 or train.l2 or train.unfreeze_every is not None
    return ranks.device.type == "cpu" and ranks.world_size == 1 and not dense


def _nothing() -> None:
    pass


def autocast(plan: Plan, device: torch.device) -> Any:
    """Autocast in the plan's precision; does nothing in fp32."""
    return torch.autocast(
        device.type,
        dtype=AUTOCAST.get(plan.precision, torch.bfloat16),
        enabled=plan.precision in AUTOCAST,
    )


def extensions_dir() -> Path:
    """Where DeepSpeed's operators are compiled: a place of this environment's own.

    So no other program's stale lock hangs a rank, and two environments don't build over each other.
    """
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]
    return user_cache() / "torch_extensions" / f"torch-{torch.__version__}-{environment}"


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
