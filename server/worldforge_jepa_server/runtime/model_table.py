"""Models in service: the published spec and the runner of each, or the error that its callers get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from worldforge_jepa_client.contract.spec import MemoryUse, ModelSpec
from worldforge_jepa_client.errors import (
    FailedPreconditionError,
    JepaError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.batching import ScoreRunner
from worldforge_jepa_server.device.runner import runner_for
from worldforge_jepa_server.models.contract import ModelLoadError, ScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.runtime import access, record

# Float32 copies of a call's candidates that exist at a time: on the wire, as an array, on the device, and the
# intermediate ones of normalizing them there.
_COPIES = 8


@dataclass
class Deployment:
    """A model in service.

    Attributes:
        model: computes.
        spec: as published, with the server's limits; every check uses this one.
        runner: scores candidates on the model.
        metadata: facts that go with every score.
    """

    model: ServedModel
    spec: ModelSpec
    runner: ScoreRunner
    metadata: dict[str, Any]

    def latent_model(self) -> WorldModel:
        """Return the model if it has latents.

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


def deploy(model: ServedModel, memory: MemoryUse | None, config: ServerConfig) -> Deployment:
    """Put a model into service: finish its published spec with the server's limits and the `memory` measured.

    Raises:
        ModelLoadError: the memory budget is too small for one candidate.
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
    published = replace(spec, limits=limits, memory=memory)
    metadata = {"model": spec.name, "device": spec.device, **spec.provenance}
    return Deployment(model, published, runner_for(model, published, chunk, config.batching), metadata)


class Deployments:
    """The models of a server by name, the first being the default."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._guarded = bool(config.token_file)
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
        """Register the error that calls to an unloadable model get."""
        self._by_name[name] = FailedPreconditionError(
            f"{name} cannot be loaded: {error}", reason=Reason.MODEL_NOT_LOADED, field="model"
        )

    def find(self, name: str) -> Deployment:
        """Return a model in service; an empty name is the first that this task's call may use.

        Raises:
            UnavailableError: it is not loaded yet.
            FailedPreconditionError: it cannot be loaded.
            NotFoundError: no model has the name.
            PermissionDeniedError: the token of this task's call is not for it.
        """
        name = name or next(filter(self._may_use, self._by_name), next(iter(self._by_name)))
        found = self._by_name.get(name)
        if not self._may_use(name):
            raise PermissionDeniedError(
                f"the token is not for {name!r}", reason=Reason.MODEL_NOT_ALLOWED, field="model"
            )
        if found is None:
            raise NotFoundError(
                f"{name!r} is not served; served: {', '.join(self._by_name)}",
                reason=Reason.MODEL_NOT_FOUND,
                field="model",
            )
        record.current().model = name
        if isinstance(found, JepaError):
            raise found.with_traceback(None)
        return found

    def specs(self) -> list[ModelSpec]:
        """Return the published specs that this task's call may see, once no model is loading any more.

        Raises:
            JepaError: until then, or where there is none, as `find` does.
        """
        for found in self._by_name.values():
            if isinstance(found, UnavailableError):
                raise found.with_traceback(None)
        allowed = [found.spec for found in self.in_service() if self._may_use(found.spec.name)]
        return allowed or [self.find("").spec]

    def in_service(self) -> list[Deployment]:
        """Return the models in service, whichever task asks."""
        return [found for found in self._by_name.values() if isinstance(found, Deployment)]

    def _may_use(self, name: str) -> bool:
        return access.may_use(name, guarded=self._guarded)
