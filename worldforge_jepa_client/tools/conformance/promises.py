"""Promises: sentences of the proto's comments, each with a check of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worldforge_jepa_client.tools.conformance.under_test import ServerUnderTest

Check = Callable[[ServerUnderTest], Awaitable[None]]


@dataclass(frozen=True)
class Promise:
    """One promise.

    Attributes:
        name: of the case, as `stream-order`.
        sentence: of the proto, word by word.
        check: raises BrokenPromiseError where a server does not keep it, NotApplicableError where it cannot be tried.
    """

    name: str
    sentence: str
    check: Check


class Promises(list[Promise]):
    """The promises of one module; `@PROMISES("sentence")` declares a check, whose name is the promise's."""

    def __call__(self, sentence: str) -> Callable[[Check], Check]:
        """Return a decorator that adds a check of this sentence."""

        def declare(check: Check) -> Check:
            name: str = getattr(check, "__name__")  # noqa: B009 - a Callable has no such attribute to mypy
            self.append(Promise(name.replace("_", "-"), sentence, check))
            return check

        return declare
