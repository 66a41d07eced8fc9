"""The methods of the Open Inference Protocol, on the runtimes' own Score."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import JepaError, NotFoundError, nearest
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.rpc.callers import caller_of
from worldforge_jepa_server.rpc.intake import Intake, Request
from worldforge_jepa_server.rpc.open_inference import messages, tensors
from worldforge_jepa_server.rpc.open_inference.requests import renamed, requested, score_call
from worldforge_jepa_server.runtime.replicas import Replicas

if TYPE_CHECKING:
    import grpc.aio

    _Context = grpc.aio.ServicerContext[Any, Any]

_VERSION = "1"
"""Of every model: the protocol has versions of a model, this server has none."""


class OpenInferenceServicer:
    """The service of open_inference.proto, on the runtimes of a server; `ready` tells what the health service tells."""

    def __init__(self, replicas: Replicas, intake: Intake, ready: Callable[[], bool]) -> None:
        self._replicas, self.intake, self._ready = replicas, intake, ready

    async def ServerLive(self, _request: Request[Any], _: _Context) -> Any:
        """See the proto."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Request[Any], _: _Context) -> Any:
        """See the proto."""
        return messages.ServerReadyResponse(ready=self._ready())

    async def ModelReady(self, request: Request[Any], _: _Context) -> Any:
        """See the proto."""
        ready = False
        with contextlib.suppress(JepaError):
            ready = bool(self._spec(request.message.name, request.message.version)) and self._ready()
        return messages.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, _request: Request[Any], _: _Context) -> Any:
        """See the proto."""
        return messages.ServerMetadataResponse(name="worldforge-jepa", version=version("worldforge-jepa"))

    async def ModelMetadata(self, request: Request[Any], _: _Context) -> Any:
        """See the proto."""
        spec = self._spec(request.message.name, request.message.version)
        response = messages.ModelMetadataResponse(name=spec.name, versions=[_VERSION], platform="worldforge_jepa")
        for name, dtype, shape in _inputs(spec):
            response.inputs.add(name=name, datatype=tensors.datatype(dtype), shape=shape)
        response.outputs.add(name="scores", datatype="FP32", shape=[-1])
        response.outputs.add(name="best_index", datatype="INT64", shape=[1])
        return response

    async def ModelInfer(self, request: Request[Any], context: _Context) -> Any:
        """See the proto."""
        caller, message = caller_of(context), request.message
        try:
            spec = self._spec(message.model_name, message.model_version)
            wanted = requested(message, ("scores", "best_index"))
            call = await self.intake.decode(score_call, request, spec)
            result = await self._replicas.of(call.scene).score(call, caller)
        except JepaError as error:
            raise renamed(error) from error
        response = messages.ModelInferResponse(model_name=spec.name, model_version=_VERSION, id=message.id)
        outputs: Mapping[str, NDArray[Any]] = {
            "scores": result.scores,
            "best_index": np.array([result.best_index], np.int64),
        }
        for name in wanted:
            tensors.encode(outputs[name], name, response, raw=bool(message.raw_input_contents))
        return response

    def _spec(self, name: str, version: str) -> ModelSpec:
        """Return a model's spec.

        Raises:
            NotFoundError: no such model, or no such version of it.
            UnavailableError: it is loading.
        """
        spec = self._replicas.spec(name)
        if version not in ("", _VERSION):
            problem = (
                f"{spec.name} has no version {version!r}; expected {_VERSION} or none{nearest(version, (_VERSION,))}"
            )
            raise NotFoundError(problem, reason=Reason.MODEL_NOT_FOUND, field="model_version")
        return spec


def _inputs(spec: ModelSpec) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, preferred dtype and shape of each input that a model takes."""
    visual = "uint8" if "uint8" in spec.visual.dtypes else spec.visual.dtypes[0]
    one = (1, 1, *spec.visual.shape[2:])
    found = [("observation_visual", visual, spec.visual.shape), ("goal_visual", visual, one)]
    if spec.proprio is not None:
        found += [
            ("observation_proprio", "float32", spec.proprio.shape),
            ("goal_proprio", "float32", (1, 1, *spec.proprio.shape[2:])),
        ]
    if spec.limits.max_context_frames > 1:
        found.append(("action_history", "float32", spec.action_history.shape))
    return [*found, ("action_candidates", "float32", spec.action_candidates.shape)]
