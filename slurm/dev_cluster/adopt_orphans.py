"""Become another program, given with its arguments, that the orphans among its descendants get as their parent.

slurmstepd looks for the processes of a job step among its descendants, and so misses those that have left their parent.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36
"""As <sys/prctl.h> has it; Python has no name for it."""

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
    os.execvp(sys.argv[1], sys.argv[1:])
