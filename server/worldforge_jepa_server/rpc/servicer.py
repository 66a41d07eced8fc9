"""The RPCs: decode the request, await the runtime, encode the response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Observation
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_server.rpc.callers import caller_of, client_of
from worldforge_jepa_server.rpc.duration import time_limit
from worldforge_jepa_server.rpc.intake import Intake, Received, Request
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.score_stream import ScoreStream
from worldforge_jepa_server.rpc.status import answering, streaming
from worldforge_jepa_server.runtime.replicas import Replicas

if TYPE_CHECKING:
    import grpc.aio

    _Context = grpc.aio.ServicerContext[Any, Any]

_SERVICE = jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"]
SERVICE_NAME = _SERVICE.full_name


class WorldModelServicer:
    """The service of the proto, on a server's runtimes; `intake` parses messages, a Plan takes `plan_seconds`."""

    def __init__(self, replicas: Replicas, intake: Intake, plan_seconds: float) -> None:
        self._replicas, self.intake, self._plan_seconds = replicas, intake, plan_seconds

    async def ListModels(
        self, request: Request[jepa_pb2.ListModelsRequest], _: _Context
    ) -> jepa_pb2.ListModelsResponse:
        """See the proto."""
        return jepa_pb2.ListModelsResponse(models=[wire.model_message(spec) for spec in self._replicas.specs()])

    async def GetModel(self, request: Request[jepa_pb2.GetModelRequest], _: _Context) -> jepa_pb2.GetModelResponse:
        """See the proto."""
        return jepa_pb2.GetModelResponse(model=wire.model_message(self._replicas.spec(request.message.model)))

    async def Score(self, request: Request[jepa_pb2.ScoreRequest], context: _Context) -> jepa_pb2.ScoreResponse:
        """See the proto."""
        caller = caller_of(context)
        call = await self.intake.decode(wire.score_call, request)
        return wire.score_response(await self._replicas.of(call.scene).score(call, caller))

    async def ScoreStream(
        self, messages: AsyncIterator[Received], context: _Context
    ) -> AsyncGenerator[jepa_pb2.ScoreStreamResponse, None]:
        """See the proto. Reading only after answering is what slows a client that sends too fast."""
        with self._replicas.stream() as runtime:
            stream = ScoreStream(runtime, self.intake, client_of(context))
            while (message := await self.intake.next_message(messages, stream.kept)) is not None:
                yield await stream.answer(message)

    async def CreateContext(
        self, request: Request[jepa_pb2.CreateContextRequest], context: _Context
    ) -> jepa_pb2.CreateContextResponse:
        """See the proto."""
        caller = caller_of(context)
        scene = await self.intake.decode(lambda message: wire.decode_scene(message.context), request)
        return wire.context_response(await self._replicas.idlest.create_context(scene, request.message.model, caller))

    async def DeleteContext(
        self, request: Request[jepa_pb2.DeleteContextRequest], _: _Context
    ) -> jepa_pb2.DeleteContextResponse:
        """See the proto."""
        context_id = request.message.context_id
        self._replicas.of(context_id).delete_context(context_id)
        return jepa_pb2.DeleteContextResponse()

    async def Encode(self, request: Request[jepa_pb2.EncodeRequest], context: _Context) -> jepa_pb2.EncodeResponse:
        """See the proto."""
        dtype = wire.latent_dtype(request.message.dtype)
        observation = await self.intake.decode(_encoded_observation, request)
        latents = await self._replicas.idlest.encode(observation, request.message.model, dtype, caller_of(context))
        return jepa_pb2.EncodeResponse(latents=wire.latents_message(latents, dtype))

    async def Unroll(
        self, request: Request[jepa_pb2.UnrollRequest], context: _Context
    ) -> AsyncGenerator[jepa_pb2.UnrollResponse, None]:
        """See the proto."""
        call = await self.intake.decode(wire.unroll_call, request)
        async for step, latents in self._replicas.of(call.scene).unroll(call, caller_of(context, stream=True)):
            # Latents can be many megabytes, whose copy would hold up the event loop.
            message = await asyncio.to_thread(wire.latents_message, latents, call.dtype)
            yield jepa_pb2.UnrollResponse(step=step, latents=message)

    async def Plan(
        self, request: Request[jepa_pb2.PlanRequest], context: _Context
    ) -> AsyncGenerator[jepa_pb2.PlanResponse, None]:
        """See the proto."""
        caller = caller_of(context, stream=True)
        call = await self.intake.decode(wire.plan_call, request)
        with time_limit(self._plan_seconds, "--plan-seconds"):
            async for progress in self._replicas.of(call.scene).plan(call, caller):
                yield wire.plan_response(progress)


def _encoded_observation(message: jepa_pb2.EncodeRequest) -> Observation:
    return wire.decode_observation(message.observation, "observation")


class Servicer(Protocol):
    """A method for each of a service's, and the intake of their requests."""

    intake: Intake


def generic_handler(
    servicer: Servicer, service: ServiceDescriptor = _SERVICE, calls: Calls | None = None
) -> grpc.GenericRpcHandler:
    """Return the handlers that a grpc.aio server needs, one for each method of a service; `calls` observes them."""
    observed = calls or Calls()
    handlers = {method.name: _handler(servicer, method, observed) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(servicer: Servicer, method: MethodDescriptor, calls: Calls) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour, intake = getattr(servicer, method.name), servicer.intake
    observed = calls.method(f"/{method.containing_service.full_name}/{method.name}", _kind(method))
    codec: dict[str, Any] = {
        "request_deserializer": Received,
        "response_serializer": GetMessageClass(method.output_type).SerializeToString,
    }
    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(streaming(behaviour, observed), **codec)
    request_class = GetMessageClass(method.input_type)
    if method.server_streaming:
        answered = streaming(behaviour, observed, request_class, intake)
        return grpc.unary_stream_rpc_method_handler(answered, **codec)
    return grpc.unary_unary_rpc_method_handler(answering(behaviour, observed, request_class, intake), **codec)


def _kind(method: MethodDescriptor) -> str:
    """Return the kind of a method as the usual metrics of gRPC servers name it."""
    if method.client_streaming:
        return "bidi_stream"
    return "server_stream" if method.server_streaming else "unary"
