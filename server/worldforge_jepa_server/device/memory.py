"""The device's memory: how much a piece of work takes, and what to do when there is none left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, UntypedStorage
from torch.overrides import TorchFunctionMode

from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.devices import torch_threads
from worldforge_jepa_server.models.memory import is_out_of_memory

# An allocator holds on to what it had to give out in other sizes. On the CPU, with glibc's: up to 2.3, measured.
_HELD = 2.5
_HELD_BY_CUDA = 1.25  # assumed: not measured on any GPU


def peak_bytes(device: str, work: Callable[[], object]) -> int:
    """The most bytes of the device's memory that `work` takes at a time, beside what is there before.

    On a CPU, which counts nothing, and on mps, which counts no peak, of the tensors that torch's functions return: what
    they use inside is missed.
    """
    where = torch.device(device)
    if where.type != "cuda":
        live = _LiveTensors()
        with live, torch_threads(1):  # so that all is done in this thread, which is the one that is watched
            work()
        return round(live.peak * _HELD)
    torch.cuda.synchronize(where)
    torch.cuda.reset_peak_memory_stats(where)
    before = torch.cuda.memory_allocated(where)
    work()
    taken: int = torch.cuda.max_memory_allocated(where) - before
    return round(taken * _HELD_BY_CUDA)


class _LiveTensors(TorchFunctionMode):
    """Adds up the tensors that torch's functions have returned and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: WeakSet[UntypedStorage] = WeakSet()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor):
                self._live.add(item.untyped_storage())
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self._live))
        return result


@contextlib.contextmanager
def device_memory() -> Iterator[None]:
    """Turn an out-of-memory error into ResourceExhaustedError."""
    try:
        yield
    except Exception as error:
        exhausted = as_exhausted(error)
        if exhausted is error:
            raise
        raise exhausted from error


def as_exhausted(error: Exception) -> Exception:
    """Return the ResourceExhaustedError that stands for an out-of-memory error; any other error as it is."""
    if not is_out_of_memory(error):
        return error
    exhausted = ResourceExhaustedError("the device has no memory left for this call", reason=Reason.OUT_OF_MEMORY)
    exhausted.__cause__ = error
    return exhausted


def release(device: str) -> None:
    """Give back what torch has freed and kept for later."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()


def memory_in_use(device: str) -> dict[str, int]:
    """Return the bytes of a cuda or mps device that tensors have, and that torch keeps; nothing for a CPU."""
    where = torch.device(device)
    if where.type == "mps":
        return {
            "allocated": torch.mps.current_allocated_memory(),
            "reserved": torch.mps.driver_allocated_memory(),
        }
    if where.type != "cuda" or not torch.cuda.is_initialized():
        return {}
    return {"allocated": torch.cuda.memory_allocated(where), "reserved": torch.cuda.memory_reserved(where)}
