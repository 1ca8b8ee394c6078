"""Importing DeepSpeed's own Muon without compiling it: DeepSpeed does both whenever it is given an optimizer.

Ours are made in train/step/optimizers.py. What would be compiled runs as it is, should somebody call it after all.

It buys 1.1 s of processor time a start of each rank with ZeRO, the import of the compiler behind torch.compile.

Tested with deepspeed 0.19. Where it has no Muon, or compiles it otherwise, it imports what it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launcher.train.compat.switch import saves_time, say_gone


def import_muon() -> None:
    """Import it before DeepSpeed does; to be called when deepspeed has been imported."""
    if not saves_time():
        return
    from deepspeed.runtime import compiler

    compile_function = getattr(compiler, "compile", None)
    if compile_function is None:
        say_gone("deepspeed's compile", "its Muon is compiled on each start")
        return
    compiler.compile = _nothing_compiled
    try:
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    except ImportError:
        say_gone("deepspeed's Muon", "it imports what it likes")
    finally:
        compiler.compile = compile_function


def _nothing_compiled(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function
