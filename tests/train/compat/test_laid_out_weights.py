"""Evaluations in bf16 on a CPU, whose weights are laid out once: the same outputs, or PyTorch's own way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from launcher.train.compat import laid_out_weights
from launcher.train.model.precision import autocast, keeping_weights

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(
    not laid_out_weights.has_operators(), reason="oneDNN doesn't compute in bf16 on this processor"
)


@pytest.fixture
def layers() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 40, bias=False)).eval()


def evaluated(model: nn.Module, rows: torch.Tensor, precision: str = "bf16") -> torch.Tensor:
    with torch.no_grad(), autocast(precision, CPU):
        outputs: torch.Tensor = model(rows)
    return outputs


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to a rounding: sums may be made in another order."""
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7 * float(expected.abs().max()))


@needs_bf16
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_outputs_are_the_same(layers: nn.Module, rows: int) -> None:
    inputs = torch.randn(1, rows, 48)
    with keeping_weights(CPU):
        found = [evaluated(layers, inputs), evaluated(layers, inputs[:, :1])]
    assert found[0].dtype == torch.bfloat16
    assert_same(found[0], evaluated(layers, inputs))
    assert_same(found[1], evaluated(layers, inputs[:, :1]))


@needs_bf16
def test_the_next_evaluation_has_the_weights_of_its_time(layers: nn.Module) -> None:
    inputs = torch.randn(20, 48)
    with keeping_weights(CPU):
        before = evaluated(layers, inputs)
    with torch.no_grad():
        layers[0].weight.mul_(2.0)
    with keeping_weights(CPU):
        after = evaluated(layers, inputs)
    assert not torch.equal(before, after)
    assert_same(after, evaluated(layers, inputs))


@needs_bf16
def test_products_in_fp32_and_those_with_gradients_are_pytorchs(layers: nn.Module) -> None:
    inputs = torch.randn(20, 48)
    with keeping_weights(CPU):
        exact = evaluated(layers, inputs, "fp32")
        with autocast("bf16", CPU):
            layers(inputs).sum().backward()
    assert torch.equal(exact, evaluated(layers, inputs, "fp32"))
    assert layers[0].weight.grad is not None


@needs_bf16
def test_an_operator_that_computes_something_else_is_named_once_and_not_used(
    layers: nn.Module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = torch.randn(20, 48)
    expected = evaluated(layers, inputs)
    right = laid_out_weights._product
    monkeypatch.setattr(laid_out_weights, "_product", lambda *given: right(*given) * 1.1)
    with keeping_weights(CPU):
        found = [evaluated(layers, inputs) for _ in range(2)]
    assert all(torch.equal(each, expected) for each in found)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("launch: weights laid out for oneDNN give outputs that are 0.")
    assert line.endswith(" off here; they are not used")


@needs_bf16
def test_a_compiled_model_is_traced_without_them(layers: nn.Module) -> None:
    inputs = torch.randn(20, 48)
    compiled = torch.compile(layers, backend="eager", fullgraph=True)
    with keeping_weights(CPU):
        found = evaluated(compiled, inputs)
    assert torch.equal(found, evaluated(layers, inputs))


def test_they_stand_aside_where_nothing_is_to_save_time(
    layers: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_COMPAT", "off")
    monkeypatch.setattr(laid_out_weights, "LaidOutWeights", None)
    with keeping_weights(CPU):
        evaluated(layers, torch.randn(3, 48))
