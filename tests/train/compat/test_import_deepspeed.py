"""DeepSpeed finds what it needs in an environment that nobody has activated, and imports no compiler that nobody calls."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, torch
from launcher.train.compat.unused_muon import import_muon
from launcher.train.step.zero import import_deepspeed
from torch.utils.cpp_extension import is_ninja_available
deepspeed = import_deepspeed("cpu")
compile_function = deepspeed.runtime.compiler.compile
import_muon()
deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
from deepspeed.runtime.zero.utils import is_zero_supported_optimizer
print(json.dumps({
    "supported": is_zero_supported_optimizer(torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])),
    "ninja": is_ninja_available(),
    "compiler": "torch._inductor.compile_fx" in sys.modules,
    "compile as before": deepspeed.runtime.compiler.compile is compile_function,
}))
"""


@pytest.mark.long
def test_it_is_ready_for_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninja, which loads its operators, stands beside Python; its own Muon, which it imports then, isn't compiled."""
    alone = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    for name, value in {**alone, "PATH": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "supported": True,
        "ninja": True,
        "compiler": False,
        "compile as before": True,
    }
