"""Unrolls: predicted latents, computed chunk by chunk and kept on the host until the client reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from functools import partial

from worldforge_jepa_client.contract.types import LatentFrames, UnrollCall
from worldforge_jepa_client.errors import OutOfRangeError, ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.encoding import EncodedScene, SceneHandle
from worldforge_jepa_server.runtime import jobs
from worldforge_jepa_server.runtime.model_table import Deployment
from worldforge_jepa_server.scheduling.engine import Caller, Engine, FunctionJob

_Answers = dict[int, list[LatentFrames]]
_RETRY_SECONDS = 1.0


class Unrolls:
    """Unrolls checked calls within the memory budget.

    A step's answer has all samples, and a model keeps more for a candidate while it is unrolled (its window, its keys
    and values) than the answers take. So one chunk of candidates is unrolled to the end at a time, whatever the number
    of calls, and only its answers are kept. The answers of all calls, until the last one is read, fit the budget.

    Args:
        engine: runs each step of a chunk; others score in between.
        config: has the memory budget, and the largest message.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine, self._config = engine, config
        self._one_chunk = asyncio.Lock()
        self._held = 0

    async def run(
        self, deployed: Deployment, scene: SceneHandle, call: UnrollCall, caller: Caller
    ) -> AsyncGenerator[tuple[int, LatentFrames], None]:
        """Yield (step, latents); nothing of the queue or the device is held while an answer waits for its reader."""
        _, samples, horizon, _ = call.action_candidates.shape
        chosen = list(call.samples) or list(range(samples))
        with contextlib.ExitStack() as held:
            with self._engine.admit(len(chosen) * max(call.steps, default=horizon)):
                job = FunctionJob(lambda _: scene.encoded(), scene.frames)
                where, _ = await self._engine.run(job, deployed.spec.name, caller)
                frame = jobs.frame_bytes(where, call.dtype)
                held.enter_context(self._hold(frame, len(chosen), len(call.steps) or horizon))
                answers = await self._predict(deployed, where, chosen, call, caller)
            for step in list(answers):
                # A step's latents can be many megabytes, whose copy would hold up the event loop.
                yield step, await asyncio.to_thread(jobs.joined, answers.pop(step))

    async def _predict(
        self, deployed: Deployment, where: EncodedScene, chosen: list[int], call: UnrollCall, caller: Caller
    ) -> _Answers:
        """Return the latents of each step that was asked for, in the chunks' order."""
        model, last = deployed.latent_model(), max(call.steps, default=call.action_candidates.shape[2])
        answers: _Answers = {}
        start = 0
        while start < len(chosen):
            async with self._one_chunk:
                part = chosen[start : start + deployed.runner.chunk]
                steps = jobs.predictions(model, where, part, call)
                for step in range(1, last + 1):
                    job = FunctionJob(partial(jobs.next_step, steps, step == last), len(part))
                    latents, _ = await self._engine.run(job, deployed.spec.name, caller)
                    if latents is not None:
                        answers.setdefault(step, []).append(latents)
                start += len(part)
        return answers

    @contextlib.contextmanager
    def _hold(self, frame: int, samples: int, steps: int) -> Iterator[None]:
        """Hold room for a call's answers, with frames of `frame` bytes.

        Raises:
            OutOfRangeError: a step is too large for a message, or all steps for the memory budget.
            ResourceExhaustedError: the answers of other calls leave no room.
        """
        budget = self._config.memory_budget
        _check_size(frame, samples, self._config.max_message_bytes, "a step of a candidate, and a message has")
        _check_size(frame * steps, samples, budget, f"{steps} steps of a candidate, and --memory-budget is")
        size = frame * steps * samples
        if self._held + size > budget:
            raise ResourceExhaustedError(
                f"latents that are not read yet take {self._held} bytes of {budget}; this call's take {size}",
                reason=Reason.QUEUE_FULL,
                retry_after=_RETRY_SECONDS,
            )
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def _check_size(each: int, samples: int, most: int, words: str) -> None:
    """Refuse more candidates than `most` bytes hold, at `each` bytes a candidate."""
    if each * samples > most:
        raise OutOfRangeError(
            f"chooses {samples} candidates; latents take {each} bytes for {words} {most}: at most {most // each} fit",
            reason=Reason.LIMIT_EXCEEDED,
            field="samples",
        )
