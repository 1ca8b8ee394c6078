"""The end of a rank's process: it waits for its checkpoint, and for nothing that other libraries left running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from launcher.train.__main__ import leave
from launcher.train.process.threads import CHECKPOINT_WRITER

def write():
    time.sleep(1)
    open(sys.argv[1], "w").close()

pool = ThreadPoolExecutor()
pool.submit(int).result()
threading.Thread(target=write, name=CHECKPOINT_WRITER).start()
leave(0)
"""


def test_a_pool_of_threads_is_not_waited_for_and_a_checkpoint_is(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(checkpoint)], timeout=60, check=False)
    assert done.returncode == 0
    assert checkpoint.exists()
