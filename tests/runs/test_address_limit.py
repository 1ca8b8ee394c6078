"""What processes say that a limit on their addresses was too small for."""

from __future__ import annotations

import resource

import pytest

from launcher.runs.address_limit import too_small

ALLOWED = (
    "a process may have 0.7 GB of addresses here (ulimit -v 700000), too little for torch and its libraries"
)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (
            "Traceback ...\nImportError: libtorch_cpu.so: failed to map segment from shared object",
            "could not load libtorch_cpu.so",
        ),
        (
            "the tokenizer can't be loaded: /env/tokenizers.abi3.so: failed to map segment from shared object",
            "could not load tokenizers.abi3.so",
        ),
        ("  File x.py, line 7\nMemoryError", "got no more memory"),
        ("[Errno 12] Cannot allocate memory", "got no more memory"),
        ("the model can't be loaded: can't start new thread", "got no more memory"),
        ("ValueError: a column is missing", None),
    ],
)
def test_the_limit_is_named_where_it_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, words: str, what: str | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (700_000 << 10, resource.RLIM_INFINITY))
    assert too_small(words) == (what and f"{what}: {ALLOWED}")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert too_small(words) is None
