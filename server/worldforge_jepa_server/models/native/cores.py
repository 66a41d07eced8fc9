"""How the cores of a CPU share the work of a native model: small work stays on one, a large batch is halved.

torch shares each operation among its threads, which wait for each other after it, hundreds of times a score: who delays
one of them delays all, and a small operation loses more by the sharing than it gains. The halves of a batch meet once a
step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import torch
from torch import Tensor

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.devices import torch_threads

Unroll = Callable[[Latents, Tensor, Tensor | None], Iterator[Latents]]

SMALL = 2**15
"""Entries of a tensor below which one core works on it as fast as two, by what was measured on two."""


def threads_for(entries: int) -> int:
    """Return how many threads share an operation on a tensor: one, or all that the calling thread has."""
    return 1 if entries < SMALL else torch.get_num_threads()


class Halves:
    """Unrolls a large batch as two halves at once, one in the calling thread and one in a thread of its own.

    Args:
        unroll: of a model, see `WorldModel.unroll`; called in both threads.
    """

    def __init__(self, unroll: Unroll) -> None:
        self._unroll = unroll
        self._other = ThreadPoolExecutor(1, "half")  # whose thread starts with the first half

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        batch = actions.shape[1]
        threads = threads_for(batch * latents.visual[0, 0].numel())
        parts = [slice(None)]
        if threads > 1 and batch > 1:
            threads, middle = threads // 2, (batch + 1) // 2
            parts = [slice(middle), slice(middle, None)]
        unrolls = [
            self._unroll(_latents_of(part, latents), actions[:, part], _history_of(part, action_history))
            for part in parts
        ]
        for _ in actions:
            yield self._step(unrolls, threads)

    def _step(self, unrolls: Sequence[Iterator[Latents]], threads: int) -> Latents:
        """The next frame [B, 1, ...] of one unroll or of two halves."""
        mine, *others = unrolls
        running = [self._other.submit(_next, other, threads) for other in others]
        try:
            steps = [_next(mine, threads)]
        finally:
            wait(running)  # so that nothing goes on behind an error
        steps += [half.result() for half in running]
        return _joined(steps) if others else steps[0]


@torch.inference_mode()
def _next(steps: Iterator[Latents], threads: int) -> Latents:
    with torch_threads(threads):
        return next(steps)


def _latents_of(part: slice, latents: Latents) -> Latents:
    """Return a part of the batch; a batch of 1 is for all parts."""
    if len(latents.visual) == 1:
        return latents
    return Latents(latents.visual[part], None if latents.proprio is None else latents.proprio[part])


def _history_of(part: slice, actions: Tensor | None) -> Tensor | None:
    return actions if actions is None or actions.shape[1] == 1 else actions[:, part]


def _joined(steps: Sequence[Latents]) -> Latents:
    proprio = [step.proprio for step in steps if step.proprio is not None]
    return Latents(torch.cat([step.visual for step in steps]), torch.cat(proprio) if proprio else None)
