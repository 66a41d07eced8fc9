"""Tokens: who may call, which models, and what changes when the file does."""

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.security import certificates
from tests.security.certificates import TOKENS, WRONG_TOKEN
from tests.support.in_process import DEADLINE, running
from tests.support.scenes import candidates, scene
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.errors import PermissionDeniedError, UnauthenticatedError
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_server.rpc.security.files import CredentialsError
from worldforge_jepa_server.rpc.security.tokens import Tokens

REFUSED = [(None, "NO_TOKEN"), (WRONG_TOKEN, "INVALID_TOKEN"), (TOKENS["arm"][:-1], "INVALID_TOKEN")]


@pytest.fixture
def files(tmp_path):
    return certificates.make(tmp_path)


@pytest.fixture
def secured(secured_server, credentials):
    """Makes clients of the server with TLS and tokens."""
    return lambda token: Client(secured_server.target, timeout=DEADLINE, cacert=credentials.cacert, token=token)


@pytest.fixture
def channel(secured_server, credentials):
    roots = grpc.ssl_channel_credentials(credentials.read("ca.pem"))
    with grpc.secure_channel(secured_server.target, roots) as channel:
        yield channel


def test_a_token_serves_unary_calls_sessions_and_plans(secured):
    with secured(TOKENS["arm"]) as client:
        scores = client.score(**scene(), action_candidates=candidates()).scores
        with client.session(**scene()) as session:
            np.testing.assert_allclose(session.score(candidates()).scores, scores, rtol=1e-5)
        assert client.plan(**scene(), horizon=2, samples=4, elites=2, iterations=1).result().best_actions.shape[0] == 2


@pytest.mark.parametrize(("token", "reason"), REFUSED)
def test_without_one_of_its_tokens_each_kind_of_call_is_refused(secured, token, reason):
    with secured(token) as client:
        for call in (
            client.models,
            lambda: client.session(**scene()).__enter__(),
            lambda: client.plan(**scene()).result(),
        ):
            with pytest.raises(UnauthenticatedError) as caught:
                call()
            assert caught.value.reason == reason
            assert str(token) not in str(caught.value)


def test_a_refused_stream_ends_although_the_client_sends_nothing(channel):
    with pytest.raises(grpc.RpcError) as caught:
        next(jepa_pb2_grpc.WorldModelServiceStub(channel).ScoreStream(iter([]), timeout=DEADLINE))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_is_for_the_models_that_its_line_names(secured):
    with secured(TOKENS["arm"]) as arm, secured(TOKENS["camera"]) as camera:
        assert [spec.name for spec in arm.models()] == ["tiny", "other"]
        assert [spec.name for spec in camera.models()] == ["other"]
        assert camera.model().name == "other"  # its default
        context = arm.create_context(**scene(), model="tiny")
        for call in (
            lambda: camera.model("tiny"),
            lambda: camera.score(**scene(), action_candidates=candidates(), model="tiny"),
            lambda: camera.score(context=context, action_candidates=candidates()),
            lambda: camera.plan(**scene(), model="tiny").result(),
        ):
            with pytest.raises(PermissionDeniedError, match="the token is not for 'tiny'"):
                call()


def test_a_stream_may_use_the_models_of_its_token(channel):
    request = jepa_pb2.ScoreStreamRequest(model="tiny", context={})
    metadata = [("authorization", f"bearer {TOKENS['camera']}")]
    answers = jepa_pb2_grpc.WorldModelServiceStub(channel).ScoreStream(
        iter([request]), metadata=metadata, timeout=DEADLINE
    )
    assert next(answers).error.reason == "MODEL_NOT_ALLOWED"


def test_health_is_open_and_reflection_needs_a_token(channel):
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert health.status == health_pb2.HealthCheckResponse.SERVING

    def services(*metadata):
        request = ServerReflectionRequest(list_services="")
        stub = ServerReflectionStub(channel)
        return next(stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=DEADLINE))

    assert services(("authorization", f"Bearer {TOKENS['arm']}")).list_services_response.service
    with pytest.raises(grpc.RpcError) as caught:
        services()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_changed_file_counts_from_the_next_call_on(files, caplog):
    async with (
        running(token_file=files.token_file) as server,
        AsyncClient(server.target, token=TOKENS["arm"]) as arm,
        AsyncClient(server.target, token=WRONG_TOKEN) as newcomer,
    ):
        await arm.models()
        files.write("tokens", "a line of too many words\n")
        await arm.models()
        assert "the last ones stay" in caplog.text
        files.write("tokens", f"newcomer {WRONG_TOKEN}\n")
        await newcomer.models()
        with pytest.raises(UnauthenticatedError):
            await arm.models()


async def test_a_stream_ends_at_its_next_message_once_its_token_is_gone(files):
    async with (
        running(token_file=files.token_file) as server,
        AsyncClient(server.target, token=TOKENS["arm"], timeout=DEADLINE) as arm,
        arm.session(**scene()) as session,
    ):
        await session.score(candidates())
        plan = arm.plan(**scene(), horizon=2, samples=4, elites=2, iterations=10_000)
        await anext(plan)
        files.write("tokens", f"arm {WRONG_TOKEN}\n")
        for call in (session.score(candidates()), plan.result()):
            with pytest.raises(UnauthenticatedError) as caught:
                await call
            assert caught.value.reason == "INVALID_TOKEN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no token; expected lines of NAME TOKEN"),
        ("arm\n", "line 1: has 1 words"),
        ("# arm\narm short\n", "line 2: the token of arm needs at least 16"),
        (f"a {'x' * 16}\nb {'x' * 16}\n", "two lines have the same token"),
        (f"a {'x' * 16}\na {'y' * 16}\n", "two lines have the same name"),
    ],
)
def test_a_malformed_file_is_refused_with_the_line_but_not_the_token(files, text, expected):
    with pytest.raises(CredentialsError, match=expected) as caught:
        Tokens(files.write("tokens", text))
    assert "short" not in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(CredentialsError, match="--token-file '/nope': No such file or directory"):
        Tokens("/nope")


async def test_without_a_propagated_principal_no_model_may_be_used(files):
    async with running(token_file=files.token_file) as server:
        with pytest.raises(PermissionDeniedError):
            server.runtime.spec("tiny")
