"""Making a model that is filled from a file without drawing weights that are replaced at once.

transformers makes such a model on the meta device. torch has no kernels there for what models do besides linear layers, and
imports sympy for Python functions instead.

It buys 0.31 s of processor time at the start of a two-layer model, and 0.44 s of BERT-base.

Tested with torch 2.13 and transformers 5.23. It rests on torch's public TorchFunctionMode; where models come to call other
functions, these are computed as ever.
"""

from __future__ import annotations

import contextlib
from typing import Any

from launcher.train.compat.switch import saves_time


def empty_weights() -> contextlib.AbstractContextManager[object]:
    """Within it, making a model on the meta device draws and counts nothing."""
    if not saves_time():
        return contextlib.nullcontext()
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
