"""Errors: each malformed request is refused with its code, reason and field."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import (
    BrokenPromiseError,
    NotApplicableError,
    ServerUnderTest,
    expect,
    same_error,
)
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire.status import DOMAIN, from_rpc_error

PROMISES = Promises()
_CANDIDATES, _FRAME = "action_candidates", "context.observation.visual"


async def _invalid(server: ServerUnderTest, request: Any, reason: str, field: str) -> None:
    await server.refused("Score", request, "INVALID_ARGUMENT", reason, field)


@PROMISES('every failure is a gRPC status with a google.rpc.ErrorInfo (domain "worldforge.jepa"')
async def error_info(server: ServerUnderTest) -> None:
    """The details of a failed call hold an ErrorInfo with domain, reason and field."""
    info = ErrorInfo()
    await _detail(server, info)
    got = (info.domain, info.reason, info.metadata.get("field", ""))
    expected = (DOMAIN, "MISSING_FIELD", _CANDIDATES)
    expect(got == expected, f"ErrorInfo has {got}; expected {expected}")


@PROMISES("Malformed input adds google.rpc.BadRequest with the field, what came and what was expected")
async def error_bad_request(server: ServerUnderTest) -> None:
    """The details of malformed input hold a BadRequest that names the field."""
    bad = BadRequest()
    await _detail(server, bad)
    named = [violation.field for violation in bad.field_violations]
    expect(named == [_CANDIDATES], f"BadRequest names the fields {named}; expected {_CANDIDATES}")
    expect(bad.field_violations[0].description, "BadRequest has no description of what came")


async def _detail(server: ServerUnderTest, detail: Any) -> None:
    """Fill `detail` from the failure of a request without candidates."""
    request = server.score_request()
    request.ClearField(_CANDIDATES)
    try:
        await server.call("Score", request)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        found = status is not None and any(each.Unpack(detail) for each in status.details)
        expect(found, f"{error.code()} comes without a {detail.DESCRIPTOR.full_name}")
    else:
        raise BrokenPromiseError("a request without candidates succeeded")


@PROMISES("(1, S, H, A), floating point.")
async def error_shape_and_dtype(server: ServerUnderTest) -> None:
    """Candidates of another action dim, and integers, are refused."""
    wide = server.candidates().repeat(2, axis=3)
    await _invalid(server, server.score_request(action_candidates=wide), "INVALID_SHAPE", _CANDIDATES)
    whole = np.zeros(server.candidates().shape, np.int64)
    await _invalid(server, server.score_request(action_candidates=whole), "INVALID_DTYPE", _CANDIDATES)


@PROMISES("exactly product(shape) * size of dtype bytes.")
async def error_data_length(server: ServerUnderTest) -> None:
    """A tensor whose data is a byte short is refused."""
    request = server.score_request()
    request.action_candidates.data = request.action_candidates.data[:-1]
    await _invalid(server, request, "DATA_LENGTH_MISMATCH", _CANDIDATES)


@PROMISES("Unset: any finite value.")
async def error_not_finite(server: ServerUnderTest) -> None:
    """Candidates that hold NaN are refused."""
    candidates = server.candidates()
    candidates[0, -1, 0, 0] = np.nan
    await _invalid(server, server.score_request(action_candidates=candidates), "NON_FINITE", _CANDIDATES)


@PROMISES("Entries further than 1e6 standard deviations from the mean are refused.")
async def error_far_actions(server: ServerUnderTest) -> None:
    """Candidates that are no action of any robot are refused."""
    far = server.candidates() + np.float32(2e6)
    await _invalid(server, server.score_request(action_candidates=far), "INVALID_VALUE", _CANDIDATES)


@PROMISES(
    "A frame whose maximum is above 0 and at most 2 was scaled to 0..1, and is refused; one of zeros is accepted."
)
async def error_scaled_frame(server: ServerUnderTest) -> None:
    """A frame of ones is refused, a black one is scored."""
    request = server.score_request()
    visual = request.context.observation.visual
    if visual.dtype != jepa_pb2.DATA_TYPE_UINT8:
        raise NotApplicableError("the model takes no frames of bytes")
    pixels = len(visual.data)
    visual.data = b"\1" * pixels
    await _invalid(server, request, "INVALID_VALUE", _FRAME)
    visual.data = bytes(pixels)
    await server.score(request)


@PROMISES("handed to models that have a scoring method of their own; any other refuses it.")
async def error_extra_info(server: ServerUnderTest) -> None:
    """A latent distance refuses extra_info."""
    server.needs_latents()
    request = server.score_request(extra_info={"tolerance": 1.0})
    await _invalid(server, request, "UNKNOWN_FIELD", "extra_info.tolerance")


@PROMISES(
    "Where to read those bytes, instead of `data`. In requests only, and only to a server on the same host that was "
    "started with --shared-memory; any other answers FAILED_PRECONDITION, reason SHARED_MEMORY_OFF."
)
async def error_shared_memory(server: ServerUnderTest) -> None:
    """A tensor in a segment that does not exist is refused, whether or not the server reads shared memory."""
    request = server.score_request()
    tensor = request.action_candidates
    tensor.shared.name, tensor.shared.length = f"worldforge-jepa-{'0' * 32}", len(tensor.data)
    tensor.data = b""
    try:
        await server.call("Score", request)
    except grpc.RpcError as error:
        refusal = from_rpc_error(error, "server")
        on = refusal.reason == "SEGMENT_NOT_FOUND"
        expected = ("SEGMENT_NOT_FOUND", f"{_CANDIDATES}.shared.name") if on else ("SHARED_MEMORY_OFF", _CANDIDATES)
        same_error(refusal, "FAILED_PRECONDITION", *expected)
    else:
        raise BrokenPromiseError("a tensor in a segment that does not exist was scored")


@PROMISES("every failure is a gRPC status")
async def error_malformed_message(server: ServerUnderTest) -> None:
    """Bytes that are no message are refused as such, and not as a failure of the server."""
    call: Any = server.channel.unary_unary("/worldforge.jepa.v1.WorldModelService/Score")
    try:
        await call(b"\xff\xff\xff", timeout=server.timeout)
    except grpc.RpcError as error:
        same_error(from_rpc_error(error, "server"), "INVALID_ARGUMENT", "MALFORMED_MESSAGE", "")
    else:
        raise BrokenPromiseError("bytes that are no message were scored")
