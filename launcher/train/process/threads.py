"""Threads that a rank waits for at its end."""

CHECKPOINT_WRITER = "checkpoint-writer"
"""Name of the thread that brings a checkpoint to the disk. Other libraries' pools of threads would be waited for for ever."""
