"""A GPU that is none, in a process of its own: tensors that say they lie on `cuda:0`, and are computed on the CPU.

The code takes the ways that it takes on a GPU, under CUDA's autocast. What a GPU would refuse, it refuses: tensors of
different devices, kernels that are not deterministic where that is asked for, inputs that the attention kernel doesn't take.
Where the host waits for the device is noted down. What no kernel has written is NaN. How fast anything is, what memory it
takes, and streams, are not to be seen here, nor is the dropout of attention. A CUDA graph does the operations of its capture
again: what the host has decided since then, or has to wait for, shows.

Call `load` before anything imports torch. It needs a C++ compiler, and a build of PyTorch without CUDA.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

SOURCE = Path(__file__).with_suffix(".cpp")
CAPABILITY = (8, 0)


def load() -> None:
    """Have PyTorch find a GPU when it is imported."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    assert "torch" not in sys.modules
    torch = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "stand_in.so"
        command = ["c++", "-std=c++20", "-fPIC", "-shared", f"-I{torch / 'include'}", f"-L{torch / 'lib'}"]
        subprocess.run([*command, SOURCE, "-o", library, "-ltorch_cpu", "-lc10"], check=True)
        for name in ("libc10.so", "libtorch_cpu.so"):
            ctypes.CDLL(str(torch / "lib" / name), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))


@contextlib.contextmanager
def stand_in() -> Iterator[Any]:
    """Within it there is the GPU, a `stand_in_tensors.Device`."""
    import torch
    from support.stand_in_tensors import Device, Graph, pin_memory, tolist

    class Event:
        """Of a stream on which everything is done at once."""

        def record(self) -> None: ...

        def synchronize(self) -> None: ...

    class Stream:
        """On which everything is done at once."""

        def __init__(self, _device: Any = None) -> None: ...

        def wait_stream(self, _other: Any) -> None: ...

    gpu = Device()
    instead: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "default_generators": (torch.default_generator,),
        "get_device_capability": lambda _device=None: CAPABILITY,
        "get_device_name": lambda _device=None: "stand-in",
        "is_bf16_supported": lambda including_emulation=True: including_emulation or CAPABILITY >= (8, 0),
        "synchronize": lambda _device=None: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda: (2**34, 2**34),
        "memory_allocated": lambda: 2**20,
        "max_memory_allocated": lambda: 2**24,
        "reset_peak_memory_stats": lambda: None,
        "_lazy_init": lambda: None,
        "Event": Event,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": contextlib.nullcontext,
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": lambda: Graph(gpu),
    }
    with contextlib.ExitStack() as stack:
        for name, value in instead.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", pin_memory))
        stack.enter_context(mock.patch.object(torch.Tensor, "tolist", tolist))
        stack.enter_context(mock.patch.object(torch.Tensor, "record_stream"))
        # torch.tensor(..., device="cuda") makes its tensor on the CPU first, where a mode sees it; parameters stay themselves.
        for setter in (
            torch._C._set_only_lift_cpu_tensors,
            torch.__future__.set_swap_module_params_on_conversion,
        ):
            setter(True)
            stack.callback(setter, False)
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        yield stack.enter_context(gpu)
