"""torch.compile for the parts of an encoder in which it saves kernels: around the products, not in attention.

Feed-forward blocks and the ends of attention blocks become one kernel for bias, activation, dropout, residual and norm. They
are compiled once for any number of tokens. Attention over packed examples is one kernel already, or depends on the
lengths, which would be compiled anew for each micro-batch.
"""

from __future__ import annotations

from typing import Any

from launcher.train.compat.tracer import suppress_compile_errors
from launcher.train.model.family import family_of


def compile_layers(model: Any) -> int:
    """Compile in place what can be of a transformers model; the number of modules.

    Names, parameters and what is saved stay as they are. Whatever fails to compile runs as it is.
    """
    suppress_compile_errors()
    names = family_of(model.config).modules
    layers = model.base_model.get_submodule(names.layers)
    parts = [layer.get_submodule(name) for layer in layers for name in names.compiled]
    for part in parts:
        part.compile(dynamic=True)
    return len(parts)
