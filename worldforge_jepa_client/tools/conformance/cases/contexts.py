"""Contexts: scenes that a server keeps under an id."""

from __future__ import annotations

import time

from worldforge_jepa_client import wire
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import NotApplicableError, ServerUnderTest, close, expect
from worldforge_jepa_client.v1 import jepa_pb2

PROMISES = Promises()
_ID_LENGTH = 16  # characters: fewer could be guessed


@PROMISES("Encodes a scene and keeps its latents under an id, for Score, Unroll and Plan.")
async def context_scores(server: ServerUnderTest) -> None:
    """A context scores as its scene does that was sent whole."""
    got = await server.score(server.score_request(await server.context()))
    expected = await server.score(server.score_request())
    expect(close(got, expected), f"a context scores {got}, its scene sent whole {expected}")


@PROMISES("Unguessable: whoever has it may use the context.")
async def context_ids(server: ServerUnderTest) -> None:
    """The ids of equal scenes differ, and are long."""
    first, second = await server.context(), await server.context()
    expect(first != second, f"two contexts have the id {first}")
    expect(min(len(first), len(second)) >= _ID_LENGTH, f"the id {first!r} is shorter than {_ID_LENGTH} characters")


@PROMISES("When the context expires if it is not used; every use puts it off.")
async def context_expiry(server: ServerUnderTest) -> None:
    """A new context expires in the future."""
    request = wire.context_request(server.scene(), server.spec.name)
    expires = (await server.call("CreateContext", request)).expire_time.ToNanoseconds() / 1e9
    expect(expires > time.time(), f"a new context expires {time.time() - expires:.1f} s ago")


@PROMISES("Forgets a context. A context that is unknown or has expired is NOT_FOUND.")
async def context_deleted(server: ServerUnderTest) -> None:
    """A deleted context can be deleted no second time."""
    request = jepa_pb2.DeleteContextRequest(context_id=await server.context())
    await server.call("DeleteContext", request)
    await server.refused("DeleteContext", request, "NOT_FOUND", "CONTEXT_NOT_FOUND", "context_id")


@PROMISES("From CreateContext. Unknown, expired or evicted: NOT_FOUND, reason CONTEXT_NOT_FOUND.")
async def context_unknown(server: ServerUnderTest) -> None:
    """An unknown context cannot be scored in."""
    await server.refused("Score", server.score_request("none"), "NOT_FOUND", "CONTEXT_NOT_FOUND", "context_id")


@PROMISES("Of another model: FAILED_PRECONDITION.")
async def context_of_other_model(server: ServerUnderTest) -> None:
    """A context cannot be scored in by another model than its own."""
    if not server.others:
        raise NotApplicableError("the server has one model")
    request = server.score_request(await server.context(), model=server.others[0])
    await server.refused("Score", request, "FAILED_PRECONDITION", "CONTEXT_OF_OTHER_MODEL", "context_id")
