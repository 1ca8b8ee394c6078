"""What a plan is rendered into: whole files as goldens, scripts that shells accept, values that stay values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import plan_of, rendered, templates
from support.stand_ins import stand_in

from launcher.errors import UserError
from launcher.executors.shared.sbatch_lines import sbatch_quote
from launcher.planning.prepare import prepare
from launcher.planning.render import ds_config, render, render_array

Golden = Callable[[str, str], None]
GRID = "/runs/grid/array_1.sbatch"

A100S = {
    "partition": "gpu,gpu-long",
    "account": "nlp",
    "qos": "long",
    "constraint": "a100&ib",
    "reservation": "may",
    "gpus_per_node": 4,
    "gpu_type": "a100",
    "gpu_request": "gres",
    "cpus_per_task": 32,
    "memory": "200G",
    "exclusive": True,
    "sbatch": {
        "exclude": "node[3-4]",
        "mail-user": "me@site.org",
        "comment": "a b",
        "nice": 100,
        "spread-job": True,
    },
    "grace_s": 40,
    "python": "/opt/python/bin/python3",
    "setup": ["module purge", "module load cuda/12.8"],
    "env": {"HF_HOME": "/scratch/hf cache", "NCCL_DEBUG": "WARN"},
    "interface": "ib0",
}
MOUNTS = ["/scratch:/scratch", "/data sets:/data:ro"]
SCRIPTS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "cpu_4_nodes.sbatch": ({"nodes": 4, "zero": {"stage": 2}, "time": "2:00:00"}, {}),
    "gpu_site.sbatch": (
        {"device": "auto", "nodes": 8, "gpus": 4, "zero": {"stage": 3}, "time": "3", "requeue": False},
        A100S,
    ),
    "apptainer.sbatch": (
        {"device": "auto", "nodes": 2, "gpus": 8},
        {
            "gpus_per_node": 8,
            "python": "python3",
            "container": {"runtime": "apptainer", "image": "/images/torch.sif", "mounts": MOUNTS},
        },
    ),
    "pyxis.sbatch": (
        {"device": "auto", "nodes": 2, "gpus": 8},
        {
            "gpus_per_node": 8,
            "python": "python3",
            "setup": ["source /etc/site.sh"],
            "container": {
                "runtime": "pyxis",
                "image": "nvcr.io#nvidia/pytorch:26.01-py3",
                "mounts": MOUNTS,
                "args": ["--no-container-mount-home"],
            },
        },
    ),
    "one_rank.sh": ({"executor": "local"}, {}),
    "two_ranks.sh": (
        {"executor": "local", "gpus": 2},
        {"setup": ["module load python"], "env": {"A": "b c", "A_B": "x $HOME `date`"}},
    ),
    "apptainer.sh": (
        {"executor": "local", "gpus": 2},
        {"python": "python3", "container": {"runtime": "apptainer", "image": "/images/torch.sif"}},
    ),
}
HOSTILE = [
    "$(touch owned)",
    "`touch owned`",
    "'; touch owned; '",
    '"; touch owned; "',
    "a b",
    "#SBATCH --uid=0",
    "${HOME}",
    "{{ plan.python }}",
    "{% raw %}",
    "hetjob",
    "%j %%",
    "é",
    "!!",
    "~root",
    "*",
    "&& touch owned",
    "| touch owned",
    "<(touch owned)",
]


DATA = {"train": "/data/train.csv", "validation": "/data/validation.csv"}
"""The same wherever the repository stands: the plan's id depends on it."""


def script(recipe: Mapping[str, Any], cluster: Mapping[str, Any], **options: Any) -> str:
    files = rendered(
        plan_of(
            {**recipe, "data": DATA},
            cluster,
            **{"python": cluster.get("python", "/env/bin/python"), **options},
        )
    )
    return files.get("job.sbatch") or files["job.sh"]


def check_shell(text: str, severity: str = "style") -> None:
    """`bash -n` and shellcheck find nothing to say."""
    beside_python = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    tool = shutil.which("shellcheck", path=beside_python) or pytest.skip("shellcheck is not installed")
    for command in (["bash", "-n"], [tool, f"--severity={severity}", "-"]):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout + done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str, golden: Golden) -> None:
    text = script(*SCRIPTS[name])
    check_shell(text)
    golden(f"scripts/{name}", text)


@pytest.mark.parametrize(("name", "at_once", "after"), [("array", None, None), ("array_limited", 2, "41")])
def test_arrays(name: str, at_once: int | None, after: str | None, golden: Golden) -> None:
    scripts = {
        f"/runs/grid.seed{seed}": script({"nodes": 2, "time": "2:00:00", "seed": seed}, A100S)
        for seed in (1, 2)
    }
    text = render_array("grid", GRID, scripts, templates(), "array.sbatch.j2", at_once, after)
    check_shell(text)
    golden(f"scripts/{name}.sbatch", text)


def test_jobs_that_trials_share(golden: Golden) -> None:
    scripts = {
        f"/runs/grid.seed{seed}": script(
            {"time": "2:00:00", "seed": seed, "device": "cpu", "gpus": 2}, {"memory": "8G"}
        )
        for seed in (1, 2)
    }
    text = render_array("grid", GRID, scripts, templates(), "pack.sbatch.j2", 1, None, each=2)
    check_shell(text)
    assert "#SBATCH --cpus-per-task=4\n#SBATCH --mem=16G\n" in text
    golden("scripts/pack.sbatch", text)


@pytest.mark.parametrize(
    ("recipe", "cluster", "cores"),
    [
        ({"device": "cpu"}, {"partition": "gpu"}, 8),
        ({"device": "cpu"}, {"account": "gpu-group"}, 8),
        ({"device": "auto"}, {"gpus_per_node": 1}, 2),
        ({"device": "auto"}, {"gpus_per_node": 1, "gpu_request": "gres"}, 2),
    ],
)
def test_trials_share_the_cores_of_a_job_that_asks_for_a_gpu_whatever_its_partition_is_called(
    recipe: dict[str, Any], cluster: dict[str, Any], cores: int
) -> None:
    asked = {f"/runs/g.{n}": script({"gpus": 1, **recipe}, {"cpus_per_task": 2, **cluster}) for n in range(4)}
    text = render_array("g", GRID, asked, templates(), "pack.sbatch.j2", each=4)
    assert f"#SBATCH --cpus-per-task={cores}\n" in text


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_directories_in_an_array(value: str, tmp_path: Path) -> None:
    run_dir = tmp_path / f"runs {value}" / "r"
    (run_dir / "logs").mkdir(parents=True)
    (run_dir / "job.sbatch").write_text('echo "here: $PWD"\n')
    path, scripts = str(run_dir.parent / "array_1.sbatch"), {"/nowhere": "", str(run_dir): ""}
    text = render_array("s", path, scripts, templates(), "array.sbatch.j2")
    check_shell(text, "error")
    environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    subprocess.run(["bash"], input=text, cwd=tmp_path, text=True, check=True, env=environment)
    assert (run_dir / "logs" / "job_7_1.log").read_text() == f"here: {run_dir}\n"
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("zero1", {"zero": {"stage": 1}}),
        ("zero1_cpu", {"zero": {"stage": 1, "offload": "cpu"}, "precision": "bf16"}),
        ("zero2", {"zero": {"stage": 2}, "precision": "bf16", "train": {"clip": None}}),
        ("zero2_cpu", {"zero": {"stage": 2, "offload": "cpu"}, "precision": "fp16", "device": "cuda"}),
        ("zero3", {"zero": {"stage": 3}, "precision": "bf16", "device": "cuda", "batch": {"micro": 1}}),
        ("zero3_cpu", {"zero": {"stage": 3, "offload": "cpu"}}),
        ("zero3_nvme", {"zero": {"stage": 3, "offload": "nvme", "nvme_path": "/nvme"}, "device": "cuda"}),
    ],
)
def test_deepspeed_configurations(name: str, recipe: dict[str, Any], golden: Golden) -> None:
    files = rendered(plan_of({"nodes": 2, "gpus": 2, **recipe}))
    golden(f"ds_configs/{name}.json", files["ds_config.json"])


def test_the_plain_strategy_has_no_deepspeed_configuration() -> None:
    assert set(rendered(plan_of({"nodes": 2}))) == {"recipe.yaml", "plan.json", "job.sbatch"}
    assert set(rendered(plan_of({"executor": "local"}))) == {"recipe.yaml", "plan.json", "job.sh"}


def test_rendering_is_pure_and_the_recipe_passes_through() -> None:
    plan = plan_of({"zero": {"stage": 1}})
    first = render(plan, templates(), "task: classification # as written\n")
    assert first == render(plan, templates(), "task: classification # as written\n")
    assert first["recipe.yaml"] == "task: classification # as written\n"
    assert json.loads(first["plan.json"]) == plan.tree()


def test_buckets_are_no_larger_than_what_is_trained() -> None:
    small = plan_of({"zero": {"stage": 2}})
    counted = small.model_copy(
        update={"traffic": small.traffic.model_copy(update={"trainable_parameters": 900_000})}
    )
    assert ds_config(counted, templates())["zero_optimization"]["reduce_bucket_size"] == 900_000
    assert ds_config(small, templates())["zero_optimization"]["reduce_bucket_size"] == 50_000_000


@pytest.mark.parametrize(("limit", "notice"), [("1", 15), ("0:30", 7), ("4", 60), ("8", 120), ("2-00", 120)])
def test_a_short_job_is_not_told_to_stop_as_it_starts(limit: str, notice: int) -> None:
    assert f"#SBATCH --signal=B:USR1@{notice}\n" in script({"time": limit}, {})


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_stay_values(value: str, tmp_path: Path) -> None:
    """The script is run: its values arrive as they were written, and nothing in them is executed."""
    lines = f'printf "%s\\n" "$HOSTILE" "$PWD" "${{@: -1}}" >{tmp_path}/seen\necho completed'
    python = stand_in(tmp_path / f"python {value}".replace("/", "_"), lines)
    run_dir = tmp_path / f"runs {value}" / "r"
    run_dir.mkdir(parents=True)
    text = script({"executor": "local"}, {"env": {"HOSTILE": value}}, run_dir=run_dir, python=str(python))
    check_shell(text, "error")  # below that it wonders why `$(...)` stands in single quotes
    done = subprocess.run(["bash"], input=text, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text() == f"{value}\n{run_dir}\n{run_dir}\n"
    assert not list(tmp_path.rglob("owned"))


def test_a_job_does_without_overrides_and_with_what_concerns_the_process(tmp_path: Path) -> None:
    """LAUNCH_COMPAT is no override of a recipe: who sets it wants the training to do without private parts."""
    python = stand_in(tmp_path / "python", f"env | grep ^LAUNCH_ >{tmp_path}/seen\necho completed")
    text = script({"executor": "local"}, {}, run_dir=tmp_path, python=str(python))
    told = {**os.environ, "LAUNCH_COMPAT": "off", "LAUNCH_TRAIN__LR": "1"}
    subprocess.run(["bash"], input=text, cwd=tmp_path, env=told, text=True, check=True)
    assert (tmp_path / "seen").read_text() == "LAUNCH_COMPAT=off\n"


@pytest.mark.parametrize(("host", "place"), [("node9", "0"), ("node10", "1")])
def test_a_node_has_its_place_in_the_list_of_hosts(host: str, place: str) -> None:
    """Slurm's own number of a node may go by the switch that it is at."""
    text = script({"nodes": 2}, {})
    body = text[text.index("find_place() {") : text.index("look_at_node() {")]
    environment = {"LAUNCHER_HOSTS": "node9 node10 ", "SLURMD_NODENAME": host, "SLURM_NODEID": "7"}
    done = subprocess.run(
        ["/bin/bash", "-euc", f"{body}\nfind_place\nprintenv LAUNCHER_NODE"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == place


def test_an_optimizer_that_is_offloaded_has_the_threads_of_its_rank() -> None:
    """torchrun would give it one."""
    gpus = {"gpus_per_node": 4, "cpus_per_task": 32}
    asked = {"device": "auto", "nodes": 2, "gpus": 4}
    offloaded = script({**asked, "zero": {"stage": 2, "offload": "cpu"}}, gpus)
    assert "\nexport OMP_NUM_THREADS=8\n" in offloaded
    assert "OMP_NUM_THREADS" not in script({**asked, "zero": {"stage": 2}}, gpus)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_in_a_batch_script(value: str) -> None:
    profile = {
        "constraint": value,
        "memory": value,
        "env": {"A": value},
        "container": {
            "runtime": "apptainer",
            "image": f"/images/{value.replace('#SBATCH', '')}",
            "args": [value],
        },
    }
    text = script({"nodes": 2}, profile, run_dir=Path(f"/runs/{value}/r"), python=f"/env/{value}/python")
    check_shell(text, "error")
    head, _, body = text.partition("\nset -euo pipefail\n")
    assert "#SBATCH" not in "".join(line for line in body.splitlines(True) if line.startswith("#"))
    assert all(line.count("\n") == 1 for line in head.splitlines(True))


def test_a_path_that_slurm_cannot_log_to_is_a_mistake() -> None:
    with pytest.raises(UserError, match="without a backslash"):
        script({}, {}, run_dir=Path("/runs/a\\b/r"))


@settings(max_examples=80)
@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_sbatch_reads_back_what_was_quoted(value: str) -> None:
    assert read_as_sbatch_does(f"--comment={sbatch_quote(value)} # and a comment") == f"--comment={value}"
    assert "hetjob" not in sbatch_quote(value).lower()


def read_as_sbatch_does(line: str) -> str:
    """The first word of an #SBATCH line: a backslash quotes one character, quotes enclose words, # ends the line."""
    word, quote, escaped = "", "", False
    for character in line:
        if not quote and not escaped and character.isspace():
            break
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character == "#":
            break
        else:
            word += character
    return word


def test_the_example_profile_gives_apptainer_each_flag_once(tmp_path: Path) -> None:
    words = ["recipe=smoke", "cluster=example", "executor=slurm", "device=cuda", "gpus=1"]
    script = prepare(words, {}, tmp_path).script()
    commands = [line for line in script.splitlines() if "apptainer exec" in line]
    assert commands
    assert all(line.count("--nv ") == 1 for line in commands)
