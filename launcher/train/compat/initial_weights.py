"""Drawing the weights of a transformers module anew, as the model's family does it.

Saves no time: model.reinit_layers needs it. Tested with transformers 5.23; where a method is gone, the run is refused.
"""

from __future__ import annotations

from typing import Any

import torch

from launcher.errors import RunFailed


def draw_anew(model: Any, module: torch.nn.Module) -> None:
    """Draw the parameters of `module`, a part of `model`. Raises RunFailed('recipe') where transformers can't."""
    if not hasattr(model, "_init_weights"):
        raise RunFailed("recipe", "model.reinit_layers needs a transformers that draws weights by module")
    for parameter in module.parameters(recurse=False):
        parameter._is_hf_initialized = False  # type: ignore[attr-defined]  # transformers leaves alone what came from a file
    model._init_weights(module)
