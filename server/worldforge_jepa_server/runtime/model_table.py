"""Models in service: what is published of them, how much they take at a time, and why one is not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from worldforge_jepa_client.contract.spec import MemoryUse, ModelSpec
from worldforge_jepa_client.errors import FailedPreconditionError, JepaError, NotFoundError, UnavailableError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.models.contract import ModelLoadError, ScoringModel, ServedModel, WorldModel

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
        if isinstance(self.model, ScoringModel):
            raise FailedPreconditionError(
                f"{self.spec.name} scores by itself, and has no latents to give",
                reason=Reason.NO_LATENTS,
                field="model",
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


class Deployments:
    """A server's models by name, the first being the default: each in service, or the error that its callers get."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._by_name: dict[str, Deployment | JepaError] = {
            source.name: UnavailableError(
                f"the server is loading {source.name}", reason=Reason.MODEL_LOADING, field="model", retry_after=1.0
            )
            for source in config.model
        }

    def put(self, model: ServedModel, memory: MemoryUse | None) -> None:
        """Put a model into service; see `deploy`."""
        self._by_name[model.spec.name] = deploy(model, memory, self._config)

    def refuse(self, name: str, error: ModelLoadError) -> None:
        """Tell a model's callers that it cannot be loaded."""
        self._by_name[name] = FailedPreconditionError(
            f"{name} cannot be loaded: {error}", reason=Reason.MODEL_NOT_LOADED, field="model"
        )

    def find(self, name: str) -> Deployment:
        """A model in service; empty is the default.

        Raises:
            UnavailableError: it is not loaded yet.
            FailedPreconditionError: it cannot be loaded.
            NotFoundError: there is none of that name.
        """
        try:
            found = self._by_name[name or next(iter(self._by_name))]
        except KeyError:
            raise NotFoundError(
                f"{name!r} is not served; served: {', '.join(self._by_name)}",
                reason=Reason.MODEL_NOT_FOUND,
                field="model",
            ) from None
        if isinstance(found, JepaError):
            raise found.with_traceback(None)
        return found

    def specs(self) -> list[ModelSpec]:
        """What the models in service publish, once none is loading any more; raises as `find` does until then."""
        for found in self._by_name.values():
            if isinstance(found, UnavailableError):
                raise found.with_traceback(None)
        served = [found.spec for found in self._by_name.values() if isinstance(found, Deployment)]
        return served or [self.find("").spec]
