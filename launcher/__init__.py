"""Fine-tune BERT-family encoders anywhere, from one GPU to a Slurm cluster."""

from typing import Any

__version__ = "0.1.0"

_API = ("Run", "plan", "run")


def __getattr__(name: str) -> Any:
    """`launcher.plan`, `launcher.run` and `launcher.Run` are those of launcher.api, which is imported when one is used."""
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("launcher.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *_API]
