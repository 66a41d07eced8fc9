"""Several requests in one call of the model: cut, gathered, and split again.

Letters: S candidates of one rollout, B of all in a batch, H horizon, A packed action dim, T context frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_server.models.contract import Latents


@dataclass(frozen=True)
class Rollout:
    """What to try, where, and how to measure; all on the model's device.

    `actions` [S, H, A] and `history` [T-1, 1, A], None where T is 1, are normalized. `start` has T frames, batch 1;
    `goal` one frame, batch 1.
    """

    start: Latents
    goal: Latents
    actions: Tensor
    history: Tensor | None
    objective: Objective
    proprio_weight: float

    def part(self, start: int, stop: int) -> Rollout:
        """Only the candidates from `start` to `stop`."""
        return self if stop - start == len(self.actions) else replace(self, actions=self.actions[start:stop])


def chunks(rollouts: Sequence[Rollout], size: int) -> Iterator[list[tuple[int, Rollout]]]:
    """Cut the candidates of all rollouts, one after the other, into chunks of `size`, each with its rollout's index."""
    chunk: list[tuple[int, Rollout]] = []
    room = size
    for index, rollout in enumerate(rollouts):
        start, samples = 0, len(rollout.actions)
        while start < samples:
            stop = min(samples, start + room)
            chunk.append((index, rollout.part(start, stop)))
            start, room = stop, room - (stop - start)
            if room == 0:
                yield chunk
                chunk, room = [], size
    if chunk:
        yield chunk


def gather(rollouts: Sequence[Rollout]) -> tuple[Latents, Tensor, Tensor | None]:
    """The arguments of `WorldModel.unroll` for all rollouts at once.

    Returns:
        latents, batch 1 where all start in the same place, else B; actions [H, B, A]; history, likewise, or None.
    """
    first = rollouts[0]
    actions = torch.cat([each.actions for each in rollouts]) if len(rollouts) > 1 else first.actions
    if all(each.start is first.start and _equal(each.history, first.history) for each in rollouts):
        return first.start, actions.transpose(0, 1), first.history
    visual = [each.start.visual.expand(len(each.actions), *each.start.visual.shape[1:]) for each in rollouts]
    proprio = [
        each.start.proprio.expand(len(each.actions), *each.start.proprio.shape[1:])
        for each in rollouts
        if each.start.proprio is not None
    ]
    history = [each.history.expand(-1, len(each.actions), -1) for each in rollouts if each.history is not None]
    return (
        Latents(torch.cat(visual), torch.cat(proprio) if proprio else None),
        actions.transpose(0, 1),
        torch.cat(history, dim=1) if history else None,
    )


def split(latents: Latents, rollouts: Sequence[Rollout]) -> list[Latents]:
    """Latents [B, ...] of a batch to those [S, ...] of each rollout."""
    if len(rollouts) == 1:
        return [latents]
    sizes = [len(each.actions) for each in rollouts]
    visual = latents.visual.split(sizes)
    proprio = [None] * len(sizes) if latents.proprio is None else latents.proprio.split(sizes)
    return [Latents(*parts) for parts in zip(visual, proprio, strict=True)]


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))
