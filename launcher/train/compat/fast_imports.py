"""Start-up: importing of torch and transformers only what training an encoder uses.

Whatever it is used for, transformers' modeling code imports sharded tensors (and with them sympy), scipy's optimiser for
losses of object detection, and, for decorators of text generation and of other models, the tracer behind torch.compile.
torch itself imports that tracer when an optimizer is made, and sympy to draw weights that are replaced at once. Together they
take longer than torch, and are never called. transformers also reads all of its two thousand model files on every import, to
learn which names they define: that is kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher.paths import user_cache
from launcher.runs.directory import write_json

TRACER = "torch._dynamo"
HARMLESS = f"{TRACER}._trace_wrapped_higher_order_op"
"""The part of the tracer that transformers' attention masks are made with; it needs nothing of the rest."""
ABSENT = ("is_torch_distributed_available", "is_accelerate_available", "is_scipy_available")
"""Questions that transformers asks before it imports something; it does without, for models on one device."""


def trim_imports() -> None:
    """Call it before transformers' models are imported, in a process that trains or predicts without DeepSpeed."""
    import torch

    if "transformers" not in sys.modules:
        sys.meta_path.insert(0, _NamesKept())
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


def empty_weights() -> contextlib.AbstractContextManager[object]:
    """Within it, making a model on the meta device, to be filled from a file, draws and counts nothing.

    torch has no kernels there for what models do besides linear layers, and imports sympy for Python functions instead.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class EmptyWeights(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            device = str(kwargs["device"]) if kwargs.keys() == {"device"} else None
            if function is torch.nn.init.normal_:
                tensor = args[0] if args else kwargs["tensor"]
                if tensor.is_meta:
                    return tensor
            elif function is torch.arange and device == "meta" and all(isinstance(end, int) for end in args):
                return torch.empty(len(range(*args)), dtype=torch.int64, device=device)
            elif function is torch.empty_like and device is not None and args[0].is_meta:
                return torch.empty(args[0].shape, dtype=args[0].dtype, device=device)
            return function(*args, **kwargs)

    return EmptyWeights()


@contextlib.contextmanager
def without_sharded_tensors() -> Iterator[None]:
    """Who asks whether a tensor is sharded learns that there is no such thing, unless there is."""
    name = "torch.distributed.tensor"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # so it can't be imported
    try:
        yield
    finally:
        sys.modules.pop(name, None)


class _NamesKept(MetaPathFinder):
    """Has transformers take the names that its model files define from a file, where it has read them before."""

    MODULE = "transformers.utils.import_utils"

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.MODULE or (spec := PathFinder.find_spec(name, path, target)) is None:
            return None
        sys.meta_path.remove(self)
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def then_replace(module: ModuleType) -> None:
            execute(module)
            read = getattr(module, "define_import_structure", None)
            if read is not None:
                module.define_import_structure = _kept(read)  # type: ignore[attr-defined]

        spec.loader.exec_module = then_replace  # type: ignore[method-assign]
        return spec


Names = dict[frozenset[str], dict[str, set[str]]]
"""Packages that are needed -> module -> names it defines."""


def _kept(read: Callable[..., Names]) -> Callable[..., Names]:
    """`read`, whose answers for all models together are kept in the user's cache; prefixes stand before module names."""

    def names(module_path: Any, prefix: str | None = None) -> Names:
        directory = Path(module_path)
        if directory.suffix == ".py":
            directory = directory.parent
        installed = version("transformers")
        if directory.name != "models" or "dev" in installed:
            return read(module_path, prefix=prefix)
        try:
            cache = user_cache() / "imports"
        except RuntimeError:
            return read(module_path, prefix=prefix)
        file = cache / f"transformers-{installed}-{prefix or 'plain'}.json"
        stamp = f"{directory.resolve()} {directory.stat().st_mtime_ns}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_bytes())
            if kept["stamp"] == stamp:
                return {
                    frozenset(needs): {name: set(found) for name, found in modules.items()}
                    for needs, modules in kept["names"]
                }
        found = read(module_path, prefix=prefix)
        plain = [
            [sorted(needs), {name: sorted(names) for name, names in modules.items()}]
            for needs, modules in found.items()
        ]
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            write_json(file, {"stamp": stamp, "names": plain})
        return found

    return names


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
