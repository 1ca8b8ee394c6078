"""DeepSpeed loads its operators through ninja, which stands beside Python in an environment that nobody has activated."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_ninja_is_found_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code = (
        "from launcher.train.step.zero import import_deepspeed\n"
        "from torch.utils.cpp_extension import is_ninja_available\n"
        "import_deepspeed('cpu')\n"
        "assert is_ninja_available()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
