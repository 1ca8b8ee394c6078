"""The development cluster: its command line, what its nodes offer, and that nothing of it stays behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import (
    SLURM,
    Cluster,
    ClusterError,
    FlatCluster,
    Mistake,
    NetnsCluster,
    mend,
    processes_of,
    require_slurm,
)
from support.waiting import wait_until

DEV_CLUSTER = SLURM / "dev-cluster"


@pytest.fixture(autouse=True)
def _slurm_is_here() -> None:
    require_slurm()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory to start clusters from; what a failed test leaves running in it is stopped."""
    yield tmp_path
    dev_cluster(tmp_path, "stop", code=None)


def dev_cluster(cwd: Path, *args: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run `slurm/dev-cluster ARGS` in `cwd`, expecting the exit code `code` (None: any)."""
    done = subprocess.run(
        [DEV_CLUSTER, *args], cwd=cwd, text=True, capture_output=True, timeout=60, check=False
    )
    assert code is None or done.returncode == code, f"code {done.returncode}\n{done.stdout}{done.stderr}"
    return done


# The command line


def test_a_cluster_started_from_a_terminal_serves_until_it_is_stopped(place: Path) -> None:
    directory = place / ".cluster"
    assert dev_cluster(place, "status", code=3).stdout == f"down: no cluster is up in {directory}\n"
    dev_cluster(place, "start", "--nodes", "2")
    assert directory.stat().st_mode & 0o777 == 0o700

    status = dev_cluster(place, "status").stdout
    assert status.startswith(f"up: 2 nodes, no GPUs each, in {directory}\n")
    assert [line.split()[:2] for line in status.splitlines()[2:4]] == [["node1", "idle"], ["node2", "idle"]]

    script = f'eval "$({DEV_CLUSTER} env)"; echo $LAUNCH_CLUSTER; srun --nodes=2 printenv SLURMD_NODENAME'
    shell = subprocess.run(["sh", "-c", script], cwd=place, text=True, stdout=subprocess.PIPE, check=True)
    assert sorted(shell.stdout.split()) == ["local", "node1", "node2"]

    dev_cluster(place, "stop")
    dev_cluster(place, "status", code=3)


def test_starting_twice_says_that_it_is_already_running(place: Path) -> None:
    dev_cluster(place, "start", "--nodes", "1")
    assert "already running: 1 node, no GPUs each" in dev_cluster(place, "start", "--nodes", "1").stderr
    assert "already running" in dev_cluster(place, "start", "--nodes", "2", code=2).stderr
    assert "already running" in dev_cluster(place, "run", "--", "true", code=2).stderr
    dev_cluster(place, "status")


def test_a_stopped_cluster_has_no_environment_and_stops_again_without_complaint(place: Path) -> None:
    env = dev_cluster(place, "env", code=3)
    assert env.stdout == ""
    assert "no cluster is up" in env.stderr
    assert (
        f"dev-cluster start --dir {place}\n" in dev_cluster(place, "env", "--dir", str(place), code=3).stderr
    )
    assert "no cluster is running" in dev_cluster(place, "stop").stderr
    assert list(place.iterdir()) == []


def test_run_executes_a_command_inside_and_passes_its_output_and_exit_code_through(place: Path) -> None:
    script = "srun --nodes=2 printenv LAUNCH_CLUSTER; pwd; exit 7"
    done = dev_cluster(place, "run", "--nodes", "2", "--", "sh", "-c", script, code=7)
    assert done.stdout == f"local\nlocal\n{place}\n"
    assert processes_of(place / ".cluster") == []


@pytest.mark.parametrize(
    ("command", "code"),
    [(["no-such-command"], 127), (["/etc/hosts"], 126), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_run_reports_a_command_that_did_not_end_by_itself_as_a_shell_does(
    place: Path, command: list[str], code: int
) -> None:
    dev_cluster(place, "run", "--nodes", "1", "--", *command, code=code)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["start", "--nodes", "0"], "0 nodes: a cluster has 1 to 16"),
        (["start", "--nodes", "17"], "17 nodes: a cluster has 1 to 16"),
        (["start", "--gpus", "9"], "9 GPUs: a node has 0 to 8"),
        (["start", "--nodes", "two"], "invalid int value: 'two'"),
        (["start", "--dir", "/etc"], "/etc holds other files"),
        (["start", "--dir", "/dev/null"], "cannot use /dev/null: File exists"),
        (["start", "--", "true"], "belongs to `run` alone"),
        (["run"], "nothing to run"),
        (["restart"], "invalid choice: 'restart'"),
    ],
)
def test_a_mistake_is_named_and_starts_nothing(place: Path, args: list[str], message: str) -> None:
    assert message in dev_cluster(place, *args, code=2).stderr
    assert list(place.iterdir()) == []


def test_where_slurm_is_not_installed_it_says_how_to_install_it(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, DEV_CLUSTER, "start"],
        cwd=place,
        env={"PATH": str(place)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Slurm is not installed here" in done.stderr
    assert "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge" in done.stderr


# What the nodes offer


def test_a_job_uses_all_the_cpus_and_memory_declared_on_every_node(cluster: Cluster) -> None:
    step = ["srun", "--nodes=4", "--ntasks-per-node=1", "--cpus-per-task=8", "--mem=60000"]
    done = cluster.run([*step, "printenv", "SLURMD_NODENAME"])
    assert sorted(done.stdout.split()) == ["node1", "node2", "node3", "node4"]


def test_a_failing_command_is_an_error_that_tells_what_it_said(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="invalid partition specified: night"):
        cluster.run(["srun", "--partition=night", "true"])
    assert cluster.run(["srun", "sh", "-c", "exit 3"], check=False).returncode == 3


def test_fake_gpus_are_handed_out_like_real_ones(tmp_path: Path) -> None:
    with FlatCluster(tmp_path / "gpus", nodes=2, gpus=4) as cluster:
        devices = ["printenv", "CUDA_VISIBLE_DEVICES"]
        assert cluster.run(["srun", "--nodes=2", "--gres=gpu:4", *devices]).stdout == "0,1,2,3\n0,1,2,3\n"
        assert cluster.run(["srun", "--gpus-per-node=1", *devices]).stdout == "0\n"
        assert cluster.run(["srun", "--gres=gpu:5", "true"], check=False).returncode == 1


def test_no_gpus_are_declared_unless_asked_for(cluster: Cluster) -> None:
    assert cluster.run(["srun", "--gres=gpu:1", "true"], check=False).returncode == 1
    assert cluster.run(["srun", "sh", "-c", "echo ${CUDA_VISIBLE_DEVICES-unset}"]).stdout == "unset\n"


def test_a_job_in_high_preempts_one_in_low_which_is_requeued(tmp_path: Path) -> None:
    with FlatCluster(tmp_path / "preempt", nodes=1) as cluster:
        cluster.run(["scontrol", "update", "partitionname=low", "gracetime=0"])  # spares ten seconds
        submit = ["sbatch", "--parsable", "--exclusive", "--partition=low", "--output=/dev/null"]
        low = cluster.run([*submit, "--wrap", "sleep 1000"]).stdout.strip()
        wait_until(lambda: _job(cluster, low)["JobState"] == "RUNNING", "the job in low")
        cluster.run(["srun", "--exclusive", "--partition=high", "true"])
        job = _job(cluster, low)
        assert (job["JobState"], job["Restarts"]) == ("PENDING", "1")
        jobs_completed = (cluster.directory / "log" / "jobcomp.txt").read_text()
        assert "Partition=high" in jobs_completed


def _job(cluster: Cluster, job_id: str) -> dict[str, str]:
    words = cluster.run(["scontrol", "--oneliner", "show", "job", job_id]).stdout.split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_clusters_live_side_by_side(cluster: Cluster, tmp_path: Path) -> None:
    with FlatCluster(tmp_path / "other", nodes=2) as other:
        there = other.run(
            ["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 1000"]
        ).stdout.strip()
        assert there not in cluster.run(["squeue", "--noheader", "--format=%i"]).stdout.split()
        assert other.run(["sinfo", "--noheader", "--partition=main", "--format=%D"]).stdout.strip() == "2"
    assert processes_of(other.directory) == []
    cluster.run(["srun", "--nodes=4", "true"])


@pytest.mark.long
def test_what_a_test_breaks_is_mended_and_told(tmp_path: Path) -> None:
    with FlatCluster(tmp_path / "broken", nodes=2) as cluster:
        assert mend(cluster) == []
        cluster.run(["sbatch", "--output=/dev/null", "--nodes=2", "--wrap", "sleep 1000"])
        cluster.run(["scontrol", "update", "nodename=node2", "state=drain", "reason=experiment"])
        with subprocess.Popen(["sleep", "1000"], env=cluster.env | {"SLURM_JOB_ID": "1"}) as survivor:
            said = mend(cluster)
        assert said == [
            f"process {survivor.pid} outlived its job: sleep 1000 ",
            "node2 was left drained (experiment)",
        ]
        assert mend(cluster) == []


def test_a_directory_in_use_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Mistake, match="already running"), FlatCluster(cluster.directory, nodes=1):
        pass
    cluster.run(["srun", "--nodes=4", "true"])


def test_a_path_too_long_for_unix_sockets_is_no_hindrance(tmp_path: Path) -> None:
    with FlatCluster(tmp_path / ("long" * 40), nodes=1) as cluster:
        sockets = Path(cluster.record.sockets)
        assert (sockets / "munge" / "sock").is_socket()
        assert cluster.run(["srun", "printenv", "SLURMD_NODENAME"]).stdout == "node1\n"
    assert not sockets.exists()


def test_an_ordinary_user_can_start_one_with_gpus() -> None:
    """As root, the test becomes `nobody`; otherwise it is an ordinary user already."""
    home = Path(tempfile.mkdtemp(prefix="ordinary-user-", dir="/tmp"))
    root = os.geteuid() == 0
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if root else []
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin") if root else sys.executable
    try:
        shutil.copytree(SLURM, home / "slurm")
        for path in [home, *home.rglob("*")]:
            if root:
                shutil.chown(path, "nobody", "nogroup")
        inside = [
            "--",
            "srun",
            "--nodes=2",
            "--gres=gpu:2",
            "sh",
            "-c",
            "echo $(id -u) $CUDA_VISIBLE_DEVICES; (setsid sleep 1000 &)",  # an orphan would keep srun
        ]
        done = subprocess.run(
            [*user, str(python), "slurm/dev-cluster", "run", "--nodes=2", "--gpus=2", *inside],
            cwd=home,
            env={"PATH": os.defpath},
            text=True,
            capture_output=True,
            check=False,
        )
        uid = "65534" if root else str(os.geteuid())
        assert (done.returncode, done.stdout) == (0, f"{uid} 0,1\n" * 2), done.stderr
    finally:
        shutil.rmtree(home)


# Nothing stays behind

ORPHAN = "(setsid sh -c 'trap \"\" TERM; echo $$ >orphan; exec sleep 1000' &)"
"""Leaves a process that has a new parent and session and ignores TERM, and writes its number to `orphan`."""


def _submit_with_orphan(cluster: Cluster, directory: Path, then: str) -> tuple[str, int]:
    """Submit a job whose step leaves an orphan and then does `then`; returns the job and the orphan."""
    script = directory / "job.sh"
    script.write_text(f"#!/bin/sh\nsrun sh -c {shlex.quote(f'{ORPHAN}; {then}')}\n")
    submit = ["sbatch", "--parsable", "--nodes=1", "--output=job.log", str(script)]
    job = cluster.run(submit, cwd=directory).stdout.strip()
    number = directory / "orphan"
    wait_until(lambda: number.exists() and number.read_text().endswith("\n"), "the orphan")
    return job, int(number.read_text())


def _is_over(cluster: Cluster, job: str) -> bool:
    return not cluster.run(["squeue", "--noheader", f"--jobs={job}"], check=False).stdout.strip()


def _node_states(cluster: Cluster) -> set[str]:
    """States of the nodes with the reasons for them."""
    nodes = cluster.run(["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T %E"])
    return set(nodes.stdout.splitlines())


@pytest.mark.parametrize("killed_first", [True, False], ids=["after its step was killed", "at once"])
def test_cancelling_a_job_ends_what_has_left_its_step(
    cluster: Cluster, tmp_path: Path, killed_first: bool
) -> None:
    job, orphan = _submit_with_orphan(cluster, tmp_path, "sleep 1000")
    if killed_first:
        cluster.run(["scancel", "--signal=KILL", f"{job}.0"])
    cluster.run(["scancel", job])
    wait_until(lambda: _is_over(cluster, job), "the job to be gone")
    assert orphan not in processes_of(cluster.directory)
    assert _node_states(cluster) == {"idle none"}


@pytest.mark.long
def test_a_node_that_slurm_gave_up_is_used_again(tmp_path: Path) -> None:
    """Slurm drains a node for ever where processes of a job would not die, however short that was."""
    with FlatCluster(tmp_path / "given-up", nodes=2) as cluster:
        for node, reason in (("node1", "Kill task failed"), ("node2", "to be mended")):
            cluster.run(["scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}"])
        wait_until(lambda: "idle none" in _node_states(cluster), "node1 to be idle")
        assert _node_states(cluster) == {"idle none", "drained to be mended"}


def test_a_job_that_ends_takes_along_what_has_left_its_step(cluster: Cluster, tmp_path: Path) -> None:
    job, orphan = _submit_with_orphan(cluster, tmp_path, "until test -e go; do sleep 0.1; done")
    (tmp_path / "go").touch()
    wait_until(lambda: _is_over(cluster, job), "the job to be gone")
    assert _job(cluster, job)["JobState"] == "COMPLETED"
    assert orphan not in processes_of(cluster.directory)
    assert _node_states(cluster) == {"idle none"}


STUBBORN_JOB = """#!/bin/sh
trap '' TERM
(setsid sleep 1000 &)
srun sh -c 'trap "" TERM; touch "$0"; sleep 1000' started
"""


def _run_stubborn_job(place: Path) -> None:
    """Start a cluster with a job in it that ignores TERM and has an orphan."""
    dev_cluster(place, "start", "--nodes", "2")
    (place / "job.sh").write_text(STUBBORN_JOB)
    submit = f'eval "$({DEV_CLUSTER} env)"; exec sbatch --nodes=1 --output=/dev/null job.sh'
    subprocess.run(["sh", "-c", submit], cwd=place, stdout=subprocess.DEVNULL, check=True)
    wait_until((place / "started").exists, "the job")


def test_stop_ends_jobs_that_ignore_it_but_not_what_only_knows_the_cluster(place: Path) -> None:
    _run_stubborn_job(place)
    conf = {"SLURM_CONF": str(place / ".cluster" / "slurm.conf")}
    with subprocess.Popen(["sleep", "1000"], env=os.environ | conf) as editor:
        dev_cluster(place, "stop")
        assert processes_of(place / ".cluster") == [editor.pid]
        editor.kill()


def test_what_a_killed_supervisor_leaves_is_cleared_by_stop(place: Path) -> None:
    _run_stubborn_job(place)
    supervisor = int((place / ".cluster" / "cluster.lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: dev_cluster(place, "status", code=None).returncode == 3, "the supervisor to die")
    dev_cluster(place, "stop")
    assert processes_of(place / ".cluster") == []
    dev_cluster(place, "start", "--nodes", "1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ending_run_ends_the_command_and_the_cluster(place: Path, number: signal.Signals) -> None:
    command = ["sh", "-c", "touch started; exec sleep 1000"]
    argv = [DEV_CLUSTER, "run", "--nodes", "1", "--", *command]
    with subprocess.Popen(argv, cwd=place, stderr=subprocess.PIPE) as run:
        wait_until((place / "started").exists, "the command")
        run.send_signal(number)
        assert run.wait(30) == 128 + number
    assert processes_of(place / ".cluster") == []


# Nodes as separate as machines


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[NetnsCluster]:
    require_slurm(netns=True)
    with NetnsCluster(tmp_path / "machines", nodes=2) as cluster:
        yield cluster


def _reaches_controller(machines: NetnsCluster, number: int) -> bool:
    connect = ["timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/ctl/6817"]
    return machines.run_on(number, connect, check=False).returncode == 0


def test_each_node_has_a_name_an_address_and_processes_of_its_own(machines: NetnsCluster) -> None:
    told = machines.run(["srun", "--nodes=2", "sh", "-c", "hostname; getent hosts $(hostname)"]).stdout
    assert sorted(told.split()) == ["10.77.0.1", "10.77.0.2", *["node1"] * 2, *["node2"] * 2]
    processes = machines.run_on(1, ["ps", "-e", "-o", "comm="]).stdout.split()
    assert (processes.count("slurmd"), processes.count("slurmctld")) == (1, 0)


def test_a_cut_cable_parts_a_node_from_the_others_until_it_is_restored(machines: NetnsCluster) -> None:
    wait_until(lambda: _reaches_controller(machines, 2), "the network")
    machines.cut_network(2)
    assert not _reaches_controller(machines, 2)
    wait_until(lambda: _reaches_controller(machines, 1), "the network of the other node")
    machines.restore_network(2)
    wait_until(lambda: _reaches_controller(machines, 2), "the network")


def test_a_node_without_power_loses_its_processes_and_comes_back_empty(machines: NetnsCluster) -> None:
    job = machines.run(
        ["sbatch", "--parsable", "--nodelist=node2", "--output=/dev/null", "--wrap", "sleep 1000"]
    )
    wait_until(lambda: _job(machines, job.stdout.strip())["JobState"] == "RUNNING", "the job")
    machines.kill_node(2)
    with pytest.raises(Mistake, match="node2 is not running"):
        machines.run_on(2, ["true"])
    assert machines.run(["srun", "--nodelist=node1", "hostname"]).stdout == "node1\n"
    machines.start_node(2)
    wait_until(lambda: _reaches_controller(machines, 2), "the node")
    assert "1000" not in machines.run_on(2, ["ps", "ax", "-o", "args"]).stdout


def test_run_with_netns_executes_the_command_where_the_tools_work(place: Path) -> None:
    require_slurm(netns=True)
    script = "srun --nodes=2 hostname | sort; pwd; exit 5"
    done = dev_cluster(place, "run", "--netns", "--nodes", "2", "--", "sh", "-c", script, code=5)
    assert done.stdout == f"node1\nnode2\n{place}\n"
    assert processes_of(place / ".cluster") == []


def test_env_of_a_netns_cluster_tells_how_to_enter_it(place: Path) -> None:
    require_slurm(netns=True)
    dev_cluster(place, "start", "--netns", "--nodes", "1")
    assert "1 node, no GPUs each, own namespaces" in dev_cluster(place, "status").stdout
    env = dev_cluster(place, "env")
    enter = env.stderr.rpartition(": ")[2].strip()
    script = f"{env.stdout}\n{enter} sh -c 'srun hostname; pwd'"
    done = subprocess.run(["sh", "-c", script], text=True, stdout=subprocess.PIPE, check=True, cwd=place)
    assert done.stdout == f"node1\n{place}\n", "in the working directory, as commands are everywhere"
    dev_cluster(place, "stop")
    assert processes_of(place / ".cluster") == []
