"""ScoreStream: one scene that lives as long as the stream, and one answer to each message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, ScoreCall
from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.json_struct import struct_dict
from worldforge_jepa_client.wire.status import to_message
from worldforge_jepa_server.rpc.intake import Intake, Received, Request
from worldforge_jepa_server.rpc.status import as_jepa_error, without_frames
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.scenes import HeldScene
from worldforge_jepa_server.scheduling.engine import Caller

_Request = Request[jepa_pb2.ScoreStreamRequest]


@dataclass(frozen=True)
class _Held:
    """The stream's scene as sent, its handle with the model, and its bytes."""

    sent: Scene
    held: HeldScene
    nbytes: int


class ScoreStream:
    """Answers the messages of one stream, in order."""

    def __init__(self, runtime: Runtime, intake: Intake, client: Hashable) -> None:
        self._runtime, self._intake, self._client = runtime, intake, client
        self._model: str | None = None
        self._held: _Held | None = None

    @property
    def kept(self) -> int:
        """The bytes of the stream's scene."""
        return self._held.nbytes if self._held else 0

    async def answer(self, message: Received) -> jepa_pb2.ScoreStreamResponse:
        """Answer one message; a refused message changes nothing."""
        # One call at a time: there is no order for a deadline to make.
        caller = Caller(self._client, time.perf_counter(), stream=self)
        try:
            async with self._intake.request(message, jepa_pb2.ScoreStreamRequest, self.kept) as request:
                model = request.message.model if self._model is None else self._model
                held = await self._hold(request, model)
                response = await self._score(request, held, caller)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            refused = to_message(as_jepa_error(error))
            without_frames(error)
            return jepa_pb2.ScoreStreamResponse(error=refused)
        self._model, self._held = model, held
        return response

    async def _hold(self, request: _Request, model: str) -> _Held:
        if request.message.HasField("context"):
            changes = await self._intake.decode(lambda message: wire.decode_scene(message.context), request)
            scene = (self._held.sent if self._held else Scene()).updated(changes)
            return _Held(scene, self._runtime.hold(scene, model), scene.nbytes)
        if self._held is None:
            raise FailedPreconditionError(
                "is not set, and no earlier message of this stream set a scene", reason=Reason.NO_SCENE, field="context"
            )
        return self._held

    async def _score(self, request: _Request, held: _Held, caller: Caller) -> jepa_pb2.ScoreStreamResponse:
        if not request.message.HasField("action_candidates"):
            await self._runtime.encode_now(held.held, caller)
            return jepa_pb2.ScoreStreamResponse()
        call = await self._intake.decode(_score_call, request, held.sent)
        result = await self._runtime.score(call, caller, held.held)
        return jepa_pb2.ScoreStreamResponse(score=wire.score_response(result))


def _score_call(request: jepa_pb2.ScoreStreamRequest, scene: Scene) -> ScoreCall:
    return ScoreCall(
        scene=scene,
        action_candidates=tensors.decode(request.action_candidates, field="action_candidates"),
        options=wire.decode_options(request.options),
        extra_info=struct_dict(request.extra_info, "extra_info"),
    )
