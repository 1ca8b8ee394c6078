"""Plain PyTorch: one process, or several that sum their gradients once a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.errors import RunFailed
from launcher.planning.plan import Plan
from launcher.train.compat.fused_optimizers import step_if_finite
from launcher.train.compat.plain_values import read_values
from launcher.train.model.build import cpu_state
from launcher.train.model.frozen_weights import use_frozen_weights
from launcher.train.model.layer_depth import depths
from launcher.train.model.precision import autocast
from launcher.train.process.ranks import Ranks
from launcher.train.step.gradient_buckets import GradientBuckets
from launcher.train.step.host_copy import HostCopy
from launcher.train.step.optimizers import make_optimizer, set_capturable, set_learning_rate
from launcher.train.step.regularisation import WeightAverage, penalty
from launcher.train.step.row_gradients import RowGradients, use_row_gradients
from launcher.train.step.strategy import StepOutcome, Strategy, all_finite, nothing_left_to_write


class Plain(Strategy):
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
        # Compiled modules hold no others, and pruning changes weights whether they train or not.
        if ranks.device.type == "cpu" and plan.compile == "none" and not plan.recipe.prune.magnitude:
            use_frozen_weights(self.model)
        if ranks.world_size > 1:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                dist.broadcast(tensor.detach(), src=0)
        self._buckets = GradientBuckets(self._parameters) if ranks.world_size > 1 else None
        self._optimizer = make_optimizer(plan.recipe, self.model)
        set_capturable(self._optimizer, ranks.device, plan.compile == "graph")
        self._scaler = torch.amp.GradScaler(ranks.device.type, enabled=plan.precision == "fp16")
        ema = plan.recipe.train.ema
        self._average = None if ema is None else WeightAverage(self._parameters, ema)
        self._copy = HostCopy()
        self._norm = torch.zeros((), device=ranks.device)
        self._lowest = 0
        self._training: bool | None = None

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        with autocast(self._plan.precision, self._ranks.device):
            return self.model(**inputs)

    def backward(self, loss_sum: torch.Tensor, units: float | torch.Tensor, last: bool) -> None:
        if last and self._buckets is not None:
            self._buckets.reduce_when_ready()
        self._scaler.scale(loss_sum / units).backward()  # type: ignore[no-untyped-call]

    def clip(self) -> None:
        if self._buckets is not None:
            self._buckets.finish()
        self._scaler.unscale_(self._optimizer)
        self._add_penalty()
        self._norm = self._clip_to_norm()

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
        """Apply the clipped gradient, and clear it."""
        skipped = self._apply(self._norm)
        self._zero()
        return StepOutcome(self._norm, skipped)

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

    def is_finite(self) -> bool:
        states = [value for state in self._optimizer.state.values() for value in state.values()]
        return all_finite([*self._parameters, *states])

    def full_state(self) -> dict[str, torch.Tensor] | None:
        return cpu_state(self.model) if self._ranks.is_main else None

    def save(self, directory: Path) -> Callable[[], None]:
        if not self._ranks.is_main:
            return nothing_left_to_write
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
        trainable = read_values(directory / "model.pt")
        state = read_values(directory / "optimizer.pt")
        named = self._trainable()
        if named.keys() != trainable.keys():
            raise RunFailed("checkpoint", "the checkpoint holds other parameters than the recipe trains")
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(trainable[name])
        self._optimizer.load_state_dict(state["optimizer"])
        set_capturable(self._optimizer, self._ranks.device, self._plan.compile == "graph")
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
        if not step_if_finite(self._optimizer, norm) and math.isfinite(float(norm)):
            self._optimizer.step()
        return False

    def _clip_to_norm(self) -> torch.Tensor:
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


def _sparse_gradients(plan: Plan, ranks: Ranks) -> bool:
    """Whether nothing but the words of a batch gives embeddings a gradient, and a CPU has to look through it."""
    train = plan.recipe.train
    dense = train.l1 or train.l2 or train.unfreeze_every is not None
    return ranks.device.type == "cpu" and ranks.world_size == 1 and not dense
