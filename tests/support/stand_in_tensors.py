"""The tensors of `stand_in_gpu`, and what a GPU makes of each operation."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
LAUNCHER = str(Path(__file__).resolve().parents[2] / "launcher") + "/"
TAKES_BOTH = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "index_fill_"}
"""Operations on a GPU's tensor that take one of the CPU's."""
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "bincount"}
"""Those whose result's value or size the host has to know."""
BETWEEN_STEPS = {"_checked", "_evaluate", "_save", "_save_start", "try_probes"}
"""What the loop does with a model that has to be ready."""
UNWRITTEN = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}
NOT_DETERMINISTIC = ("nll_loss2d", "put_", "histc", "kthvalue")
"""Beginnings of those that raise an error on a GPU under use_deterministic_algorithms; see its documentation."""


class OnDevice(torch.Tensor):
    """A tensor that says it lies on `cuda:0`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("cuda", 0),
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a GPU's tensor after there is no GPU any more")


class Device(TorchDispatchMode):
    """Computes on the CPU what is asked of tensors that lie on `cuda:0`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: set[str] = set()
        """Where the host has waited for the device within a step: `file of launcher:function`."""
        self.graphs = 0
        """CUDA graphs that have been captured."""
        self.capturing: Graph | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.removeprefix("aten::")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        wanted = torch.device(kwargs.get("device") or ("cuda" if ours else "cpu"))
        if name == "copy_" and not isinstance(args[0], OnDevice):
            wanted = torch.device("cpu")
        if ours:
            _refuse(func, name, tensors, ours)
        on_device = bool(ours) or wanted.type != "cpu"
        waits = on_device and self._waits(name, args, kwargs, wanted)
        if waits and (place := _place_in_step()):
            self.waits.add(place)
        if self.capturing is not None:
            _refuse_in_capture(func, name, waits, tensors, wanted)
        if "device" in kwargs:
            kwargs |= {"device": torch.device("cpu")}
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        given, named = tree_map(_held, (args, kwargs))
        kernel = KERNELS.get(func, func) if ours else func
        if self.capturing is not None and on_device:
            result = self.capturing.launch(func, kernel, given, named)
        else:
            result = kernel(*given, **named)
        if wanted.type == "cpu":
            return args[0] if name == "copy_" else result
        if name in UNWRITTEN and result.is_floating_point():
            result.fill_(torch.nan)
        wrapped = tree_map(lambda each: OnDevice(each) if type(each) is torch.Tensor else each, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _waits(self, name: str, args: Any, kwargs: Mapping[str, Any], wanted: torch.device) -> bool:
        if name == "repeat_interleave":
            return kwargs.get("output_size") is None
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return any(at is not None and (at.dtype == torch.bool or at.is_cpu) for at in args[1])
        if name in ("_to_copy", "copy_"):
            target, source = (
                (wanted.type, args[0].device.type)
                if name == "_to_copy"
                else (args[0].device.type, args[1].device.type)
            )
            at_once = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
            return target != source and not at_once
        return name in WAITS


class Graph:
    """In the place of torch.cuda.CUDAGraph: does the operations of its capture again, on the same memory.

    Of what the host decided in the capture nothing changes, and what the capture has computed is undone, as if it had not been.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._launched: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def capture_begin(self, **_: Any) -> None:
        self._device.capturing = self

    def capture_end(self) -> None:
        self._device.capturing = None
        for memory, content in self._before.values():
            memory.copy_(content)
        self._before.clear()
        self._device.graphs += 1

    def launch(self, func: Any, kernel: Any, given: Any, named: Any) -> Any:
        """Do an operation within the capture."""
        for argument, value in zip(func._schema.arguments, given, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        result = kernel(*given, **named)
        self._launched.append((kernel, given, named, result))
        return result

    def _keep(self, written: Any) -> None:
        for tensor in tree_leaves(written):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                whole = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
                self._before[storage.data_ptr()] = whole, whole.clone()

    def replay(self) -> None:
        for kernel, given, named, results in self._launched:
            again = kernel(*given, **named)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if (
                    isinstance(old, torch.Tensor)
                    and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr()
                ):
                    old.copy_(new)


def _refuse_in_capture(
    func: Any, name: str, waits: bool, tensors: list[torch.Tensor], wanted: torch.device
) -> None:
    """Raises RuntimeError for what a graph can't hold, or would take from memory of the host that has changed meanwhile."""
    on_cpu = {isinstance(tensor, OnDevice) for tensor in tensors if tensor.dim()}
    moves = name in ("copy_", "_to_copy") and (
        len(on_cpu) > 1 or (on_cpu and on_cpu != {wanted.type == "cuda"})
    )
    if waits or moves:
        raise RuntimeError(f"{func}: operation not permitted when stream is capturing")


def _refuse(func: Any, name: str, tensors: list[torch.Tensor], ours: list[torch.Tensor]) -> None:
    """Raises RuntimeError for what a GPU doesn't do."""
    others = [tensor for tensor in tensors if not isinstance(tensor, OnDevice)]
    if name not in TAKES_BOTH and not all(
        each.dim() == 0 and torch.Tag.pointwise in func.tags for each in others
    ):
        raise RuntimeError(f"{func} of tensors on cuda:0 and cpu: {[tuple(each.shape) for each in tensors]}")
    summed = name in ("cumsum", "median") and ours[0].is_floating_point()
    weighted = name == "bincount" and len(ours) > 1
    if torch.are_deterministic_algorithms_enabled() and (
        name.startswith(NOT_DETERMINISTIC) or summed or weighted
    ):
        raise RuntimeError(f"{func} does not have a deterministic implementation")


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnDevice) else value


def _place_in_step() -> str | None:
    """The function of the launcher that is under way, where that is within a step of the training loop."""
    frames = [each for each in traceback.extract_stack() if each.filename.startswith(LAUNCHER)]
    loop = [each.filename.endswith("/train/loop.py") and each.name == "train" for each in frames]
    below = frames[loop.index(True) + 1 :] if any(loop) else []
    if not below or below[0].name in BETWEEN_STEPS:
        return None
    return f"{below[-1].filename.removeprefix(LAUNCHER)}:{below[-1].name}"


def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Instead of Tensor.pin_memory."""
    assert tensor.is_cpu
    return tensor


_tolist = torch.Tensor.tolist


def tolist(tensor: torch.Tensor) -> Any:
    """Instead of Tensor.tolist."""
    return _tolist(tensor.cpu() if isinstance(tensor, OnDevice) else tensor)


def _weights(q: torch.Tensor, k: torch.Tensor, scale: float, left: int, right: int) -> torch.Tensor:
    """(heads, queries, keys) of one example; the last query stands at the last key."""
    scores = q.float().transpose(0, 1) @ k.float().permute(1, 2, 0) * scale
    at = torch.arange(len(k)) - torch.arange(len(k) - len(q), len(k))[:, None]
    hidden = torch.zeros_like(at, dtype=torch.bool)
    hidden |= at < -left if left >= 0 else hidden
    hidden |= at > right if right >= 0 else hidden
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def _examples(q_bounds: torch.Tensor, k_bounds: torch.Tensor) -> list[tuple[slice, slice]]:
    starts, ends = (
        zip(q_bounds[:-1], k_bounds[:-1], strict=True),
        zip(q_bounds[1:], k_bounds[1:], strict=True),
    )
    return [(slice(q, q_end), slice(k, k_end)) for (q, k), (q_end, k_end) in zip(starts, ends, strict=True)]


def flash_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, q_bounds: torch.Tensor, k_bounds: torch.Tensor,
    most_q: int, most_k: int, *_: Any,
    scale: float, window_size_left: int, window_size_right: int,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """aten::_flash_attention_forward without dropout, with what the kernel asks for."""
    assert q.dtype == k.dtype == v.dtype
    assert q.dtype in (torch.float16, torch.bfloat16)
    assert q.dim() == 3
    assert q.shape[-1] % 8 == 0
    assert all(each.stride(-1) == 1 for each in (q, k, v))
    assert all(each.dtype == torch.int32 and each.is_contiguous() for each in (q_bounds, k_bounds))
    assert int(q_bounds.diff().max()) <= most_q
    assert int(k_bounds.diff().max()) <= most_k
    assert int(q_bounds[-1]) <= len(q)
    assert int(k_bounds[-1]) <= len(k)
    output = torch.full_like(q, torch.nan)
    for of_q, of_k in _examples(q_bounds, k_bounds):
        weights = _weights(q[of_q], k[of_k], scale, window_size_left, window_size_right)
        output[of_q] = (weights @ v[of_k].float().transpose(0, 1)).transpose(0, 1).to(q.dtype)
    return output, q.new_zeros(q.shape[1], len(q)).float(), torch.zeros(2), torch.zeros(()), q.new_empty(0)


def flash_backward(
    gradient: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
    _output: torch.Tensor, _sums: torch.Tensor, q_bounds: torch.Tensor, k_bounds: torch.Tensor, *_: Any,
    scale: float, window_size_left: int, window_size_right: int,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """aten::_flash_attention_backward; rows of no example stay what lay in memory, here NaN."""
    d_q, d_k, d_v = (torch.full_like(each, torch.nan) for each in (q, k, v))
    for of_q, of_k in _examples(q_bounds, k_bounds):
        weights = _weights(q[of_q], k[of_k], scale, window_size_left, window_size_right)
        d_o, queries, keys, values = (
            each.float().transpose(0, 1) for each in (gradient[of_q], q[of_q], k[of_k], v[of_k])
        )
        d_weights = d_o @ values.transpose(1, 2)
        d_scores = weights * (d_weights - (d_weights * weights).sum(-1, keepdim=True)) * scale
        d_q[of_q] = (d_scores @ keys).transpose(0, 1).to(q.dtype)
        d_k[of_k] = (d_scores.transpose(1, 2) @ queries).transpose(0, 1).to(q.dtype)
        d_v[of_k] = (weights.transpose(1, 2) @ d_o).transpose(0, 1).to(q.dtype)
    return d_q, d_k, d_v


def _softmax(values: torch.Tensor, dim: int, to_float: bool) -> torch.Tensor:
    return torch.softmax(values.float() if to_float else values, dim)


def _math(*_args: Any, **_kwargs: Any) -> int:
    return 0


KERNELS: Mapping[Any, Callable[..., Any]] = {
    aten._flash_attention_forward.default: flash_forward,
    aten._flash_attention_backward.default: flash_backward,
    aten._softmax.default: _softmax,
    aten._fused_sdp_choice.default: _math,
}
"""What a CPU has no kernel for, or another than a GPU."""
