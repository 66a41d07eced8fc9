"""Hold a server, or a proxy before one, to every promise of the proto.

The server should have nothing else to do: that a cancel frees its device is measured. Exits with 1 where a promise is
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import grpc.aio

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import FailedPreconditionError, JepaError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.aio.client import AsyncClient
from worldforge_jepa_client.rpc.channel import MetadataChannel, make_channel
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.conformance.cases import (
    contexts,
    latents,
    limits,
    models,
    plans,
    refusals,
    scores,
    streams,
)
from worldforge_jepa_client.tools.conformance.promises import Promise
from worldforge_jepa_client.tools.conformance.under_test import (
    BrokenPromiseError,
    NotApplicableError,
    ServerUnderTest,
)
from worldforge_jepa_client.wire.status import from_rpc_error

PROMISES: tuple[Promise, ...] = tuple(
    promise
    for subject in (models, scores, refusals, limits, streams, contexts, latents, plans)
    for promise in subject.PROMISES
)


_NONE = Credentials()


@dataclass(frozen=True)
class Outcome:
    """One promise held against a server: kept, broken or not applicable, and the reason of the latter two."""

    name: str
    sentence: str
    outcome: Literal["kept", "broken", "not applicable"]
    detail: str
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser, timeout=30.0)
    parser.add_argument("--model", default="", help="a served model's name (default: the server's default one)")
    parser.add_argument("--only", action="append", metavar="NAME", help="one promise by its name; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Check the promises, print a line for each, and return 0 if none is broken."""
    unknown = set(arguments.only or ()) - {promise.name for promise in PROMISES}
    if unknown:
        names = ", ".join(promise.name for promise in PROMISES)
        print(f"no promise is named {', '.join(sorted(unknown))}; expected some of {names}", file=sys.stderr)
        return 2
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    chosen = [promise for promise in PROMISES if promise.name in (arguments.only or [promise.name])]
    outcomes = []
    shown = connection.credentials(arguments)
    subject = await under_test(arguments.target, arguments.model, arguments.timeout, shown)
    for promise in chosen:
        outcomes.append(await hold(promise, subject))
        if not arguments.json:
            print(_line(outcomes[-1]), flush=True)
    print(json.dumps([asdict(each) for each in outcomes], indent=2) if arguments.json else _summary(outcomes))
    return int(any(each.outcome == "broken" for each in outcomes))


@dataclass(frozen=True)
class Subject:
    """A server to hold to its promises: how to reach it, and what it publishes of the model and names of others."""

    target: str
    shown: Credentials
    spec: ModelSpec
    others: list[str]
    timeout: float

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ServerUnderTest]:
        """Connect anew: a proxy that still holds what another promise sent would keep this one's calls waiting."""
        async with make_channel(self.target, self.shown.channel_credentials(), (), module=grpc.aio) as channel:
            shown_to: Any = MetadataChannel(channel, self.shown.call_metadata())
            yield ServerUnderTest(shown_to, self.spec, self.others, self.timeout)


async def under_test(target: str, model: str = "", timeout: float = 30.0, shown: Credentials = _NONE) -> Subject:
    """Ask a server for its models.

    Raises:
        JepaError: no server answers, it has no such model, or one whose action size it does not publish.
    """
    async with AsyncClient(target, timeout=timeout, **shown.keywords()) as client:
        spec = await client.model(model)
        others = [each.name for each in await client.models() if each.name != spec.name]
    if spec.action_dim <= 0:
        problem = f"model {spec.name} does not publish the size of its actions"
        raise FailedPreconditionError(problem, reason=Reason.NO_ACTION_DIM)
    return Subject(target, shown, spec, others, timeout)


async def hold(promise: Promise, subject: Subject) -> Outcome:
    """Check one promise; a call that fails unexpectedly breaks it, and so does one that does not end."""
    began = time.perf_counter()
    kind, detail = "kept", ""
    try:
        async with subject.connected() as server:
            await asyncio.wait_for(promise.check(server), 4 * subject.timeout)
    except NotApplicableError as reason:
        kind, detail = "not applicable", str(reason)
    except BrokenPromiseError as problem:
        kind, detail = "broken", str(problem)
    except JepaError as error:
        kind, detail = "broken", f"a response cannot be read: {error}"
    except grpc.RpcError as error:
        kind, detail = "broken", f"a call failed: {from_rpc_error(error, error.code().name)}"
    except asyncio.TimeoutError:
        kind, detail = "broken", f"the calls did not end within {4 * subject.timeout:g} s"
    return Outcome(promise.name, promise.sentence, kind, detail, time.perf_counter() - began)  # type: ignore[arg-type]


def _line(each: Outcome) -> str:
    broken = [f"  promised: {each.sentence}"] if each.outcome == "broken" else []
    return "\n".join([f"{each.outcome:14} {each.name:24} {each.seconds:6.2f} s  {each.detail}".rstrip(), *broken])


def _summary(outcomes: list[Outcome]) -> str:
    return ", ".join(_counts(outcomes))


def _counts(outcomes: list[Outcome]) -> Iterator[str]:
    for kind in ("kept", "broken", "not applicable"):
        yield f"{sum(each.outcome == kind for each in outcomes)} {kind}"
