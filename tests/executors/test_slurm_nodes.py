"""What Slurm's words about a node mean for a job that should start now."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stand_ins import stand_in

from launcher.executors.shared.slurm_nodes import read_nodes

SAID = """gpu*|a1|idle|none
gpu*|a2|mixed|none
gpu*|a3|allocated|none
gpu*|a4|drained|Kill task failed
gpu*|a5|down*|Not responding
gpu*|a6|idle*|none
gpu*|a7|idle~|none
gpu*|a8|draining@|reboot
cpu|a1|idle|none
cpu|c1|idle|none
gpu*|$(reboot)|idle|none
"""


@pytest.fixture(autouse=True)
def _sinfo(commands: Path) -> None:
    stand_in(commands / "sinfo", f"cat <<'.'\n{SAID}.")


@pytest.mark.parametrize("may_share", [False, True])
def test_states_of_nodes(may_share: bool) -> None:
    nodes = {node.name: (node.state, node.why) for node in read_nodes(None, None, may_share=may_share)}
    assert nodes == {
        "a1": ("free", None),
        "a2": ("free", None) if may_share else ("busy", "mixed: others use it"),
        "a3": ("busy", "allocated: others use it"),
        "a4": ("away", "drained: Kill task failed"),
        "a5": ("away", "down, and does not answer: Not responding"),
        "a6": ("away", "idle, and does not answer"),
        "a7": ("away", "idle~"),
        "a8": ("away", "draining@: reboot"),
    }
