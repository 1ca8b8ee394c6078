"""Reading typed values from a parsed config.json, with every mistake remembered."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.errors import Problem


class ConfigReader:
    """Reads entries of a config.json; what is wrong with them stands in `problems`."""

    def __init__(self, config: Mapping[str, object], where: str) -> None:
        self.config = config
        self.where = where
        self.problems: list[Problem] = []

    def number(self, key: str, default: int, least: int = 1) -> int:
        """A whole number of at least `least`; the default where it is absent or wrong."""
        value = self.config.get(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.problem(f"must be a whole number of at least {least}", key, value)
        return default

    def flag(self, key: str, default: bool) -> bool:
        """True or false; the default where it is absent or wrong."""
        value = self.config.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem("must be true or false", key, value)
        return default

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words, or one text with `|` between them."""
        value = self.config.get(key)
        parts = value.split("|") if isinstance(value, str) else value
        if parts is None:
            return ()
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return tuple(part.strip() for part in parts if part.strip())
        self.problem("must be a text or a list of texts", key, value)
        return ()

    def problem(self, message: str, key: str, value: object) -> None:
        """Remember what is wrong with an entry."""
        self.problems.append(Problem(message, where=self.where, field=key, value=value))
