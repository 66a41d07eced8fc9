"""Access to models: the bearer of a call's token, held by the task that runs the call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """The bearer of a token.

    Attributes:
        name: as the token file has it.
        models: the models that it may use; None means all.
    """

    name: str
    models: frozenset[str] | None = None


EVERYONE = Principal("")
"""The caller of a server without tokens."""
_NOBODY = Principal("", frozenset())
_principal: ContextVar[Principal] = ContextVar("principal")
_authenticate: ContextVar[Callable[[], Principal]] = ContextVar("authenticate")


def grant(authenticate: Callable[[], Principal]) -> None:
    """Let the call that this task runs use what the principal may use that `authenticate` returns.

    Raises:
        UnauthenticatedError: `authenticate` raised it.
    """
    _authenticate.set(authenticate)
    renew()


def renew() -> None:
    """Authenticate this task's call again, as each message of a stream does: its token may be gone by now.

    Raises:
        UnauthenticatedError: it is gone.
    """
    authenticate = _authenticate.get(None)
    if authenticate is not None:
        _principal.set(authenticate())


def principal(*, guarded: bool) -> Principal:
    """Return the principal of this task's call; on a guarded server a task without one may use nothing."""
    return _principal.get(_NOBODY if guarded else EVERYONE)


def may_use(model: str, *, guarded: bool) -> bool:
    """Return True where this task's call may use a model; see `principal`."""
    models = principal(guarded=guarded).models
    return models is None or model in models
