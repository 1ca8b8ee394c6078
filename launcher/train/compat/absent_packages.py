"""Having transformers do without packages that it would import and never call in a training on one device.

These are sharded tensors (and with them sympy), accelerate, and scipy's optimiser for losses of object detection.

It buys 1.3 s of processor time a start, of the 4.2 s that torch, transformers and an optimizer take without it.

Tested with transformers 5.23. A question that it doesn't ask any more is said, and nothing is left out for it.
"""

from __future__ import annotations

from launcher.train.compat.switch import say_gone

QUESTIONS = ("is_torch_distributed_available", "is_accelerate_available", "is_scipy_available")
"""What transformers asks before it imports something."""


def leave_out_packages() -> None:
    """Answer no to what transformers asks, before its models are imported."""
    import transformers.utils
    from transformers.utils import import_utils

    for question in QUESTIONS:
        if not hasattr(import_utils, question):
            say_gone(f"transformers' {question}", "it imports what it likes")
            continue
        for module in (transformers.utils, import_utils):
            setattr(module, question, _no)


def _no() -> bool:
    return False
