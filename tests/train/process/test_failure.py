"""What the system says when it refuses a file decides what a run is told to do."""

from __future__ import annotations

import errno
import os

import pytest

from launcher.train.process.failure import describe_failure


@pytest.mark.parametrize("said", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS"])
@pytest.mark.fault(17)
def test_a_disk_that_takes_no_more_is_named(said: str) -> None:
    number = getattr(errno, said)
    error = describe_failure(OSError(number, os.strerror(number), "metrics.jsonl"))
    assert error.kind == "disk"
    assert error.remedy is not None
    assert "make it writable" in error.remedy


@pytest.mark.parametrize("said", ["EIO", "ESTALE"])
@pytest.mark.fault(17)
def test_a_disk_that_may_come_back_is_another_cause(said: str) -> None:
    number = getattr(errno, said)
    assert describe_failure(OSError(number, os.strerror(number), "metrics.jsonl")).kind == "storage"
