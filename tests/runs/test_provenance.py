"""What a run records of its environment."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from launcher.runs.provenance import code_digest, constraints_text, cpu_name, installed_packages


def test_installed_packages_are_those_that_python_knows() -> None:
    found = installed_packages()
    for name in ("torch", "transformers", "huggingface-hub", "pyyaml"):
        assert found[name] == importlib.metadata.version(name)
    assert "launch-encoders" not in found


def test_the_first_directory_with_a_package_counts(tmp_path: Path) -> None:
    for place, version in (("a", "1.0+cpu"), ("b", "2.0")):
        (tmp_path / place / f"some_Package-{version}.dist-info").mkdir(parents=True)
    found = installed_packages([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "missing")])
    assert constraints_text("3.12.1", found).splitlines()[1:] == ["some-package==1.0+cpu"]


def test_the_hash_of_the_code_is_of_what_is_executed(tmp_path: Path) -> None:
    package = tmp_path / "launcher"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("one = 1\n")
    before = code_digest(package)
    (package / "__pycache__" / "a.cpython-312.pyc").write_bytes(b"x")
    (package / "notes.md").write_text("not executed")
    assert code_digest(package) == before
    (package / "a.py").write_text("one = 2\n")
    assert code_digest(package) != before


def test_the_cpu_says_its_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\n")
    assert cpu_name(cpuinfo) == "AMD EPYC 9654 96-Core Processor"
