"""Score: order, direction, repetition, options."""

from __future__ import annotations

import numpy as np

from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import NotApplicableError, ServerUnderTest, close, expect

PROMISES = Promises()
_RAW = ScoreOptions(actions_are_normalized=False)


@PROMISES("S scores, in the order of the candidates.")
async def score_order(server: ServerUnderTest) -> None:
    """Candidates in another order have their scores in that order."""
    candidates, turned = server.candidates(), server.candidates()[:, ::-1]
    scores = await server.score(server.score_request(action_candidates=candidates))
    expect(len(scores) == server.samples, f"{len(scores)} scores for {server.samples} candidates")
    again = await server.score(server.score_request(action_candidates=turned))
    expect(close(again[::-1], scores), f"candidates in reverse order score {again}; expected the reverse of {scores}")
    if server.samples > 1:
        expect(len(set(scores.tolist())) > 1, f"different candidates have the same score, {scores[0]}")


@PROMISES("Stateless, deterministic, safe to repeat.")
async def score_repeats(server: ServerUnderTest) -> None:
    """Equal requests have equal scores, bit by bit."""
    first, again = [await server.score(server.score_request()) for _ in range(2)]
    expect(np.array_equal(first, again), f"the same request scored {first}, then {again}")


@PROMISES("The index of the best candidate; the first one where several are equal, unless the model chose itself.")
async def score_best_index(server: ServerUnderTest) -> None:
    """`best_index` is the first of the best scores."""
    if server.spec.reads_extra_info:
        raise NotApplicableError("the model chooses itself")
    candidates = server.candidates()
    twice = np.concatenate([candidates, candidates], axis=1)[:, : server.spec.limits.max_samples]
    response = await server.call("Score", server.score_request(action_candidates=twice))
    scores = np.array(response.scores, np.float32)
    best = int(scores.argmin())
    equal = f"scores {scores.tolist()}"
    expect(response.best_index == best, f"best_index is {response.best_index} of {equal}; expected {best}")


@PROMISES("The direction of the scores. True for every latent distance.")
async def score_direction(server: ServerUnderTest) -> None:
    """A latent distance is lower where a plan is better."""
    server.needs_latents()
    response = await server.call("Score", server.score_request())
    expect(response.lower_is_better, "lower_is_better is false; expected true of a latent distance")


@PROMISES("What was computed: score_units, model, actions_are_normalized, device, and what is known of source")
async def score_metadata(server: ServerUnderTest) -> None:
    """The metadata name the model and the units of the scores."""
    metadata = (await server.call("Score", server.score_request())).metadata
    missing = [name for name in ("score_units", "model", "actions_are_normalized", "device") if name not in metadata]
    expect(not missing, f"the metadata lack {', '.join(missing)}")
    expect(metadata["model"] == server.spec.name, f"model is {metadata['model']!r}; expected {server.spec.name!r}")


@PROMISES("From the decoded request's arrival in the handler to the finished response.")
async def score_timing(server: ServerUnderTest) -> None:
    """The total time is there, and no smaller than its parts."""
    timing = (await server.call("Score", server.score_request())).timing
    parts = timing.queue_us + timing.decode_us + timing.encode_us + timing.unroll_us + timing.distance_us
    expect(0 < parts <= timing.total_us * 1.05, f"total_us is {timing.total_us}, its parts {parts}")


@PROMISES("False: the server normalizes them with the model's published statistics.")
async def score_raw_actions(server: ServerUnderTest) -> None:
    """Raw candidates score as the normalized ones that they are; without statistics they are refused."""
    statistics, scene, candidates = server.spec.normalization, server.one_frame(), server.candidates()
    if statistics is None:
        request, field = server.score_request(scene, options=_RAW), "options.actions_are_normalized"
        await server.refused("Score", request, "FAILED_PRECONDITION", "NO_ACTION_NORMALIZATION", field)
        return
    mean, std = (np.tile(each, server.spec.frameskip) for each in (statistics.action_mean, statistics.action_std))
    raw = (candidates * std + mean).astype(np.float32)
    scores = await server.score(server.score_request(scene))
    got = await server.score(server.score_request(scene, action_candidates=raw, options=_RAW))
    expect(np.allclose(got, scores, rtol=1e-3, atol=1e-4), f"raw actions score {got}; expected {scores}")


@PROMISES("The weight w of the proprio features, 0 to 1e6. Unset: the model's default. 0: visual features only.")
async def score_proprio_weight(server: ServerUnderTest) -> None:
    """With the weight 0 the goal's proprio does not count; a negative one is refused."""
    if server.spec.proprio is None:
        raise NotApplicableError("the model takes no proprio")
    server.needs_latents()
    request = server.score_request(options=ScoreOptions(proprio_weight=0.0))
    scores = await server.score(request)
    request.context.goal.ClearField("proprio")
    blind = await server.score(request)
    expect(close(blind, scores), f"with proprio_weight 0 the goal's proprio changes {scores} to {blind}")
    request.options.proprio_weight = -1.0
    await server.refused("Score", request, "INVALID_ARGUMENT", "INVALID_VALUE", "options.proprio_weight")
