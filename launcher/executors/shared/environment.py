"""What of the environment that `launch` runs in reaches a job: an allow-list, and the keys that go by a file of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from launcher.secret_values import KEYS, SECRET, WITH_PASSWORD

OF_SCHEDULERS = ("SLURM_CONF",)
"""Where the commands of schedulers find their cluster."""
PASSED = (
    # who and where one is
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLUMNS"),
    *("TMPDIR", "TMP", "TEMP", "SCRATCH", "WORK", "XDG_*", "KRB5CCNAME", "SSH_AUTH_SOCK"),
    # how the network is reached
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    # where programs, libraries and Python find each other
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CC", "CXX", "VIRTUAL_ENV", "PYTHON*"),
    *("CONDA_*", "_CONDA_*", "MAMBA_*", "PIXI_*", "PYENV_*", "SPACK_*", "EASYBUILD_*", "EB*", "CRAY*"),
    *("MODULE*", "LOADEDMODULES", "_LMFILES_", "LMOD_*", "_ModuleTable*", "BASH_ENV", "ENV", "BASH_FUNC_*"),
    *("APPTAINER*", "SINGULARITY*", "ENROOT_*", *OF_SCHEDULERS),
    # what the hardware and the libraries read
    *("CUDA*", "NVIDIA_*", "NCCL_*", "GLOO_*", "UCX_*", "FI_*", "IBV_*", "ROCR_*", "HIP_*"),
    *(
        "OMP_*",
        "GOMP_*",
        "KMP_*",
        "MKL_*",
        "OPENBLAS_*",
        "NUMEXPR_*",
        "VECLIB_*",
        "BLIS_*",
        "NVPL_*",
        "MALLOC_*",
    ),
    *(
        "TORCH_*",
        "TORCHINDUCTOR_*",
        "TORCHDYNAMO_*",
        "PYTORCH_*",
        "TRITON_*",
        "DS_*",
        "DEEPSPEED_*",
        "TOKENIZERS_*",
        "TRANSFORMERS_*",
    ),
    *("HF_*", "HUGGINGFACE_*", "HUGGING_FACE_*", "DATASETS_*", "NLTK_DATA", "WANDB_*", "AWS_*"),
    *("LAUNCH_COMPAT", "LAUNCHER_HANG_S"),
)
"""Names, with * for any end, of the variables that a job may have."""
NEVER_PASSED = ("PYTHONOPTIMIZE", "PYTHONIOENCODING")
"""What is meant for the terminal's process: a job keeps its assertions, and writes UTF-8."""
OF_OTHER_LAUNCHERS = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *(
        "ROLE_WORLD_SIZE",
        "ROLE_NAME",
        "MASTER_ADDR",
        "MASTER_PORT",
        "TORCHELASTIC_*",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    ),
    *("SLURM_*", "SBATCH_*", "SRUN_*", "SALLOC_*", "PMI_*", "PMIX_*", "OMPI_*", "PALS_*", "ACCELERATE_*"),
)
"""Variables by which libraries find out which of several processes they are; a job's own launcher decides these."""


class Environment(NamedTuple):
    """What becomes of the variables that `launch` was started with."""

    passed: dict[str, str]
    """What the job's processes have, and Slurm's state shows."""
    secrets: dict[str, str]
    """Keys and passwords among what may pass: they reach the training by a 0600 file."""
    left_out: tuple[str, ...]
    """Names of what no job gets."""


def split_environment(environ: Mapping[str, str], pass_env: Iterable[str] = ()) -> Environment:
    """Sort variables by the allow-list and by `pass_env`, the names (or starts, with a *) that a profile adds."""
    wanted = (*PASSED, *pass_env)
    passed, secrets, left_out = {}, {}, []
    for name, value in environ.items():
        if name in NEVER_PASSED or not _matches(name, wanted):
            left_out.append(name)
        elif SECRET.search(name) or WITH_PASSWORD.search(value) or KEYS.search(value):
            secrets[name] = value
        else:
            passed[name] = value
    return Environment(passed, secrets, tuple(sorted(left_out)))


def single_process(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is alone, whatever launcher surrounds the one that starts it."""
    left_out = (*OF_OTHER_LAUNCHERS, *NEVER_PASSED)
    return {
        name: value
        for name, value in environ.items()
        if name in OF_SCHEDULERS or not _matches(name, left_out)
    }


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
