# Made from worldforge_jepa_client/rpc/aio/base_client.py by scripts/async_to_sync.py.
"""The connection of a client, and the calls that neither score nor plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Context, LatentFrames, UnrollCall
from worldforge_jepa_client.errors import DeadlineExceededError, UnavailableError
from worldforge_jepa_client.inputs.arrays import as_observation
from worldforge_jepa_client.inputs.build import build_named_scene, build_scene, build_unroll_call, context_id
from worldforge_jepa_client.inputs.scalars import as_seconds, as_str
from worldforge_jepa_client.rpc import operations
from worldforge_jepa_client.rpc.channel import (
    DEFAULT_TARGET,
    READY_POLL_SECONDS,
    ChannelOptions,
    checked_target,
    deadline_after,
    keepalive_options,
    remaining,
    retry_options,
)
from worldforge_jepa_client.rpc.credentials import Credentials, FilePath
from worldforge_jepa_client.rpc.operations import Operation, Specs
from worldforge_jepa_client.rpc.sync.connection import Connection, sleep

if TYPE_CHECKING:
    from typing_extensions import Self

_R = TypeVar("_R")


class BaseClient:
    """Models, contexts and latents; the base of `Client`."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = 10.0,
        shared_memory: bool = False,
        token: str | None = None,
        cacert: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
        affinity: str | None = None,
        keepalive: float | None = None,
        retry: bool = False,
        options: ChannelOptions = (),
        channel: Any = None,
    ) -> None:
        self.target, self.timeout = checked_target(target), as_seconds(timeout, "timeout")
        credentials = Credentials(token, cacert, cert, key, metadata, affinity)
        self._specs: Specs = {}
        self._connection = Connection(
            target,
            shared_memory=shared_memory,
            credentials=credentials if channel is not None else credentials.or_environment(target),
            options=(*keepalive_options(keepalive), *retry_options(retry), *options),
            channel=channel,
        )

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
        operation = operations.create_context(
            build_scene(observation, goal, action_history), as_str(model, "model"), self._specs
        )
        return self._run(operation, self._deadline(timeout))

    def delete_context(self, context: Context | str, *, timeout: float | None = None) -> None:
        """Have the server forget a context; NotFoundError where it has none."""
        self._run(operations.delete_context(context_id(context)), self._deadline(timeout))

    def encode(
        self, *, observation: object, model: str = "", dtype: str = "float32", timeout: float | None = None
    ) -> LatentFrames:
        """Return an observation's latents (1, T, N, D), sent as "float32", "float16" or "bfloat16"."""
        frames = as_observation(observation, "observation")
        operation = operations.encode(frames, as_str(model, "model"), dtype, self._specs)
        return self._run(operation, self._deadline(timeout))

    def unroll(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        actions_are_normalized: bool = True,
        steps: Sequence[int] = (),
        samples: Sequence[int] = (),
        dtype: str = "float32",
        model: str = "",
        timeout: float | None = None,
    ) -> Iterator[tuple[int, LatentFrames]]:
        """Predict latents; yields (step, latents of the chosen candidates (S, 1, N, D)), steps counted from 1.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            observation: as for `score`.
            action_history: as for `score`.
            context: as for `score`.
            actions_are_normalized: as for `score`.
            steps: the steps to return, from 1 to H, rising; none means all.
            samples: the candidates to unroll, from 0 to S - 1; none means all.
            dtype: "float32", "float16" or "bfloat16": how latents are sent.
            model: as for `score`.
            timeout: seconds for the whole call; None is the client's, inf none.
        """
        call = build_unroll_call(
            build_named_scene(context, observation, None, action_history),
            action_candidates,
            actions_are_normalized=actions_are_normalized,
            steps=steps,
            samples=samples,
            dtype=dtype,
            model=model,
        )
        return self._predictions(call, self._seconds(timeout))

    def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """Return a served model's contract; an empty name is the server's default model."""
        return self._run(operations.model(name), self._deadline(timeout))

    def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """Return the contracts of all served models, the default one first."""
        return self._run(operations.models(), self._deadline(timeout))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Return once the server answers with its models loaded.

        Args:
            timeout: seconds to wait for it; None is the client's, inf none.

        Raises:
            UnavailableError: it refused, or was still loading, when the time was over.
            DeadlineExceededError: it did not answer at all in that time.
        """
        deadline, unavailable = self._deadline(timeout), None
        while True:
            try:
                self._run(operations.models(), deadline)
                return
            except DeadlineExceededError as late:  # the last try had little time; why the others failed says more
                raise unavailable or late from None
            except UnavailableError as error:
                if remaining(deadline) == 0:
                    raise
                unavailable = error
                sleep(READY_POLL_SECONDS)

    def close(self) -> None:
        """Close the connection; calls, sessions and plans that are running end with CallCancelledError at once."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else as_seconds(timeout, "timeout")

    def _deadline(self, timeout: float | None) -> float:
        return deadline_after(self.timeout if timeout is None else timeout)

    def _run(self, operation: Operation[_R], deadline: float) -> _R:
        response = None
        while True:
            try:
                method, request = operation.send(response)
            except StopIteration as stop:
                result: _R = stop.value
                return result
            response = self._connection.call(method, request, deadline)

    def _predictions(self, call: UnrollCall, seconds: float) -> Iterator[tuple[int, LatentFrames]]:
        deadline = deadline_after(seconds)
        request = self._run(operations.unroll(call, self._specs), deadline)
        responses = self._connection.stream("Unroll", request, deadline)
        try:
            while (response := responses.read()) is not None:
                yield response.step, wire.latent_frames(response.latents)
        finally:
            responses.cancel()
