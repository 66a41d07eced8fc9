"""torch's devices: which one `auto` is, how to wait for it, what it cannot do, and the threads of a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

AUTO = "auto"


def chosen(device: str) -> str:
    """Return a device's name as torch has it: `auto` is cuda where torch finds one, else mps, else cpu."""
    if device != AUTO:
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def use_device(device: str) -> None:
    """Make a CUDA device the calling thread's own, for code that names none."""
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)


def synchronize(device: str) -> None:
    """Wait for the kernels that are queued on a device; a CPU queues none."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def has_float64(device: torch.device | str) -> bool:
    """Return True if a device computes in float64; mps does not."""
    return torch.device(device).type != "mps"


def multiplies(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Return False if a device is a CPU that is known to lack matrix instructions of a 16-bit dtype."""
    needed = {torch.bfloat16: ("avx512_bf16", "amx_bf16"), torch.float16: ("avx512_fp16", "amx_fp16")}.get(dtype)
    if needed is None or torch.device(device).type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return True
    found = torch.cpu.get_capabilities()
    return found.get("architecture") != "x86_64" or any(found.get(name) for name in needed)


def threads_choose(device: torch.device | str) -> bool:
    """Return True if each thread chooses how many share its operations: on a CPU, by a torch that has OpenMP."""
    return torch.device(device).type == "cpu" and bool(torch.backends.openmp.is_available())


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Share the calling thread's operations among `count` threads, where `threads_choose`."""
    if not threads_choose("cpu"):
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
