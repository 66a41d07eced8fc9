"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Context, LatentFrames, ScoreResult
from worldforge_jepa_client.errors import DeadlineExceededError, UnavailableError
from worldforge_jepa_client.inputs.arrays import as_observation
from worldforge_jepa_client.inputs.build import (
    build_named_scene,
    build_plan_call,
    build_scene,
    build_score_call,
    build_unroll_call,
    context_id,
)
from worldforge_jepa_client.inputs.keywords import PlanKeywords, ScoreKeywords, UnrollKeywords
from worldforge_jepa_client.rpc import operations
from worldforge_jepa_client.rpc.channel import (
    DEFAULT_TARGET,
    READY_POLL_SECONDS,
    channel_options,
    deadline_after,
    remaining,
)
from worldforge_jepa_client.rpc.operations import Specs, Steps
from worldforge_jepa_client.rpc.plan_stream import Planning
from worldforge_jepa_client.rpc.session import Session
from worldforge_jepa_client.rpc.session_scene import build_session_scene
from worldforge_jepa_client.shm.channel import SharedChannel
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_rpc_error

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

_R = TypeVar("_R")


class Client:
    """Scores candidates and plans on a worldforge-jepa server. Thread-safe; every call has a deadline.

    Every method raises a `JepaError`, one of the subclasses in `errors`. Input is checked against the model's spec
    before it is sent.

    Args:
        target: "host:port" or "unix:/path".
        timeout: seconds a call may take, unless the call says otherwise.
        shared_memory: pass the large tensors of `score`, sessions, `create_context` and `encode` through /dev/shm, to a
            server on the same host that was started with --shared-memory; Linux only.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 10.0, shared_memory: bool = False) -> None:
        self.target, self.timeout = target, timeout
        self._specs: Specs = {}
        channel = grpc.insecure_channel(target, options=channel_options(target))
        self._channel: Any = SharedChannel(channel) if shared_memory else channel
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)

    def score(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        goal: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[ScoreKeywords],
    ) -> ScoreResult:
        """Score candidates in one scene; lower is nearer the goal.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            observation: {"visual", "proprio"} or a bare visual array: visual (1, T, 3, height, width) in 0..255,
                proprio (1, T, P) raw; leading axes of size 1 may be left out.
            goal: likewise; of several frames the last counts.
            context: from `create_context`, instead of observation, goal and action history.
            timeout: seconds for the whole call.
            **keywords: see `ScoreKeywords`.
        """
        scene = build_named_scene(context, observation, goal, keywords.get("action_history"))
        return self._run(
            operations.score_steps(build_score_call(scene, action_candidates, keywords), self._specs), timeout
        )

    def session(
        self, *, observation: object, goal: object, timeout: float | None = None, **keywords: Unpack[ScoreKeywords]
    ) -> Session:
        """Score many candidates in one scene: it is sent once, and what follows costs less than `score` does.

        Args:
            observation: as for `score`.
            goal: as for `score`.
            timeout: seconds each request may take.
            **keywords: see `ScoreKeywords`.

        Returns:
            A context manager: `with client.session(...) as session: session.score(candidates)`.
        """
        scene = build_session_scene(observation, goal, keywords, self._specs)
        seconds = self.timeout if timeout is None else timeout
        self._run(scene.check_steps(), seconds)
        return Session(scene, self._run, self._stub.ScoreStream, target=self.target, timeout=seconds)

    def plan(
        self,
        *,
        observation: object = None,
        goal: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[PlanKeywords],
    ) -> Planning:
        """Plan on the server, next to the model.

        Args:
            observation: as for `score`.
            goal: as for `score`.
            context: as for `score`.
            timeout: seconds after which the best plan so far is the result.
            **keywords: see `PlanKeywords`.

        Returns:
            An iterator over the progress, one `PlanProgress` each iteration, with the final plan as its `result()`.
        """
        deadline = self._deadline(timeout)
        scene = build_named_scene(context, observation, goal, keywords.get("action_history"))
        request = self._run(operations.plan_steps(build_plan_call(scene, keywords), self._specs), remaining(deadline))
        return Planning(self._stub.Plan(request, timeout=remaining(deadline)), self.target)

    def create_context(
        self,
        *,
        observation: object,
        goal: object,
        action_history: object = None,
        model: str = "",
        timeout: float | None = None,
    ) -> Context:
        """Have the server encode a scene and keep it, to be named by id in `score`, `unroll` and `plan`."""
        scene = build_scene(observation, goal, action_history)
        return self._run(operations.create_context_steps(scene, model, self._specs), timeout)

    def delete_context(self, context: Context | str, *, timeout: float | None = None) -> None:
        """Have the server forget a context; NotFoundError where it has none."""
        self._run(operations.delete_context_steps(context_id(context)), timeout)

    def encode(
        self, *, observation: object, model: str = "", dtype: str = "float32", timeout: float | None = None
    ) -> LatentFrames:
        """Return an observation's latents (1, T, N, D), sent as "float32", "float16" or "bfloat16"."""
        frames = as_observation(observation, "observation")
        return self._run(operations.encode_steps(frames, model, dtype, self._specs), timeout)

    def unroll(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[UnrollKeywords],
    ) -> Iterator[tuple[int, LatentFrames]]:
        """Predict latents; yields (step, latents of the chosen candidates (S, 1, N, D)), steps counted from 1.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            observation: as for `score`.
            context: as for `score`.
            timeout: seconds for the whole call.
            **keywords: see `UnrollKeywords`.
        """
        deadline = self._deadline(timeout)
        scene = build_named_scene(context, observation, None, keywords.get("action_history"))
        call = build_unroll_call(scene, action_candidates, keywords)
        request = self._run(operations.unroll_steps(call, self._specs), remaining(deadline))
        return self._predictions(request, deadline)

    def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """Return a served model's contract; an empty name is the server's default model."""
        return self._run(operations.model_steps(name), timeout)

    def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """Return the contracts of all served models, the default one first."""
        return self._run(operations.models_steps(), timeout)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server answers with its models loaded.

        Raises:
            UnavailableError: it refused, or was still loading, when `timeout` seconds were over.
            DeadlineExceededError: it said nothing at all in that time.
        """
        deadline, unavailable = deadline_after(timeout), None
        while True:
            try:
                self.models(timeout=remaining(deadline))
                return
            except DeadlineExceededError as late:  # the last try had little time; why the others failed says more
                raise unavailable or late from None
            except UnavailableError as error:
                if not remaining(deadline):
                    raise
                unavailable = error
                time.sleep(READY_POLL_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self, timeout: float | None) -> float:
        return deadline_after(self.timeout if timeout is None else timeout)

    def _run(self, todo: Steps[_R], timeout: float | None) -> _R:
        deadline = self._deadline(timeout)
        response = None
        while True:
            try:
                method, request = todo.send(response)
            except StopIteration as stop:
                result: _R = stop.value
                return result
            try:
                response = getattr(self._stub, method)(request, timeout=remaining(deadline))
            except grpc.RpcError as error:
                raise from_rpc_error(error, self.target) from None

    def _predictions(self, request: Any, deadline: float) -> Iterator[tuple[int, LatentFrames]]:
        responses = self._stub.Unroll(request, timeout=remaining(deadline))
        try:
            for response in responses:
                yield response.step, wire.latent_frames(response.latents)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.target) from None
        finally:
            responses.cancel()
