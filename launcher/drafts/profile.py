"""A cluster profile from what a scheduler says of its site, tried by a job of a minute."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.drafts.commented import commented
from launcher.errors import LauncherError, Problem, UserError, choices
from launcher.executors.shared.site import NodeFacts, Partition, Site, probe_script, read_probe
from launcher.loading.resolve import load_cluster
from launcher.loading.schema import fit, schema_of
from launcher.loading.yaml_source import scalar
from launcher.planning.hardware import DEVICES, known_device
from launcher.recipe.cluster import Cluster
from launcher.tasks.shared.sample import Said

CPUS = 8
"""CPUs of a rank where a profile says nothing."""
LITTLE_MIB = 16 << 10
"""Memory of a rank below which a profile asks for more than the partition gives."""
Probe = Callable[[Cluster, str], str]
"""Runs a script in a short job on one node, asked for as a profile says; returns what it printed."""


@dataclass(frozen=True)
class ProfileDraft:
    """A profile, and how its trial went."""

    text: str
    keys: Mapping[str, Said]
    node: NodeFacts | None
    """What the job found; None where none was run."""
    trouble: str | None
    """Why jobs won't work yet, or couldn't be tried."""


def draft_profile(
    site: Site, words: Sequence[str], probe: Probe | None, python: str, directory: Path
) -> ProfileDraft:
    """The profile of a site for the partition that has most GPUs, or that `words` name; `probe` tries it.

    Raises UserError with every mistake in `words`.
    """
    wanted = _wanted(words)
    partition = _partition(site, wanted.get("partition"))
    keys = {**_site_keys(site, partition), **_node_keys(partition, site), **_limits(partition)}
    keys |= {key: Said(value, "As you asked.") for key, value in wanted.items()}
    node, trouble = None, None
    if probe is not None:
        node, trouble = _tried(keys, probe, python, directory)
        keys |= {key: said for key, said in _found_keys(node).items() if key not in wanted} if node else {}
    order = list(schema_of(Cluster).leaves)
    keys = dict(sorted(keys.items(), key=lambda one: order.index(one[0])))
    _cluster(keys)
    return ProfileDraft(commented(keys, _head(site, partition, node, trouble)), keys, node, trouble)


def _wanted(words: Sequence[str]) -> dict[str, Any]:
    """The keys of a profile that the user decides. Raises UserError with every mistake."""
    schema, problems = schema_of(Cluster), []
    wanted: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        if key in schema.leaves:
            wanted[key] = scalar(text)
        else:
            problems.append(
                Problem(
                    "unknown key of a profile", "override", key[:100], text, choices(key, list(schema.leaves))
                )
            )
    _, misfits = fit(schema, wanted)
    problems += [
        Problem(misfit.message, "override", key, wanted[key]) for key, (misfit, *_) in misfits.items()
    ]
    if problems:
        raise UserError(problems)
    return wanted


def _partition(site: Site, wanted: str | None) -> Partition:
    """The partition asked for; else the one with most GPUs, of equals the default one, then the one with most nodes."""
    if wanted is None:
        return max(site.partitions, key=lambda one: (one.gpus * one.nodes, one.default, one.nodes))
    first = wanted.partition(",")[0]
    found = next((one for one in site.partitions if one.name == first), None)
    if found is None:
        remedy = choices(first, [one.name for one in site.partitions])
        raise UserError("there is no such partition that is up", "override", "partition", wanted, remedy)
    return found


# What the scheduler says


def _site_keys(site: Site, partition: Partition) -> dict[str, Said]:
    others = [one.name for one in site.partitions if one != partition]
    why = (
        "It has most GPUs"
        if partition.gpus
        else "It is the default partition"
        if partition.default
        else "It has most nodes"
    )
    also = f"; there are also {', '.join(others)}" if others else ""
    keys = {
        "description": Said(f"{site.name}, as its scheduler describes it", ""),
        "partition": Said(partition.name, f"{why}{also}."),
    }
    if site.account is not None:
        more = [name for name in site.accounts if name != site.account]
        keys["account"] = Said(
            site.account, "Your default account" + (f"; you also have {', '.join(more)}." if more else ".")
        )
    return keys


def _node_keys(partition: Partition, site: Site) -> dict[str, Said]:
    keys = {
        "gpus_per_node": Said(
            partition.gpus, "Of the nodes of this partition." if partition.gpus else "There are none."
        )
    }
    if partition.gpus:
        if not site.counts_gpus:
            keys["gpu_request"] = Said("gres", "This scheduler takes GPUs as generic resources alone.")
        keys |= _gpu_kind(partition)
    if not partition.has_default_time:
        keys["time"] = Said(
            partition.longest or "12:00:00", "Where a recipe gives no time: the partition has no default."
        )
    ranks = max(1, partition.gpus)
    if partition.gpus and partition.cpus < ranks * CPUS:
        keys["cpus_per_task"] = Said(
            partition.cpus, f"All of a node, which has fewer than {CPUS} for each GPU."
        )
    if partition.memory_mib_per_cpu and partition.memory_mib_per_cpu * CPUS < LITTLE_MIB:
        gib = ranks * LITTLE_MIB >> 10
        keys["memory"] = Said(
            f"{gib}G", f"The partition gives {partition.memory_mib_per_cpu} MiB a CPU, which is little."
        )
    return keys


def _gpu_kind(partition: Partition) -> dict[str, Said]:
    keys = {}
    if len(partition.gpu_types) == 1:
        (kind,) = partition.gpu_types
        keys["gpu_type"] = Said(kind, "As the scheduler calls it.")
        if model := _model(kind):
            keys["gpu_model"] = Said(model, "For estimates of time.")
    return keys


def _model(text: str) -> str | None:
    """The GPU model that we have figures of and that a name means."""
    found = known_device(text.replace("_", " "))
    return next((name for name, device in DEVICES.items() if device is found), None) if found else None


def _limits(partition: Partition) -> dict[str, Said]:
    most = min(filter(None, (partition.most_nodes, partition.nodes)), default=None)
    keys = {}
    if most:
        keys["limits.nodes"] = Said(most, "More is refused before it is queued.")
    if partition.gpus:
        keys["limits.gpus"] = Said(partition.gpus, "")
    if partition.longest:
        keys["limits.time"] = Said(partition.longest, "")
    return keys


# What a node says


def _tried(
    keys: Mapping[str, Said], probe: Probe, python: str, directory: Path
) -> tuple[NodeFacts | None, str | None]:
    """What a job on a node finds, and why jobs won't work yet."""
    try:
        node = read_probe(probe(_cluster(keys), probe_script(python, str(directory))))
    except LauncherError as error:
        return None, str(error).replace("\n", " ")
    if node.python is None:
        return (
            node,
            f"{python} can't be started on {node.host}: name one that can with python=, or use setup lines",
        )
    if not node.sees_directory:
        return (
            node,
            f"{directory} can't be written from {node.host}: runs must be on a shared file system (runs_dir=DIR)",
        )
    expected = keys["gpus_per_node"].value
    if expected and not node.gpus:
        return node, f"nvidia-smi shows no GPU on {node.host}"
    return node, None


def _found_keys(node: NodeFacts) -> dict[str, Said]:
    keys = {}
    if node.gpu_memory_mib:
        keys["gpu_memory_gib"] = Said(
            float(node.gpu_memory_mib >> 10), f"{node.gpus[0]}, as nvidia-smi on {node.host} says."
        )
        if model := _model(node.gpus[0]):
            keys["gpu_model"] = Said(model, "For estimates of time.")
    fast = [name for name in node.interfaces if name.startswith("ib")]
    if len(node.interfaces) > 1 and fast:
        keys["interface"] = Said(fast[0], f"InfiniBand; {node.host} has {', '.join(node.interfaces)}.")
    return keys


def _head(site: Site, partition: Partition, node: NodeFacts | None, trouble: str | None) -> str:
    """What was asked, how the trial went, and what is left to decide."""
    lines = [
        "A cluster profile, made by launch init --cluster from what the scheduler says. It holds facts about the site alone."
    ]
    if node is not None:
        lines.append(
            f"Tried by a job of a minute on {node.host}: Python {node.python or 'not found'}, {len(node.gpus)} GPU."
        )
    if trouble:
        lines.append(f"Not ready yet: {trouble}.")
    runtimes = dict.fromkeys((*site.containers, *(node.containers if node else ())))
    for runtime in runtimes:
        lines.append(
            f"To train in a container ({runtime} is there): container: {{runtime: {runtime}, image: FILE}}"
        )
    if (
        node is not None
        and len(node.interfaces) > 1
        and not any(name.startswith("ib") for name in node.interfaces)
    ):
        lines.append(
            f"{node.host} has several networks ({', '.join(node.interfaces)}): interface: NAME says which is between nodes."
        )
    if not partition.gpus and partition.cpus > 1:
        lines.append(
            f"A node has {partition.cpus} CPUs, of which a job without GPUs asks for one: cpus_per_task: N asks for more."
        )
    if len(partition.gpu_types) > 1:
        lines.append(
            f"Its nodes have different GPUs ({', '.join(partition.gpu_types)}): gpu_type: NAME asks for one."
        )
    return "\n".join(lines)


def _cluster(keys: Mapping[str, Said]) -> Cluster:
    """The profile that these keys make. Raises UserError with every mistake in it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "drafted.yaml"
        path.write_text(commented(keys, ""), encoding="utf-8")
        return load_cluster(str(path), cwd=path.parent)
