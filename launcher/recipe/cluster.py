"""The cluster profile: facts about a site, and nothing about what is trained."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import SAFE_NAME, Count, Line, Name, PathOrId, Positive, Section, TimeLimit
from launcher.secret_values import KEYS, SECRET, WITH_PASSWORD

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SETS = re.compile(r"""\b(\w+)=["']?[^\s"'$/~.`]""")
"""A variable that a line of the shell gives a value in so many words: no path, and not what another variable holds."""
SECRET_HERE = "looks like a secret, which a profile must not hold; use ~/.netrc or the environment"
SBATCH_OPTION = re.compile(r"[a-z][a-z0-9-]+")
_OURS = (
    *(
        "array",
        "chdir",
        "error",
        "export",
        "export-file",
        "get-user-env",
        "hold",
        "input",
        "job-name",
        "ntasks",
    ),
    *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode", "output"),
    *(
        "parsable",
        "quiet",
        "test-only",
        "uid",
        "gid",
        "usage",
        "help",
        "version",
        "wait",
        "wrap",
        "overcommit",
    ),
)
DECIDED: dict[str, str] = {
    **dict.fromkeys(_OURS, ""),
    **dict.fromkeys(
        ("account", "partition", "qos", "constraint", "reservation", "exclusive"), "the key of that name"
    ),
    **dict.fromkeys(
        ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "gres"), "the recipe's gpus"
    ),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "memory"),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu", "cores-per-socket"), "cpus_per_task"),
    **dict.fromkeys(("requeue", "no-requeue"), "the recipe's requeue"),
    **dict.fromkeys(("cluster", "clusters"), "the environment's SLURM_CLUSTERS"),
    "nodes": "the recipe's nodes",
    "time": "time",
    "time-min": "time",
    "signal": "grace_s",
}
"""Options of sbatch that a profile can't set by `sbatch`, and the key that decides them."""


def _variable(value: str) -> str:
    if not VARIABLE.fullmatch(value):
        raise ValueError("must be a name of an environment variable")
    if SECRET.search(value):
        raise ValueError(SECRET_HERE)
    return value


def _open(value: str) -> str:
    if WITH_PASSWORD.search(value) or KEYS.search(value) or any(map(SECRET.search, SETS.findall(value))):
        raise ValueError(SECRET_HERE)
    return value


def _pattern(value: str) -> str:
    if not VARIABLE.fullmatch(value.removesuffix("*")):
        raise ValueError("must be a name of an environment variable, or the start of names and a *")
    return value


def _names(value: str) -> str:
    if not all(SAFE_NAME.fullmatch(part) for part in value.split(",")):
        raise ValueError("must be a name, or several with commas and no blanks between them")
    return value


def _sbatch_option(value: str) -> str:
    option = value.removeprefix("--")
    if not SBATCH_OPTION.fullmatch(option):
        raise ValueError("must be the long name of an sbatch option, such as exclude or mail-user")
    if option in DECIDED:
        key = DECIDED[option]
        raise ValueError(f"is what {key} decides" if key else "is what launch itself decides")
    return option


Variable = Annotated[str, AfterValidator(_variable)]
OpenLine = Annotated[Line, AfterValidator(_open)]
VariablePattern = Annotated[str, AfterValidator(_pattern)]
Names = Annotated[str, AfterValidator(_names)]
SbatchOption = Annotated[str, AfterValidator(_sbatch_option)]


class Container(Section):
    """How training is started inside a container image."""

    decides = Decides("execution")

    runtime: Literal["apptainer", "pyxis"]
    """apptainer wraps the command on each node; pyxis adds options to srun."""
    image: PathOrId
    """Image file or reference."""
    mounts: tuple[Line, ...] = ()
    """Bind mounts, SOURCE:TARGET; the run directory is always mounted."""
    args: tuple[Line, ...] = ()
    """Further arguments of the runtime."""


class Limits(Section):
    """The most that one job may ask for; null means no limit."""

    decides = Decides("execution")

    nodes: Count | None = None
    """Most nodes in a job."""
    gpus: Count | None = None
    """Most GPUs on a node."""
    time: TimeLimit | None = None
    """Longest time limit."""


class Cluster(Section):
    """One site: where jobs go, what nodes have, and how Python gets there."""

    decides = Decides("execution")

    description: Annotated[Line | None, Decides("nothing")] = None
    """One sentence about the site."""
    partition: Names | None = None
    """Slurm partition, or several with commas; null means the cluster's default."""
    account: Name | None = None
    """Slurm account to charge."""
    qos: Names | None = None
    """Slurm quality of service."""
    constraint: Line | None = None
    """Slurm node features to ask for."""
    reservation: Names | None = None
    """Slurm reservation to use."""
    sbatch: dict[SbatchOption, Line | int | bool] = Field(default_factory=dict)
    """Further sbatch options by their long names, such as {exclude: node7, nice: 100}; true for those without a value."""
    grace_s: Count | None = None
    """Seconds before the time limit at which a job saves and stops, until saves are measured; null means 120 or more."""
    spare_nodes: Annotated[int, Field(ge=0)] = 0
    """Extra nodes for jobs of several nodes, as far as limits.nodes allows, to replace a bad one."""
    requeue: bool = True
    """Whether Slurm may requeue jobs here; if false, a follow-up job takes the place of one that should go on."""
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    """GPUs per node; 0 if the site has none."""
    gpu_request: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """Which sbatch option asks for GPUs."""
    gpu_type: Name | None = None
    """Type in the GPU request, such as h100."""
    gpu_model: Line | None = None
    """GPU model for estimates of time, as nvidia-smi calls it, such as H100, A800-80GB, L40S, A10, RTX 4090 or V100."""
    gpu_memory_gib: Positive | None = None
    """Memory of one GPU in GiB, for estimates and micro-batches."""
    cpus_per_task: Count | None = None
    """CPUs asked for on each node; null means 8 a rank, and 1 a rank without GPUs."""
    memory: Line | None = None
    """Memory asked for on each node in sbatch's notation; null means the partition's default."""
    exclusive: bool = False
    """Ask for whole nodes."""
    time: TimeLimit | None = None
    """Time limit if the recipe gives none."""
    python: PathOrId | None = None
    """Python on the nodes; null means the one that runs launch."""
    setup: tuple[OpenLine, ...] = ()
    """Shell lines run on every node before training, such as `module load cuda`."""
    env: dict[Variable, OpenLine] = Field(default_factory=dict)
    """Environment variables set on every node; never secrets."""
    pass_env: tuple[VariablePattern, ...] = ()
    """Further environment variables to pass from launch to the job, by name or with a * at the end."""
    interface: Name | None = None
    """Network interface for gloo and NCCL (GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME)."""
    container: Container | None = None
    """Container to train in."""
    limits: Limits = Limits.default()
    """Limits of the site."""

    def fills(self) -> dict[str, Any]:
        """Recipe keys that this profile gives a value to where everything else leaves them null."""
        return {"gpus": self.gpus_per_node or None, "time": self.time}
