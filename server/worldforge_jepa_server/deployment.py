"""A model in service: what is published of it, and how much it takes at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.spec import MemoryUse, ModelSpec
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.models.contract import ModelLoadError, SelfScoringModel, ServedModel, WorldModel

_log = logging.getLogger(__name__)

# Float32 copies of a call's candidates that are there at a time: on the wire, as an array, on the device, and what it
# takes to normalize them there.
_COPIES = 8


@dataclass
class Deployment:
    """A model, its published spec, how many candidates it takes at a time, and whether those of several requests."""

    model: ServedModel
    spec: ModelSpec
    chunk: int
    batching: bool

    @property
    def world(self) -> WorldModel:
        """The model, to be asked for latents.

        Raises:
            FailedPreconditionError: it scores by itself.
        """
        if isinstance(self.model, SelfScoringModel):
            raise FailedPreconditionError(
                f"{self.spec.name} scores by itself, and has no latents to give", reason="NO_LATENTS", field="model"
            )
        return self.model

    def halve(self, candidates: int) -> None:
        """Take fewer from now on: `candidates` at a time were too many."""
        self.chunk = max(1, min(self.chunk, candidates) // 2)
        _log.warning("model %s: out of memory, from now on %d candidates at a time", self.spec.name, self.chunk)


def deploy(model: ServedModel, memory: MemoryUse | None, config: ServerConfig) -> Deployment:
    """Put a model into service within the server's limits; `memory` is what it was measured to need.

    Raises:
        ModelLoadError: the budget does not do for a single candidate.
    """
    spec = model.spec
    per_sample = memory.bytes_per_sample if memory else 0
    chunk = min(config.chunk_size, config.memory_budget // per_sample) if per_sample else config.chunk_size
    if chunk == 0:
        raise ModelLoadError(
            f"model {spec.name} needs {per_sample} bytes for one candidate; --memory-budget is {config.memory_budget}"
        )
    by_memory = config.memory_budget // (_COPIES * 4 * max(1, spec.action_dim))
    limits = replace(
        spec.limits,
        max_candidate_steps=min(config.queue_size, by_memory),
        max_message_bytes=config.max_message_bytes,
    )
    return Deployment(model, replace(spec, limits=limits, memory=memory), chunk, config.batching)
