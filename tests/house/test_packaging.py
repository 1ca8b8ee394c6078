"""What is built: the wheel holds all that is needed away from the repository, and its dependencies are those used."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

# Distributions whose package has another name.
PACKAGES = {
    "charset-normalizer": "charset_normalizer",
    "mlflow-skinny": "mlflow",
    "protobuf": "google",
    "pytorch-optimizer": "pytorch_optimizer",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "wandb-workspaces": "wandb_workspaces",
}

NOT_THE_PRODUCT = {"dev", "realdata", "benchmark"}
"""Extras that nothing in launcher/ imports; what the others bring is imported where a recipe asks for it."""


def requirements(repo_root: Path) -> set[str]:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(x for name in extras.keys() - NOT_THE_PRODUCT for x in extras[name])]
    return {re.split(r"[<>=!~ \[]", line)[0].lower() for line in lines}


def imported(repo_root: Path) -> set[str]:
    names: set[str] = set()
    for path in (repo_root / "launcher").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"launcher"}


def test_every_dependency_is_used_and_every_import_is_a_dependency(repo_root: Path) -> None:
    declared = {PACKAGES.get(name, name) for name in requirements(repo_root)}
    assert declared == imported(repo_root)


def test_constraints_pin_every_dependency(repo_root: Path) -> None:
    lines = (repo_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    assert requirements(repo_root) <= pins.keys()
    assert not [pin for pin in pins.values() if "+" in pin], "a local version can't be installed elsewhere"


@pytest.fixture(scope="module")
def wheel(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(build, cwd=repo_root, check=True, capture_output=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed_launch(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`launch` of an environment that has the wheel, and borrows the installed dependencies but not this repository."""
    directory = tmp_path_factory.mktemp("alone")
    venv.create(directory, symlinks=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    borrowed = tmp_path_factory.mktemp("borrowed")
    for entry in Path(pytest.__file__).parents[1].iterdir():
        if not entry.name.startswith(("launch_encoders", "_launch_encoders")):
            (borrowed / entry.name).symlink_to(entry)
    (packages / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"), "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    return directory / "bin" / "launch"


def run(launch: Path, *args: str, cwd: Path) -> str:
    done = subprocess.run([launch, *args], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_stands_beside_the_package(repo_root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for directory in ("recipes", "slurm", "ds_configs"):
        listed = subprocess.run(
            ["git", "ls-files", "--cached", directory],
            cwd=repo_root,
            capture_output=True,
            text=True,
            check=True,
        )
        missing = {f"launcher/_data/{name}" for name in listed.stdout.splitlines()} - packed
        assert listed.stdout
        assert not missing
    assert not [name for name in packed if "__pycache__" in name or name.startswith("tests/")]


def test_the_wheel_alone_lists_and_plans(installed_launch: Path, tmp_path: Path) -> None:
    assert "smoke" in run(installed_launch, "recipes", cwd=tmp_path)
    assert "micro" in run(installed_launch, "plan", "recipe=smoke", "executor=local", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_wheel_alone_trains_the_smoke_recipe(installed_launch: Path, tmp_path: Path) -> None:
    here = ("executor=local", "device=cpu", "gpus=1", "run_id=alone")
    document = json.loads(run(installed_launch, "recipe=smoke", *here, "--json", cwd=tmp_path))
    assert document["result"]["status"] == "completed", document
    assert document["result"]["test"]["accuracy"] > 0.9
    assert (tmp_path / "runs" / "alone" / "model" / "model.safetensors").is_file()
