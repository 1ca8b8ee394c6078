"""Loading a model without compiling the renamings of all models' weights: each pattern is compiled when it is first asked.

transformers keeps some 1,250 of them, for every model it knows, and asks a dozen for an encoder.

It buys 0.04 to 0.09 s of processor time a start, of the 0.2 to 0.27 s that loading MiniLM took on a busy machine.

Tested with transformers 5.23. Where its `core_model_loading` has no `re`, everything is compiled as ever.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from launcher.train.compat.switch import saves_time, say_gone

MODULE = "transformers.core_model_loading"


@contextlib.contextmanager
def late_patterns() -> Iterator[None]:
    """Within it, patterns of weights' names are compiled no sooner than they are used."""
    if not saves_time():
        yield
        return
    loading = _module()
    if getattr(loading, "re", None) is not re:
        say_gone(f"{MODULE}.re", "its patterns are compiled when they are made")
        yield
        return
    loading.re = _LateRe()  # type: ignore[union-attr]
    try:
        yield
    finally:
        loading.re = re  # type: ignore[union-attr]


def _module() -> ModuleType | None:
    try:
        return importlib.import_module(MODULE)
    except ImportError:
        return None


class _LateRe(ModuleType):
    """The module `re`, whose `compile` puts it off."""

    def __init__(self) -> None:
        super().__init__("re")

    @staticmethod
    def compile(pattern: str) -> LatePattern:
        return LatePattern(pattern)

    def __getattr__(self, name: str) -> Any:
        return getattr(re, name)


class LatePattern:
    """A pattern that is compiled when something is asked of it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    @functools.cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copy and pickle
            raise AttributeError(name)
        return getattr(self._compiled, name)
