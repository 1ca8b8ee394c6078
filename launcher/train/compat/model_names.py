"""Keeping the names that transformers' model files define, which it reads anew on every import.

There are two thousand files. What was found in them is kept in the user's cache, for each version and installation.

It buys 0.4 s of processor time a start, of the 2.9 s that torch, transformers and an optimizer take to be ready.

Tested with transformers 5.23. Where its function `define_import_structure` is gone, the files are read as ever.
"""

from __future__ import annotations

import contextlib
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher.paths import user_cache
from launcher.runs.files import write_json
from launcher.train.compat.switch import say_gone


def keep_model_names() -> None:
    """Let transformers, which is not imported yet, take its names from the cache."""
    if "transformers" not in sys.modules:
        sys.meta_path.insert(0, _ReplaceReader())


class _ReplaceReader(MetaPathFinder):
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
            if read is None:
                say_gone("transformers' define_import_structure", "its files are read anew on each start")
            else:
                module.define_import_structure = kept_names(read)  # type: ignore[attr-defined]

        spec.loader.exec_module = then_replace  # type: ignore[method-assign]
        return spec


Names = dict[frozenset[str], dict[str, set[str]]]
"""Packages that are needed -> module -> names it defines."""


def kept_names(read: Callable[..., Names]) -> Callable[..., Names]:
    """`read`, whose answers for all models together are kept in the user's cache; prefixes stand before module names."""

    def names(module_path: Any, prefix: str | None = None) -> Names:
        directory = Path(module_path)
        if directory.suffix == ".py":
            directory = directory.parent
        if directory.name != "models" or "dev" in (installed := version("transformers")):
            return read(module_path, prefix=prefix)
        try:
            cache = user_cache() / "imports"
        except RuntimeError:
            return read(module_path, prefix=prefix)
        place = str(directory.resolve())
        file = cache / f"transformers-{installed}-{zlib.crc32(place.encode()):08x}-{prefix or 'plain'}.json"
        stamp = f"{place} {directory.stat().st_mtime_ns}"
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
