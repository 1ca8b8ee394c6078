"""Start-up: importing of torch and transformers only what training an encoder uses.

Whatever it is used for, transformers' modeling code imports sharded tensors (and with them sympy), scipy's optimiser for
losses of object detection, and, for decorators of text generation and of other models, the tracer behind torch.compile.
torch itself imports that tracer when an optimizer is made. Together they take longer than torch, and are never called.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

TRACER = "torch._dynamo"
HARMLESS = f"{TRACER}._trace_wrapped_higher_order_op"
"""The part of the tracer that transformers' attention masks are made with; it needs nothing of the rest."""
ABSENT = ("is_torch_distributed_available", "is_accelerate_available", "is_scipy_available")
"""Questions that transformers asks before it imports something; it does without, for models on one device."""


def trim_imports() -> None:
    """Call it before transformers' models are imported, in a process that trains or predicts without DeepSpeed."""
    import torch
    import transformers.utils
    from transformers.utils import import_utils

    if TRACER not in sys.modules:
        found = importlib.util.find_spec(TRACER)
        assert found is not None
        sys.modules[TRACER] = torch._dynamo = _Tracer(found)
        sys.meta_path.insert(0, _WholeTracer())
    for name in ABSENT:
        for module in (transformers.utils, import_utils):
            setattr(module, name, _absent)


class _Tracer(ModuleType):
    """Stands for torch._dynamo until somebody wants more of it than to mark a function for it."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(TRACER)
        self.__path__ = spec.submodule_search_locations or []

    @staticmethod
    def disable(function: Any = None, *_: Any, **__: Any) -> Any:
        return _as_it_is if function is None else function

    @staticmethod
    def allow_in_graph(function: Any) -> Any:
        return function

    @staticmethod
    def assume_constant_result(function: Any) -> Any:
        return function

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by those who only look around
            raise AttributeError(name)
        return getattr(_import_tracer(), name)


class _WholeTracer(MetaPathFinder, Loader):
    """Imports the real torch._dynamo before the first of its submodules that is wanted, which it brings along."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        wanted = name.startswith(f"{TRACER}.") and name != HARMLESS
        if not wanted or not isinstance(sys.modules.get(TRACER), _Tracer):
            return None
        _import_tracer()
        return ModuleSpec(name, self) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        pass


def _import_tracer() -> ModuleType:
    if isinstance(sys.modules.get(TRACER), _Tracer):
        del sys.modules[TRACER]
    return importlib.import_module(TRACER)


def _as_it_is(function: Any) -> Any:
    return function


def _absent() -> bool:
    return False
