"""Leaving out torch._dynamo, the tracer behind torch.compile, until somebody calls for it.

transformers' modeling code imports it for decorators of text generation, and torch when an optimizer is made. Neither calls
it in the training of an encoder. A module stands in for it that marks functions as it would, and gives way to the real one
as soon as more is wanted.

It buys 1.6 s of processor time a start, of the 4.5 s that torch, transformers and an optimizer take without it.

Tested with torch 2.13. Where torch has no torch._dynamo, nothing stands in for it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from launcher.train.compat.switch import say_gone

TRACER = "torch._dynamo"
HARMLESS = f"{TRACER}._trace_wrapped_higher_order_op"
"""The part of the tracer that transformers' attention masks are made with; it needs nothing of the rest."""


def postpone_tracer() -> None:
    """Have torch._dynamo imported when it is called, and not before."""
    import torch

    if TRACER in sys.modules:
        return
    found = importlib.util.find_spec(TRACER)
    if found is None:
        say_gone(TRACER, "it can't be postponed")
        return
    sys.modules[TRACER] = torch._dynamo = _StandIn(found)
    sys.meta_path.insert(0, _WholeTracer())


def suppress_compile_errors() -> None:
    """Have whatever torch.compile can't compile run as it is, where this torch knows how to do that."""
    import torch

    config: Any = getattr(getattr(torch, "_dynamo", None), "config", None)
    if config is not None and hasattr(config, "suppress_errors"):
        config.suppress_errors = True
    else:
        say_gone("torch._dynamo.config.suppress_errors", "what can't be compiled ends the training")


class _StandIn(ModuleType):
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
        if not wanted or not isinstance(sys.modules.get(TRACER), _StandIn):
            return None
        _import_tracer()
        return ModuleSpec(name, self) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        pass


def _import_tracer() -> ModuleType:
    if isinstance(sys.modules.get(TRACER), _StandIn):
        del sys.modules[TRACER]
    return importlib.import_module(TRACER)


def _as_it_is(function: Any) -> Any:
    return function
