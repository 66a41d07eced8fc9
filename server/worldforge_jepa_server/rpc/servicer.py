"""The RPCs: decode the request, await the runtime, encode the response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from worldforge_jepa_client import wire
from worldforge_jepa_client.errors import UnavailableError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.score_stream import ScoreStream
from worldforge_jepa_server.rpc.status import Parse, answering, parse, streaming
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.scheduling.engine import Caller

if TYPE_CHECKING:
    import grpc.aio

    _Context = grpc.aio.ServicerContext[Any, Any]

_SERVICE = jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"]
SERVICE_NAME = _SERVICE.full_name
_ASSUMED_DEADLINE = 60.0  # seconds: deadline assumed for scheduling when the client sets none


class WorldModelServicer:
    """The service of the proto, on a runtime; `parse` turns bytes into requests."""

    def __init__(self, runtime: Runtime, parse: Parse = parse) -> None:
        self._runtime, self.parse = runtime, parse
        self._idle_streams: set[asyncio.Task[Any]] = set()
        self._draining = False

    def drain(self) -> None:
        """End each ScoreStream once it has answered what it was asked; other calls may finish."""
        self._draining = True
        for task in self._idle_streams:
            task.cancel()

    async def ListModels(self, request: jepa_pb2.ListModelsRequest, _: _Context) -> jepa_pb2.ListModelsResponse:
        """See the proto."""
        return jepa_pb2.ListModelsResponse(models=[wire.model_message(spec) for spec in self._runtime.specs()])

    async def GetModel(self, request: jepa_pb2.GetModelRequest, _: _Context) -> jepa_pb2.GetModelResponse:
        """See the proto."""
        return jepa_pb2.GetModelResponse(model=wire.model_message(self._runtime.spec(request.model)))

    async def Score(self, request: jepa_pb2.ScoreRequest, context: _Context) -> jepa_pb2.ScoreResponse:
        """See the proto."""
        caller = caller_of(context)
        return wire.score_response(await self._runtime.score(wire.score_call(request), caller))

    async def ScoreStream(
        self, requests: AsyncIterator[bytes], _: _Context
    ) -> AsyncGenerator[jepa_pb2.ScoreStreamResponse, None]:
        """See the proto. Reading only after answering is what slows a client that sends too fast."""
        stream = ScoreStream(self._runtime, self.parse)
        while (data := await self._next_message(requests)) is not None:
            yield await stream.answer(data)

    async def CreateContext(
        self, request: jepa_pb2.CreateContextRequest, context: _Context
    ) -> jepa_pb2.CreateContextResponse:
        """See the proto."""
        caller = caller_of(context)
        scene = wire.decode_scene(request.context)
        return wire.context_response(await self._runtime.create_context(scene, request.model, caller))

    async def DeleteContext(
        self, request: jepa_pb2.DeleteContextRequest, _: _Context
    ) -> jepa_pb2.DeleteContextResponse:
        """See the proto."""
        self._runtime.delete_context(request.context_id)
        return jepa_pb2.DeleteContextResponse()

    async def Encode(self, request: jepa_pb2.EncodeRequest, context: _Context) -> jepa_pb2.EncodeResponse:
        """See the proto."""
        dtype = wire.latent_dtype(request.dtype)
        observation = wire.decode_observation(request.observation, "observation")
        latents = await self._runtime.encode(observation, request.model, dtype, caller_of(context))
        return jepa_pb2.EncodeResponse(latents=wire.latents_message(latents, dtype))

    async def Unroll(
        self, request: jepa_pb2.UnrollRequest, context: _Context
    ) -> AsyncGenerator[jepa_pb2.UnrollResponse, None]:
        """See the proto."""
        call = wire.unroll_call(request)
        async for step, latents in self._runtime.unroll(call, caller_of(context, stream=True)):
            # Latents can be many megabytes, whose copy would hold up the event loop.
            message = await asyncio.to_thread(wire.latents_message, latents, call.dtype)
            yield jepa_pb2.UnrollResponse(step=step, latents=message)

    async def Plan(
        self, request: jepa_pb2.PlanRequest, context: _Context
    ) -> AsyncGenerator[jepa_pb2.PlanResponse, None]:
        """See the proto."""
        caller = caller_of(context, stream=True)
        async for progress in self._runtime.plan(wire.plan_call(request), caller):
            yield wire.plan_response(progress)

    async def _next_message(self, requests: AsyncIterator[bytes]) -> bytes | None:
        """Return a stream's next message, or None at its end.

        Raises:
            UnavailableError: the server is draining.
        """
        task = asyncio.current_task()
        assert task is not None
        self._idle_streams.add(task)
        try:
            if self._draining:
                raise UnavailableError("the server is draining", reason=Reason.DRAINING)
            return await anext(requests, None)
        except asyncio.CancelledError:
            if self._draining:
                raise UnavailableError("the server is draining", reason=Reason.DRAINING) from None
            raise
        finally:
            self._idle_streams.discard(task)


def caller_of(context: _Context, stream: bool = False) -> Caller:
    """Return the caller: a stream is a client of its own, all unary calls of a connection are one client."""
    now = time.perf_counter()
    left = context.time_remaining()
    return Caller(object() if stream else context.peer(), now, now + (_ASSUMED_DEADLINE if left is None else left))


class Servicer(Protocol):
    """A method for each of a service's, and the parser of their requests."""

    parse: Parse


def generic_handler(
    servicer: Servicer, service: ServiceDescriptor = _SERVICE, calls: Calls | None = None
) -> grpc.GenericRpcHandler:
    """Return the handlers that a grpc.aio server needs, one for each method of a service; `calls` observes them."""
    observed = calls or Calls()
    handlers = {method.name: _handler(servicer, method, observed) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(servicer: Servicer, method: MethodDescriptor, calls: Calls) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour, parse = getattr(servicer, method.name), servicer.parse
    serialize = GetMessageClass(method.output_type).SerializeToString
    observed = calls.method(f"/{method.containing_service.full_name}/{method.name}", _kind(method))
    if method.client_streaming:
        answered = streaming(behaviour, None, parse, observed)
        return grpc.stream_stream_rpc_method_handler(answered, response_serializer=serialize)
    request_class = GetMessageClass(method.input_type)
    if method.server_streaming:
        answered = streaming(behaviour, request_class, parse, observed)
        return grpc.unary_stream_rpc_method_handler(answered, response_serializer=serialize)
    return grpc.unary_unary_rpc_method_handler(
        answering(behaviour, request_class, parse, observed), response_serializer=serialize
    )


def _kind(method: MethodDescriptor) -> str:
    """Return the kind of a method as the usual metrics of gRPC servers name it."""
    if method.client_streaming:
        return "bidi_stream"
    return "server_stream" if method.server_streaming else "unary"
