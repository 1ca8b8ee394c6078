"""What Slurm's commands say of a site with GPUs and accounts; the commands are scripts that print what such a site printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.drafts.profile import draft_profile
from launcher.errors import UserError
from launcher.executors.shared.site import Site, probe_script, read_probe
from launcher.executors.shared.slurm_site import read_site, run_on_a_node

PARTITIONS = (
    "PartitionName=cpu Default=YES MaxNodes=UNLIMITED MaxTime=7-00:00:00 DefaultTime=01:00:00 State=UP TotalCPUs=640"
    " TotalNodes=10 DefMemPerCPU=2000\n"
    "PartitionName=gpu Default=NO MaxNodes=8 MaxTime=2-00:00:00 DefaultTime=NONE State=UP TotalCPUs=512 TotalNodes=16"
    " DefMemPerCPU=1024\n"
    "PartitionName=old Default=NO MaxNodes=8 MaxTime=UNLIMITED DefaultTime=NONE State=DOWN TotalCPUs=1 TotalNodes=1\n"
    "PartitionName=$(reboot) Default=NO MaxNodes=8 MaxTime=UNLIMITED DefaultTime=NONE State=UP TotalNodes=99\n"
)
CONFIG = (
    "ClusterName = alps\nSelectType = select/cons_tres\nAccountingStorageType = accounting_storage/slurmdbd\n"
)
NODES = '#!/bin/sh\ncase "$*" in *partition=gpu*) echo "32|gpu:a100:4(S:0-1)";; *) echo "64|(null)";; esac\n'
ACCOUNTS = '#!/bin/sh\ncase "$*" in *assoc*) printf "nlp\\nphysics\\n\\033[31m\\n";; *) echo nlp;; esac\n'
NODE = """host=nid0042
cpus=32
python=3.11.7
directory=writable
interface=eth0
interface=ib0
container=apptainer
gpu=NVIDIA A100-SXM4-80GB, 81920
gpu=NVIDIA A100-SXM4-80GB, 81920
a message of the day: host=\x1b[31m
"""


def command(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "partitions").write_text(PARTITIONS)
    (tmp_path / "config").write_text(CONFIG)
    said = (
        f'#!/bin/sh\ncase "$*" in *partition*) cat {tmp_path}/partitions;; *) cat {tmp_path}/config;; esac\n'
    )
    command(tmp_path, "scontrol", said)
    command(tmp_path, "sinfo", NODES)
    command(tmp_path, "sacctmgr", ACCOUNTS)
    command(tmp_path, "srun", "#!/bin/sh\necho '      --container-image=[USER@]IMAGE'\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return read_site()


def keys(site: Site, *words: str, node: str = NODE) -> dict[str, Any]:
    draft = draft_profile(site, words, lambda *_: node, "/env/bin/python", Path("/shared/me"))
    return {key: said.value for key, said in draft.keys.items()}


def test_the_profile_is_for_the_partition_with_most_gpus(site: Site) -> None:
    assert keys(site) == {
        "description": "alps, as its scheduler describes it",
        "partition": "gpu",
        "account": "nlp",
        "gpus_per_node": 4,
        "gpu_type": "a100",
        "gpu_model": "A100-80GB",
        "gpu_memory_gib": 80.0,
        "memory": "64G",
        "time": "2-00:00:00",
        "interface": "ib0",
        "limits.nodes": 8,
        "limits.gpus": 4,
        "limits.time": "2-00:00:00",
    }


def test_names_that_are_none_and_partitions_that_are_down_are_no_part_of_the_site(site: Site) -> None:
    assert [partition.name for partition in site.partitions] == ["cpu", "gpu"]
    assert site.accounts == ("nlp", "physics")
    assert site.containers == ("pyxis",)


def test_what_the_user_says_wins_and_what_is_not_there_is_refused(site: Site) -> None:
    found = keys(site, "partition=cpu", "account=physics", "gpu_memory_gib=40.0")
    assert (found["partition"], found["account"], found["gpus_per_node"]) == ("cpu", "physics", 0)
    with pytest.raises(UserError, match="no such partition that is up"):
        keys(site, "partition=old")
    with pytest.raises(UserError, match=r"unknown key of a profile(.|\n)*did you mean partition"):
        keys(site, "partitoin=gpu")


@pytest.mark.parametrize(
    ("changed", "trouble"),
    [
        (("python=3.11.7\n", "python=\n"), "/env/bin/python can't be started on nid0042"),
        (("directory=writable\n", "directory=\n"), "/shared/me can't be written from nid0042"),
        (("gpu=", "no="), "nvidia-smi shows no GPU on nid0042"),
    ],
)
def test_what_is_missing_on_a_node_is_said(site: Site, changed: tuple[str, str], trouble: str) -> None:
    node = NODE.replace(*changed)
    draft = draft_profile(site, (), lambda *_: node, "/env/bin/python", Path("/shared/me"))
    assert draft.trouble is not None
    assert trouble in draft.trouble
    assert f"# Not ready yet: {trouble}" in draft.text


def test_a_job_that_is_refused_leaves_a_profile_that_says_so(site: Site) -> None:
    def refuse(*_: object) -> str:
        raise UserError("Invalid account")

    draft = draft_profile(site, (), refuse, "python", Path("/shared"))
    assert (draft.node, draft.trouble) == (None, "Invalid account")


def test_only_answers_are_read_from_what_a_job_prints() -> None:
    node = read_probe(NODE)
    assert (node.host, node.interfaces, node.gpu_memory_mib) == ("nid0042", ("eth0", "ib0"), 81920)
    assert "'/my env/python'" in probe_script("/my env/python", "/shared")


def test_a_node_is_asked_by_a_job_of_its_own_from_within_a_job_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """srun takes what a job around was given (memory, cores, CPU masks) for what is asked for now."""
    command(tmp_path, "srun", '#!/bin/sh\necho "asked: $*"\n/usr/bin/env\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "4000")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    monkeypatch.setenv("SLURM_CLUSTERS", "east")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("GITHUB_PAT", "secret")
    said = run_on_a_node({"partition": "main"}, "true")
    asked, *environment = said.splitlines()
    assert "--clusters=east --nodes=1 --ntasks=1" in asked
    assert [line for line in environment if line.startswith("SLURM")] == ["SLURM_CONF=/etc/slurm.conf"]
    assert "secret" not in said
