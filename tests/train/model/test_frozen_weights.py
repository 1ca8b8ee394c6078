"""Weights that don't train cost less, and what is computed stays what peft computes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear as PeftLinear
from support.models import inputs, small_model

from launcher.train.model.frozen_weights import AdaptedLinear, FrozenLinear, use_frozen_weights
from launcher.train.model.precision import autocast
from launcher.train.packed.dropout import keep_probability

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 0])


def _both(family: str = "bert", **lora: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(peft's model, the same taught), whose adapters are no longer at zero."""
    theirs = small_model(family, lora={"r": 4, "lora_alpha": 6, **lora})
    torch.manual_seed(1)
    for name, parameter in theirs.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    ours = copy.deepcopy(theirs)
    use_frozen_weights(ours)
    return theirs, ours


def _gradients(model: torch.nn.Module, precision: str = "fp32") -> dict[str, torch.Tensor]:
    model.zero_grad()
    with autocast(precision, CPU):
        model(**inputs(), labels=LABELS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "deberta-v2", "albert"])
def test_gradients_are_pefts(family: str) -> None:
    theirs, ours = _both(family)
    assert any(isinstance(module, AdaptedLinear) for module in ours.modules())
    theirs.eval()
    ours.eval()
    expected, found = _gradients(theirs), _gradients(ours)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_gradients_in_bf16_are_pefts_to_its_rounding() -> None:
    theirs, ours = _both(r=8)
    theirs.eval()
    ours.eval()
    exact, expected, found = _gradients(theirs), _gradients(theirs, "bf16"), _gradients(ours, "bf16")
    for name, gradient in exact.items():
        assert found[name].dtype == torch.float32
        allowed = 2 * (expected[name] - gradient).norm() + 1e-3 * gradient.norm()
        assert (found[name] - gradient).norm() <= allowed, name


def test_dropout_is_of_the_adapters_input_and_its_derivative_agrees() -> None:
    """With the mask drawn again from the same seed, the module is a plain function of its input."""
    _, ours = _both(lora_dropout=0.25)
    module = next(module for module in ours.modules() if isinstance(module, AdaptedLinear))
    module.train()
    x = torch.randn(6, 32, requires_grad=True)

    def drawn(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        found: torch.Tensor = module(x)
        return found

    plain = module.base_layer(x)
    dropped = [module(x) - plain for _ in range(500)]
    module.eval()
    expected = module(x) - plain
    torch.testing.assert_close(torch.stack(dropped).mean(0), expected, rtol=0.2, atol=0.2)
    module.train()
    direction = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((drawn(x) * torch.arange(32)).sum(), x)
    with torch.no_grad():
        moved = (((drawn(x + direction) - drawn(x - direction)) / 2) * torch.arange(32)).sum()
    assert moved.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-3)
    assert keep_probability(0.25) == 0.75


def test_nothing_is_differentiated_below_the_first_adapter() -> None:
    _, ours = _both()
    seen: list[bool] = []
    first = next(module for module in ours.modules() if isinstance(module, AdaptedLinear))
    first.register_forward_hook(lambda _module, args, _output: seen.append(args[0].requires_grad))
    _gradients(ours)
    assert seen == [False]


def test_evaluating_merges_adapters_and_training_goes_on_from_what_they_are(tmp_path: Path) -> None:
    theirs, ours = _both(lora_dropout=0.1)

    def logits(model: torch.nn.Module) -> torch.Tensor:
        model.eval()
        with torch.no_grad():
            found: torch.Tensor = model(**inputs()).logits
        return found

    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-5)
    after = ours.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    ours.train()
    for model in (ours, theirs):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".lora_B." in name:
                    parameter.mul_(2)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-5)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    saved = [(tmp_path / each / "adapter_model.safetensors").read_bytes() for each in ("ours", "theirs")]
    assert saved[0] == saved[1]
    merged = [copy.deepcopy(model).merge_and_unload().state_dict() for model in (ours, theirs)]
    assert all(torch.equal(tensor, merged[0][name]) for name, tensor in merged[1].items())


def test_a_frozen_weight_is_cast_once() -> None:
    _, ours = _both()
    with autocast("bf16", CPU), torch.no_grad():
        ours(**inputs())
        frozen = [module for module in ours.modules() if isinstance(module, FrozenLinear)]
        first = [module.weight_in(torch.bfloat16) for module in frozen]
        ours(**inputs())
        assert all(
            module.weight_in(torch.bfloat16) is cast for module, cast in zip(frozen, first, strict=True)
        )


def test_other_adapters_stay_pefts_own() -> None:
    _, ours = _both(use_dora=True)
    assert not any(isinstance(module, AdaptedLinear) for module in ours.modules())
    assert any(isinstance(module, PeftLinear) for module in ours.modules())
