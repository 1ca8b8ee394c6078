"""Running `launch ARGS` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Launch = Callable[..., Any]
"""The fixture `launch`: runs `launch ARGS`; what it returns is a `Result` of tests/conftest.py."""
READ_AT_THE_START = ("LANG", "LC_", "PYTHON")
"""Variables that decide how an interpreter starts: with others than the tests have, it has to."""


class LaunchServer:
    """Starts `launch` by tests/support/launch_server.py, which has imported what it needs already."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        args: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: str | None,
        timeout_s: float,
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of `python -m launcher ARGS` with pipes; without `stdin` it reads nothing."""
        argv = [sys.executable, "-m", "launcher", *args]
        if _at_the_start(environment) != _at_the_start(os.environ):
            return _process(argv, cwd, environment, stdin, timeout_s)
        with tempfile.TemporaryDirectory() as directory:
            files = [Path(directory, name) for name in ("stdin", "stdout", "stderr")]
            for path, text in zip(files, (stdin or "", "", ""), strict=True):
                path.write_text(text, encoding="utf-8")
            request = {
                "args": list(args),
                "cwd": str(cwd),
                "environment": dict(environment),
                "files": [*map(str, files)],
                "timeout_s": timeout_s,
            }
            code = self._ask(request)
            _, stdout, stderr = (path.read_text(encoding="utf-8") for path in files)
        if code is None:
            raise subprocess.TimeoutExpired(argv, timeout_s, stdout, stderr)
        return subprocess.CompletedProcess(argv, code, stdout, stderr)

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def _ask(self, request: Mapping[str, object]) -> int | None:
        if self._process is None:
            server = Path(__file__).with_name("launch_server.py")
            self._process = subprocess.Popen(
                [sys.executable, str(server)],
                cwd=self._directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code: int | None = json.loads(self._process.stdout.readline())["code"]
        return code


def _at_the_start(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_THE_START)}


def _process(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(
        argv,
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=timeout_s,
        check=False,
        **given,
    )
