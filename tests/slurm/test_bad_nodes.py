"""Nodes that are bad in one way or another: found before the training, named, and done without.

The faults are planted from outside, by a setup line of the cluster profile that does something on one node alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.plans import new_run, plan_of, stand_in_python
from support.slurm_cluster import FlatCluster, NetnsCluster, hurry, require_slurm
from support.stand_ins import stand_in
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.errors import UserError
from launcher.executors import executor_for
from launcher.health.preflight import read_findings
from launcher.runs.directory import RunDir
from launcher.runs.events import Notice, read_events
from launcher.runs.exclusions import Exclusion, exclude, exclusions
from launcher.runs.records import read_json

TINY = (
    *SMALLEST,
    "gpus=1",
    "zero.stage=0",
    "train.max_steps=3",
    "eval.every=null",
    "tracking.wandb.mode=disabled",
    "run_id=r",
)
PATCH = """
import importlib.abc, sys
class Plant(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "launcher.train.process.machine_trial":
            return None
        sys.meta_path.remove(self)
        import importlib.util, torch, time
        real = torch.Tensor.__matmul__
        def product(left, right):
            {fault}
        torch.Tensor.__matmul__ = product
        return None
sys.meta_path.insert(0, Plant())
"""
WRONG = "return real(left, right) + (left.dtype == torch.float32)"
SLOW = """until = time.thread_time() + 0.1 * (left.dtype == torch.float32)
            while time.thread_time() < until: pass
            return real(left, right)"""


@pytest.fixture(scope="module")
def netns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetnsCluster]:
    """Three nodes as separate as machines."""
    require_slurm(netns=True)
    with NetnsCluster(tmp_path_factory.mktemp("netns"), nodes=3) as cluster:
        yield cluster


@pytest.fixture
def inside(netns: NetnsCluster, tmp_path: Path) -> Callable[..., str]:
    """`launch` on the controller of that cluster; its stdout."""

    def run(*words: object, check: bool = True) -> str:
        command = [sys.executable, "-m", "launcher", *map(str, words)]
        return netns.run(command, env=_with_ours(), cwd=tmp_path, check=check, timeout_s=120).stdout

    return run


def _with_ours() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}


def planted(tmp_path: Path, node: str, fault: str, **profile: Any) -> Path:
    """A cluster profile by which every product on one node has this fault."""
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(PATCH.format(fault=fault))
    usual = os.environ.get("PYTHONPATH", "")
    on_it = f"[[ ${{SLURMD_NODENAME-}} == {node} ]] && echo {tmp_path}/fault:"
    line = f'export PYTHONPATH="$({on_it} || true){usual}"'
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({"partition": "main", "gpus_per_node": 0, "setup": [line], **profile}))
    return path


def status(inside: Callable[..., str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inside("status", "r", "--json"))
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "said"), [(WRONG, "a product came out wrong"), (SLOW, "a product takes 1")]
)
@pytest.mark.fault(14)
def test_a_node_that_computes_wrongly_or_slowly_is_done_without(
    inside: Callable[..., str], tmp_path: Path, fault: str, said: str
) -> None:
    profile = planted(tmp_path, "node1", fault, spare_nodes=1)
    inside("run", *TINY, "nodes=2", f"cluster={profile}")
    wait_until(lambda: status(inside)["status"] == "completed", "the run to be completed", 200)
    run = RunDir(tmp_path / "runs" / "r")
    (bad,) = exclusions(run)
    assert (bad.host, bad.attempt) == ("node1", 1)
    assert said in bad.reason
    assert run.attempt_numbers() == [1, 2]
    assert run.attempt(2).read().hosts == ("node2", "node3")
    assert len(run.all_jobs()) == 1  # in the same job: the spare node takes its place
    first = json.loads(run.attempt(1).result.read_text())["error"]
    assert (first["class"], first["host"]) == ("node", "node1")
    trial = read_json(run.preflight(2) / "trial.json")
    assert trial is not None
    assert trial["large_s"] > trial["small_s"] > 0


SMI = """
case $SLURMD_NODENAME in
    node2) echo "0, GPU-a, H100, 81559, 0, 0, No, None"
           echo "Unable to determine the device handle for gpu 0000:9D:00.0: GPU is lost. Reboot to recover"; exit 15 ;;
    *) for gpu in 0 1; do echo "$gpu, GPU-$gpu, H100, 81559, 0, 0, No, None"; done ;;
esac
"""
FINISH = """
printf '{"status": "completed"}' >$run_dir/result.json
printf 0 >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""


@pytest.fixture
def gpu_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlatCluster]:
    """Three nodes that Slurm believes to have two GPUs each."""
    require_slurm()
    with FlatCluster(tmp_path / "cluster", nodes=3, gpus=2) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
        yield cluster


def on_gpus(tmp_path: Path, training: str, nodes: int | str = 2, **profile: Any) -> RunDir:
    """A run on nodes with two GPUs each, whose job executes shell lines in place of torchrun."""
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin" / "nvidia-smi", SMI)
    recipe = {"executor": "slurm", "nodes": nodes, "gpus": 2, "device": "cuda"}
    cluster = {"setup": [f"export PATH={tmp_path}/bin:$PATH"], "cpus_per_task": 2, **profile}
    python = stand_in_python(tmp_path / "python", training)
    return new_run(plan_of(recipe, cluster, run_dir=tmp_path / "runs" / "job", python=python))


@pytest.mark.fault(14, 35)
def test_a_node_whose_gpu_fell_off_is_kept_from_the_requeued_job(
    gpu_nodes: FlatCluster, tmp_path: Path
) -> None:
    run = on_gpus(tmp_path, FINISH)
    slurm = executor_for("slurm")
    job = slurm.start(run)
    wait_until(lambda: slurm.state(run).reason == "BeginTime", "the job to be put back")
    (bad,) = exclusions(run)
    assert (bad.host, bad.attempt) == ("node2", 1)
    assert bad.reason.startswith("1 of 2 GPUs answer (Unable to determine the device handle")
    asked = gpu_nodes.run(["scontrol", "-o", "show", "job", job]).stdout
    assert "ExcNodeList=node2" in asked

    hurry(gpu_nodes, job)
    wait_until(lambda: not slurm.state(run).active, "the job to end")
    assert run.attempt(2).read().hosts == ("node1", "node3")
    assert slurm.state(run).status == "completed"
    found = read_findings(run, 1)
    assert found is not None
    assert list(found.failed()) == ["node2"]
    assert json.loads(run.attempt(1).result.read_text())["error"]["host"] == "node2"


@pytest.mark.usefixtures("gpu_nodes")
@pytest.mark.fault(14)
def test_spare_nodes_let_the_job_go_on_at_once(tmp_path: Path) -> None:
    run = on_gpus(tmp_path, f'echo "$@" >>$run_dir/logs/$SLURM_NODEID; {FINISH}', spare_nodes=1)
    slurm = executor_for("slurm")
    slurm.start(run)
    wait_until(lambda: not slurm.state(run).active, "the job to end")
    assert run.attempt_numbers() == [1]
    assert run.attempt(1).read().hosts == ("node1", "node3")
    call = (run.logs / "1").read_text()
    assert "--nnodes=2" in call
    assert "--local-addr=127.0.1.3" in call
    assert not (run.logs / "2").exists()


@pytest.mark.fault(14, 27)
def test_a_run_on_two_or_three_nodes_starts_with_those_that_there_are(
    gpu_nodes: FlatCluster, tmp_path: Path
) -> None:
    """node3 is drained, and node2 lacks a GPU: the first job gets two nodes, of which one can't train, the second two others."""
    gpu_nodes.run(["scontrol", "update", "nodename=node3", "state=drain", "reason=test"])
    run = on_gpus(tmp_path, f'echo "$@" >>$run_dir/logs/$SLURM_NODEID; {FINISH}', nodes="2..3")
    slurm = executor_for("slurm")
    job = slurm.start(run)
    wait_until(lambda: slurm.state(run).reason == "BeginTime", "the job to be put back")
    assert (read_json(run.result) or {})["error"]["message"].endswith(
        "(1 of the 2 nodes that it needs can train)"
    )
    gpu_nodes.run(["scontrol", "update", "nodename=node3", "state=resume"])
    hurry(gpu_nodes, job)
    wait_until(lambda: not slurm.state(run).active, "the job to end")
    assert run.attempt(2).read().hosts == ("node1", "node3")
    assert "--nnodes=2" in (run.logs / "1").read_text()
    plan = read_json(run.attempt(2).plan)
    assert plan is not None
    assert (plan["nodes"], plan["world_size"], run.read_plan().world_size) == (2, 4, 6)
    assert plan["layout"] | {"examples_per_rank": 4, "gradient_accumulation_steps": 2} == plan["layout"]
    notices = [event.text for event in read_events(run.events, Notice) if event.attempt == 2]
    assert [text.partition(":")[0] for text in notices] == ["trains on 2 of 3 nodes"]


@pytest.mark.fault(14)
def test_a_new_job_is_asked_for_without_the_nodes_that_failed(gpu_nodes: FlatCluster, tmp_path: Path) -> None:
    run = on_gpus(tmp_path, FINISH, nodes=1, sbatch={"exclude": "node3"})
    exclude(run, [Exclusion("node2", "is slow", time.time())])
    slurm = executor_for("slurm")
    job = slurm.start(run)
    asked = gpu_nodes.run(["scontrol", "-o", "show", "job", job]).stdout
    assert "ExcNodeList=node[2-3]" in asked
    wait_until(lambda: not slurm.state(run).active, "the job to end")
    run.result.unlink()
    exclude(run, [Exclusion("node1", "is slow", time.time())])
    with pytest.raises(UserError, match=r"node2 and node1 failed the run.*\n?.*rm .*excluded.json"):
        slurm.start(run)
