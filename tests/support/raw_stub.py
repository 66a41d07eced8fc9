"""Raw messages to a server, past the client and its checks."""

import grpc
import numpy as np
import pytest

from tests.support.in_process import DEADLINE
from tests.support.scenes import candidates, scene
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import ScoreCall, ScoreOptions
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_message, from_rpc_error

RAW = ScoreOptions(actions_are_normalized=False)


def a_scene(**positions):
    arrays = scene(**positions)
    return build_scene(arrays["observation"], arrays["goal"], None)


def score_request(where, seed=0, **sizes):
    return wire.score_request(ScoreCall(where, candidates(seed=seed, **sizes), options=RAW))


class RawStub:
    """A stub on a running server, and the error of a call that must fail."""

    def __init__(self, server):
        self.channel = grpc.aio.insecure_channel(server.target)
        self.stub = jepa_pb2_grpc.WorldModelServiceStub(self.channel)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.channel.close()

    async def context(self, where, model=""):
        request = wire.context_request(where, model)
        return (await self.stub.CreateContext(request, timeout=DEADLINE)).context_id

    async def score(self, where, **sizes):
        return np.array((await self.stub.Score(score_request(where, **sizes), timeout=DEADLINE)).scores)

    async def refused(self, call):
        with pytest.raises(grpc.RpcError) as caught:
            await call
        return from_rpc_error(caught.value, "server")


class Stream:
    """A ScoreStream whose messages are written and read one by one."""

    def __init__(self, raw_stub):
        self._call = raw_stub.stub.ScoreStream(timeout=DEADLINE)

    async def send(self, changes=None, seed=None, **sizes):
        array = None if seed is None else candidates(seed=seed, **sizes)
        await self._call.write(wire.stream_request(changes, array, options=RAW))

    async def receive(self):
        response = await self._call.read()
        if response.WhichOneof("result") == "error":
            return from_message(response.error)
        return np.array(response.score.scores) if response.WhichOneof("result") else None

    def cancel(self):
        self._call.cancel()

    async def ask(self, *arguments, **keywords):
        await self.send(*arguments, **keywords)
        return await self.receive()
