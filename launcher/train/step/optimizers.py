"""Optimizers, and the groups of parameters that have a learning rate or a weight decay of their own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from launcher.errors import RunFailed
from launcher.recipe.optimizers import Optimizer
from launcher.recipe.recipe import Recipe
from launcher.recipe.train import Train
from launcher.train.model.layer_depth import layer_matrices, rate_scales
from launcher.train.step.muon import ORTHOGONAL, MuonAndAdamW

Groups = list[dict[str, Any]]

SCALE = "lr_scale"
"""Entry of a group: its learning rate as a multiple of the schedule's."""


def make_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters. Raises RunFailed('recipe') where its library is missing."""
    return MAKERS[recipe.train.optimizer](parameter_groups(recipe, model), recipe.train)


def parameter_groups(recipe: Recipe, model: torch.nn.Module) -> Groups:
    """Groups of trainable parameters by learning rate; weight decay on matrices only, Muon on those of the layers."""
    scales = rate_scales(recipe, model)
    inside = layer_matrices(model) if recipe.train.optimizer == "muon" else set()
    found: dict[tuple[float, bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (scales.get(name, 1.0), parameter.dim() > 1, name in inside)
            found.setdefault(key, []).append(parameter)
    order = sorted(found, key=lambda key: (-key[0], not key[1], not key[2]))
    return [
        {
            "params": found[scale, matrices, orthogonal],
            "weight_decay": recipe.train.weight_decay if matrices else 0.0,
            "lr": recipe.train.lr * scale,
            SCALE: scale,
            **({ORTHOGONAL: orthogonal} if recipe.train.optimizer == "muon" else {}),
        }
        for scale, matrices, orthogonal in order
    ]


def set_learning_rate(groups: Iterable[dict[str, Any]], lr: float) -> None:
    """Give each group its share of the schedule's learning rate."""
    for group in groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr * group[SCALE])
        else:
            group["lr"] = lr * group[SCALE]


def set_capturable(optimizer: torch.optim.Optimizer, device: torch.device, capturable: bool) -> None:
    """Whether a CUDA graph may hold the optimizer's step, which then reads its learning rates on the device.

    Call it after the optimizer is made, and again after it has loaded a state, which may come from the other kind.
    """
    for group in optimizer.param_groups:
        rate = float(group["lr"])
        group["lr"] = torch.tensor(rate, device=device) if capturable else rate
        if "capturable" in group:
            group["capturable"] = capturable
    # Each kind of step is taken some times before it is captured, and torch takes that for a mistake.
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")


class SGD(torch.optim.SGD):
    """torch's, whose momentum is what lay in memory where its first step was left out for a gradient that was not finite."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                if parameter.grad is not None and "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return super().step(closure)


def _adamw(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups, lr=train.lr, betas=(train.beta1, train.beta2), eps=train.epsilon, fused=True
    )


def _adam(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        groups, lr=train.lr, betas=(train.beta1, train.beta2), eps=train.epsilon, fused=True
    )


def _sgd(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=train.nesterov, fused=True)


def _rmsprop(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        groups, lr=train.lr, alpha=train.beta2, eps=train.epsilon, momentum=train.momentum
    )


def _adafactor(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, lr=train.lr)


def _lamb(groups: Groups, train: Train) -> torch.optim.Optimizer:
    try:
        from pytorch_optimizer import Lamb
    except ImportError:
        raise RunFailed(
            "recipe",
            "train.optimizer=lamb needs the package pytorch-optimizer",
            "pip install 'launch-encoders[lamb]', or choose another optimizer",
        ) from None
    return Lamb(groups, lr=train.lr, betas=(train.beta1, train.beta2), eps=train.epsilon)


def _muon(groups: Groups, train: Train) -> torch.optim.Optimizer:
    return MuonAndAdamW(groups, train.lr, (train.beta1, train.beta2), train.epsilon)


MAKERS: Mapping[Optimizer, Callable[[Groups, Train], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adafactor": _adafactor,
    "lamb": _lamb,
    "muon": _muon,
}
