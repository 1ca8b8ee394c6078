"""One command at a time works a sweep off."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.sweeps.driver_lock import in_turn, only_driver


def test_one_command_at_a_time_asks(tmp_path: Path) -> None:
    with (
        only_driver(tmp_path),
        pytest.raises(UserError, match="another command goes on with it"),
        only_driver(tmp_path),
    ):
        pass
    with only_driver(tmp_path):
        pass
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_a_command_waits_for_the_one_before_it_as_long_as_it_may(tmp_path: Path) -> None:
    asked = []

    def twice() -> bool:
        asked.append(len(asked))
        return len(asked) < 3

    with in_turn(tmp_path, twice):
        assert not asked
        with in_turn(tmp_path, twice):
            assert asked == [0, 1, 2]
    with in_turn(tmp_path, twice):
        assert asked == [0, 1, 2]
