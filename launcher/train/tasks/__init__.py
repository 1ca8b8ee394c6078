"""One file per task: head, loss, metrics, predictions."""

from launcher.train.tasks.base import MicroBatch, Task, get_task

__all__ = ["MicroBatch", "Task", "get_task"]
