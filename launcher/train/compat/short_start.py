"""What shortens the start of a process that trains or predicts without DeepSpeed."""

from __future__ import annotations

from launcher.train.compat.absent_packages import leave_out_packages
from launcher.train.compat.model_names import keep_model_names
from launcher.train.compat.switch import saves_time
from launcher.train.compat.tracer import postpone_tracer


def shorten_start() -> None:
    """Import less of torch and transformers; to be called before transformers' models are imported."""
    if saves_time():
        keep_model_names()
        postpone_tracer()
        leave_out_packages()
