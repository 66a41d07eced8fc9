"""Refuses calls without a token before their messages are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.observability.calls import Calls, Method
from worldforge_jepa_server.rpc.security.tokens import Tokens
from worldforge_jepa_server.rpc.status import streaming
from worldforge_jepa_server.runtime import access

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from worldforge_jepa_server.rpc.status import Context


def guarded(
    handlers: Sequence[grpc.GenericRpcHandler], config: ServerConfig, calls: Calls | None = None
) -> Sequence[grpc.GenericRpcHandler]:
    """Return handlers whose methods need one of the config's tokens, where it has any; `calls` sees those refused.

    Raises:
        CredentialsError: the token file cannot be used.
    """
    if not config.token_file:
        return handlers
    tokens, observed = Tokens(config.token_file), calls or Calls()
    return [GuardedHandler(each, tokens, observed) for each in handlers]


class GuardedHandler(grpc.GenericRpcHandler):
    """Another handler's methods, for calls with a token; what the bearer may use holds for the task of the call."""

    def __init__(self, handler: grpc.GenericRpcHandler, tokens: Tokens, calls: Calls) -> None:
        self._handler, self._tokens, self._calls = handler, tokens, calls

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the method's handler, or one that refuses the call; None for a method of others."""
        found = self._handler.service(details)
        if found is None:
            return None
        try:
            access.grant(partial(self._tokens.authenticate, details.invocation_metadata))
        except JepaError as error:
            return _refusing(error, self._calls.method(details.method, "bidi_stream"))
        return found


def _refusing(error: JepaError, calls: Method) -> Any:
    async def refuse(_: Any, __: Context) -> AsyncGenerator[Message, None]:
        raise error
        yield  # makes this a generator

    return grpc.stream_stream_rpc_method_handler(streaming(refuse, calls))
