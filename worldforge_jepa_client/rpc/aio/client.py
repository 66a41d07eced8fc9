"""The client: calls, sessions and plans on one connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import Context, PlanCall, ScoreResult
from worldforge_jepa_client.inputs.build import (
    build_extra_info,
    build_named_scene,
    build_options,
    build_plan_call,
    build_planner_options,
    build_scene,
    build_score_call,
)
from worldforge_jepa_client.inputs.scalars import as_str
from worldforge_jepa_client.planning import Method
from worldforge_jepa_client.rpc import operations
from worldforge_jepa_client.rpc.aio.base_client import AsyncBaseClient
from worldforge_jepa_client.rpc.aio.connection import Responses
from worldforge_jepa_client.rpc.aio.plan_stream import AsyncPlanStream
from worldforge_jepa_client.rpc.aio.session import AsyncSession
from worldforge_jepa_client.rpc.channel import deadline_after
from worldforge_jepa_client.rpc.session_scene import SessionScene


class AsyncClient(AsyncBaseClient):
    """Scores candidates and plans on a worldforge-jepa server.

    The blocking client is thread-safe; the awaited one has the same methods, and belongs to the event loop of its
    first call. Every call has a deadline. Every method raises a `JepaError`, one of the subclasses in `errors`.

    Leading axes of size 1 may be left out of an array. Arguments are converted when a method is called. They are
    checked against the model's spec, and sent, by the call itself; `session`, `plan` and `unroll` return at once and do
    both when they are first used: when the session is entered or has its first request, and when the first progress,
    step or result is asked for. Their time runs from then on.

    The environment's WORLDFORGE_JEPA_TOKEN, WORLDFORGE_JEPA_CACERT, WORLDFORGE_JEPA_CLIENT_CERT and
    WORLDFORGE_JEPA_CLIENT_KEY stand for token, cacert, cert and key that are None; an empty text is none. The
    environment's token goes to another host over TLS only.

    Args:
        target: "host:port" or "unix:/path".
        timeout: seconds a call may take, unless the call says otherwise; inf is no deadline.
        shared_memory: pass the large tensors of `score`, sessions, `create_context` and `encode` through /dev/shm, to a
            server on the same host that was started with --shared-memory; Linux only.
        token: sent with each call as `authorization: Bearer TOKEN`; without TLS it can be read on the way.
        cacert: file of the certificates, PEM, that sign the server's, or "system" for those that gRPC trusts by itself;
            with it the client speaks TLS.
        cert: file of the client's own certificate, PEM, for a server that asks for one.
        key: file of its private key, PEM.
        metadata: further pairs (key, value) of each call.
        affinity: names this client, which shares the server with others as one, and which a proxy that looks at
            `session_id` keeps at one server; clients with the same name count as one. None is a random name.
        keepalive: seconds after which a silent connection is asked whether the server lives, at least 1; within as
            long again, at most 5 more, a lost one is noticed. For servers that allow it, as this project's does; None
            asks every 5 minutes, and only while a call runs, which every server allows.
        retry: whether gRPC sends a unary call again that is UNAVAILABLE, to another server of the target where there is
            one: up to 5 times, within some 2 seconds. All unary calls but `delete_context` are safe to repeat.
        options: of gRPC's channel, e.g. ("grpc.ssl_target_name_override", "name"); they go before this client's own.
        channel: a `grpc.Channel`, or awaited a `grpc.aio.Channel`, to use instead of a new one; the client
            closes it. Certificates and options are then the channel's, and the environment is not read.

    Raises:
        InvalidArgumentError: the target has no port or is of another protocol, the timeout is no duration, a file
            cannot be used, token or metadata cannot be sent, or the environment's token would travel in the clear.
    """

    async def score(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        goal: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        objective: Objective | str | None = None,
        proprio_weight: float | None = None,
        actions_are_normalized: bool = True,
        extra_info: Mapping[str, Any] | None = None,
        model: str = "",
        timeout: float | None = None,
    ) -> ScoreResult:
        """Score candidates in one scene; lower is nearer the goal.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            observation: {"visual": (1, T, 3, height, width) in 0..255, "proprio": (1, T, P) raw}, or visual alone.
            goal: likewise; of several frames the last counts.
            action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
            context: from `create_context`, instead of observation, goal and action history.
            objective: "l2", "l1" or "cosine"; None is the model's default.
            proprio_weight: weight of the proprio features, 0 to 1e6; None is the model's default.
            actions_are_normalized: False has the server normalize candidates and history.
            extra_info: JSON handed to models with a scoring method of their own.
            model: a served model's name; empty is that of the context, or else the server's default.
            timeout: seconds for the whole call; None is the client's, inf none.
        """
        call = build_score_call(
            build_named_scene(context, observation, goal, action_history),
            action_candidates,
            objective=objective,
            proprio_weight=proprio_weight,
            actions_are_normalized=actions_are_normalized,
            extra_info=extra_info,
            model=model,
        )
        return await self._run(operations.score(call, self._specs), self._deadline(timeout))

    def session(
        self,
        *,
        observation: object,
        goal: object,
        action_history: object = None,
        objective: Objective | str | None = None,
        proprio_weight: float | None = None,
        actions_are_normalized: bool = True,
        extra_info: Mapping[str, Any] | None = None,
        model: str = "",
        timeout: float | None = None,
    ) -> AsyncSession:
        """Open a session: the scene is sent once, and later requests carry only candidates.

        Args:
            observation: as for `score`, as are the other arguments.
            goal: as for `score`.
            action_history: as for `score`.
            objective: for every request that names none of its own.
            proprio_weight: likewise.
            actions_are_normalized: likewise.
            extra_info: likewise.
            model: a served model's name; empty is the server's default.
            timeout: seconds each request may take; None is the client's, inf none.

        Returns:
            A context manager: `async with client.session(...) as session: await session.score(candidates)`.
        """
        scene = SessionScene(
            build_scene(observation, goal, action_history),
            build_options(objective, proprio_weight, actions_are_normalized),
            build_extra_info(extra_info),
            as_str(model, "model"),
            self._specs,
        )
        return AsyncSession(scene, self._connection, self._run, self._seconds(timeout))

    def plan(
        self,
        *,
        observation: object = None,
        goal: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        method: Method = "cem",
        horizon: int | None = None,
        iterations: int | None = None,
        samples: int | None = None,
        elites: int | None = None,
        initial_std: npt.ArrayLike | None = None,
        min_std: npt.ArrayLike | None = None,
        low: npt.ArrayLike | None = None,
        high: npt.ArrayLike | None = None,
        momentum: float | None = None,
        temperature: float | None = None,
        prior_fraction: float | None = None,
        keep_best: bool | None = None,
        initial_mean: object = None,
        seed: int = 0,
        on_device: bool = False,
        objective: Objective | str | None = None,
        proprio_weight: float | None = None,
        actions_are_normalized: bool = True,
        model: str = "",
        timeout: float | None = None,
    ) -> AsyncPlanStream:
        """Plan on the server, next to the model.

        The keywords from `horizon` to `keep_best` are the fields of `planning.PlannerOptions`; those left out are the
        model's published settings, then the method's defaults.

        Args:
            observation: as for `score`.
            goal: as for `score`.
            action_history: as for `score`.
            context: as for `score`.
            method: "cem", "icem" or "mppi".
            horizon: H, model steps.
            iterations: how often candidates are drawn and the distribution is refitted.
            samples: S, candidates of one iteration.
            elites: K, candidates of the refit.
            initial_std: deviation of the first draw, one number or one for each of the A entries.
            min_std: floor of the deviation, likewise.
            low: lower bound of the actions, likewise.
            high: upper bound of the actions, likewise.
            momentum: share of the last mean and deviation that a refit keeps, in [0, 1).
            temperature: of MPPI's weights, in units of the score.
            prior_fraction: share of the first candidates drawn around zero rather than around `initial_mean`.
            keep_best: whether the best candidate so far is among the next.
            initial_mean: the plan to start from, (H, A), e.g. of `planning.shift_plan`; None is zeros.
            seed: equal seeds give equal plans, from 0 to 2**64 - 1.
            on_device: draw and refit on the model's device; other random numbers than on the host.
            objective: as for `score`.
            proprio_weight: as for `score`.
            actions_are_normalized: of the action history, as for `score`; refused without one.
            model: as for `score`.
            timeout: seconds after which the best plan so far is the result; None is the client's, inf none.

        Returns:
            An iterator over the progress, one `PlanProgress` each iteration, with the final plan as its `result()`.
        """
        planner = build_planner_options(
            horizon=horizon,
            iterations=iterations,
            samples=samples,
            elites=elites,
            initial_std=initial_std,
            min_std=min_std,
            low=low,
            high=high,
            momentum=momentum,
            temperature=temperature,
            prior_fraction=prior_fraction,
            keep_best=keep_best,
        )
        call = build_plan_call(
            build_named_scene(context, observation, goal, action_history),
            planner,
            build_options(objective, proprio_weight, actions_are_normalized),
            method=method,
            seed=seed,
            initial_mean=initial_mean,
            on_device=on_device,
            model=model,
        )
        seconds = self._seconds(timeout)
        return AsyncPlanStream(lambda: self._start_plan(call, deadline_after(seconds)))

    async def _start_plan(self, call: PlanCall, deadline: float) -> Responses:
        request = await self._run(operations.plan(call, self._specs), deadline)
        return self._connection.stream("Plan", request, deadline)
