"""The RPCs: decode, await, encode."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from worldforge_jepa_client import messages
from worldforge_jepa_client.calls import ScoreCall, ScoreResult, Timing
from worldforge_jepa_client.checks import check_score_call
from worldforge_jepa_client.errors import NotFoundError, UnavailableError
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.engine import Engine
from worldforge_jepa_server.errors import answering
from worldforge_jepa_server.models.contract import WorldModel
from worldforge_jepa_server.scoring import Scored, score

if TYPE_CHECKING:
    import grpc.aio

    _Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)

_SERVICE = jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"]
SERVICE_NAME = _SERVICE.full_name


class WorldModelServicer:
    """Serves the models it is given; until then every call is UNAVAILABLE."""

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self._models: Mapping[str, WorldModel] = {}

    def serve(self, models: Mapping[str, WorldModel]) -> None:
        """Answer for these models from now on; the first one is the default."""
        self._models = models

    async def ListModels(self, request: jepa_pb2.ListModelsRequest, context: _Context) -> jepa_pb2.ListModelsResponse:
        """See the proto."""
        self._model("")
        return jepa_pb2.ListModelsResponse(models=[self._published(model) for model in self._models.values()])

    async def GetModel(self, request: jepa_pb2.GetModelRequest, context: _Context) -> jepa_pb2.GetModelResponse:
        """See the proto."""
        return jepa_pb2.GetModelResponse(model=self._published(self._model(request.model)))

    async def Score(self, request: jepa_pb2.ScoreRequest, context: _Context) -> jepa_pb2.ScoreResponse:
        """See the proto."""
        arrived = time.perf_counter()
        model = self._model(request.model)
        call = messages.score_call(request)
        check_score_call(call, model.spec)
        decoded = time.perf_counter()
        _log.debug("score on %s: %d candidates, horizon %d", model.spec.name, *call.action_candidates.shape[1:3])
        scored, queue_seconds = await self._engine.run(partial(score, model, call, self._config.chunk_size))
        timing = _timing(scored, arrived, decoded, queue_seconds)
        return messages.score_response(_result(scored, call, model, timing))

    def _published(self, model: WorldModel) -> jepa_pb2.Model:
        limits = replace(model.spec.limits, max_message_bytes=self._config.max_message_bytes)
        return messages.model_message(replace(model.spec, limits=limits))

    def _model(self, name: str) -> WorldModel:
        if not self._models:
            raise UnavailableError("the server is loading its models", reason="MODEL_LOADING", retry_after=1.0)
        try:
            return self._models[name or next(iter(self._models))]
        except KeyError:
            served = ", ".join(self._models)
            raise NotFoundError(
                f"{name!r} is not served; served: {served}", reason="MODEL_NOT_FOUND", field="model"
            ) from None


def generic_handler(servicer: WorldModelServicer) -> grpc.GenericRpcHandler:
    """Return what makes a grpc.aio server call the servicer: one handler for each method of the proto."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        method.name: grpc.unary_unary_rpc_method_handler(
            answering(getattr(servicer, method.name), GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
        for method in _SERVICE.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)


def _result(scored: Scored, call: ScoreCall, model: WorldModel, timing: Timing) -> ScoreResult:
    metadata = {
        "score_units": "latent_cost",
        "model": model.spec.name,
        "actions_are_normalized": call.options.actions_are_normalized,
        "device": model.spec.device,
    }
    own = scored.own
    if own is not None:
        metadata |= {"score_units": "model_score", **own.metadata}
        return ScoreResult(own.scores, own.best_index, own.lower_is_better, metadata, timing)
    if scored.objective is not None:
        metadata |= {"objective": scored.objective.value, "proprio_weight": scored.proprio_weight}
    return ScoreResult(scored.scores, int(scored.scores.argmin()), True, metadata, timing)


def _timing(scored: Scored, arrived: float, decoded: float, queue_seconds: float) -> Timing:
    seconds = (
        queue_seconds,
        decoded - arrived,
        scored.encode_seconds,
        scored.unroll_seconds,
        scored.distance_seconds,
        time.perf_counter() - arrived,
    )
    return Timing(*(round(part * 1e6) for part in seconds))
