"""Hosts in other languages: examples/hosts get Python's scores, and docs/hosts.md says what was measured of each."""

import asyncio
import json
import os
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from tests.conformance.middle import Break, Middle, in_front_of
from tests.interop.hosts import HOSTS, ROOT, SECONDS, build, run
from tests.security.certificates import TOKENS, WRONG_TOKEN
from worldforge_jepa_client import Client

PAGE = ROOT / "docs/hosts.md"
WRITES = "WRITE_HOSTS" in os.environ
SAMPLES, HORIZON, SIDE = 64, 6, 64
UNANSWERED = 0.3
"""Seconds for which a stream's headers are kept back from a host, to see whether it sends before they come."""


@dataclass(frozen=True)
class Measured:
    """Observations of a host.

    Attributes:
        answers: of its stream, from a server without TLS.
        waited: whether it waited for the stream's headers before it sent.
        secured: exit code, stdout and stderr at a server with TLS and tokens: with its CA and a token, with its CA and
            a wrong token, and with neither.
    """

    answers: list[dict]
    waited: bool
    secured: list[tuple[int, str, str]]

    @property
    def took_errors(self):
        return all((code, bool(out), bool(err)) == (1, False, True) for code, out, err in self.secured[1:])


class Slow(Middle):
    """Accepts a stream after a while, and notes whether its caller has waited for that."""

    def __init__(self, waited, channel, broken):
        super().__init__(channel, broken)
        self._waited = waited

    async def _stream(self, method, behind, data, context):
        messages = aiter(data)
        first = asyncio.ensure_future(anext(messages))
        done, _ = await asyncio.wait([first], timeout=UNANSWERED)
        self._waited.append(not done)
        await context.send_initial_metadata(())
        async for answer in super()._stream(method, behind, after(first, messages), context):
            yield answer


async def after(first, messages):
    yield await first
    async for message in messages:
        yield message


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: host.language)
def host(request):
    build(request.param)
    return request.param


@pytest.fixture(scope="module")
def measured(host, server, secured_server, credentials):
    async def measure():
        waited, cacert = [], {"WORLDFORGE_JEPA_CACERT": credentials.cacert}
        async with in_front_of(server.target, Break(late_headers=True), partial(Slow, waited)) as target:
            code, out, err = await run(host, target)
        assert (code, err) == (0, "")
        secured = [
            await run(host, secured_server.target, **cacert, WORLDFORGE_JEPA_TOKEN=TOKENS["arm"]),
            await run(host, secured_server.target, **cacert, WORLDFORGE_JEPA_TOKEN=WRONG_TOKEN),
            await run(host, secured_server.target),
        ]
        return Measured(json.loads(out), waited == [True], secured)

    return asyncio.run(measure())


@pytest.fixture(scope="module")
def expected(server):
    """The result of the request that the hosts send."""
    with Client(server.target, timeout=SECONDS) as client:
        actions = np.arange(SAMPLES * HORIZON * client.model().action_dim)
        return client.score(
            observation={"visual": frame(0), "proprio": [12.0, 32.0]},
            goal={"visual": frame(100), "proprio": [48.0, 32.0]},
            action_candidates=((actions * 37 % 64 - 32) / 16).reshape(1, SAMPLES, HORIZON, -1),
        )


def frame(shift):
    return ((np.arange(3 * SIDE * SIDE) + shift) % 256).astype(np.uint8).reshape(1, 1, 3, SIDE, SIDE)


def same(answers, expected):
    """Whether the first two answers of a stream are the expected result, bit by bit."""
    scores = [(np.array(each["score"]["scores"], np.float32), int(each["score"]["best_index"])) for each in answers[:2]]
    return all(np.array_equal(each, expected.scores) and best == expected.best_index for each, best in scores)


def test_a_host_gets_the_scores_that_python_gets(measured, expected):
    assert same(measured.answers, expected)


def test_a_host_tells_an_error_in_a_stream_from_a_failed_call(measured):
    error = measured.answers[2]["error"]
    assert (error["reason"], error["field"]) == ("INVALID_SHAPE", "action_candidates")


def test_a_host_opens_its_stream_before_it_sends(measured):
    assert measured.waited


def test_a_host_shows_a_token_and_checks_the_certificate(measured, expected):
    code, out, err = measured.secured[0]
    assert code == 0, err  # Node warns of a certificate for an IP address
    assert same(json.loads(out), expected)
    assert measured.took_errors, measured.secured


async def test_a_host_reports_an_unreachable_server(host, dead_target):
    code, out, err = await run(host, dead_target)
    assert (code, out) == (1, "")
    assert err


def test_the_page_says_what_was_measured(host, measured, expected):
    name = f"[{host.language}](../examples/hosts/{host.source})"
    proved = (same(measured.answers, expected), measured.waited, not measured.secured[0][0] and measured.took_errors)
    said = " | ".join("yes" if each else "no" for each in proved)
    row = f"| {name} | `{host.build}` | `{host.run} TARGET` | {host.toolchain} | {said} |"
    page = PAGE.read_text(encoding="utf-8")
    (written,) = (line for line in page.splitlines() if line.startswith(f"| [{host.language}]"))
    if WRITES:
        PAGE.write_text(page.replace(written, row), encoding="utf-8")
    else:  # the toolchain may be another one here
        assert written.split("|")[:4] + written.split("|")[5:] == row.split("|")[:4] + row.split("|")[5:]
