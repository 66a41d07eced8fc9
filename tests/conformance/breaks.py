"""For each promise a way to break it."""

import itertools

from google.rpc.status_pb2 import Status

from tests.conformance.middle import Break
from worldforge_jepa_client.v1 import jepa_pb2

SCORE, STREAM, PLAN, UNROLL = "Score", "ScoreStream", "Plan", "Unroll"


def request(method, change):
    return Break(requests={method: change})


def response(method, change):
    return Break(responses={method: change})


def setting(path, value):
    """A change that sets the field at a dotted path, to the value or to what it returns."""
    *parents, name = path.split(".")

    def change(message):
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, name, value() if callable(value) else value)

    return change


def clearing(*paths):
    """A change that clears the fields at dotted paths."""

    def change(message):
        for path in paths:
            *parents, name = path.split(".")
            owner = message
            for parent in parents:
                owner = getattr(owner, parent)
            owner.ClearField(name)

    return change


def counting():
    return itertools.count(1).__next__


def drifting():
    """A change that adds to a response's scores, more each time."""
    count = counting()

    def change(message):
        message.scores[:] = [score + count() for score in message.scores]

    return change


def sorted_scores(message):
    message.scores[:] = sorted(message.scores)


def first_again():
    """A change that makes every answer of a stream its first one."""
    first = []

    def change(message):
        first.append(jepa_pb2.ScoreStreamResponse.FromString(message.SerializeToString()))
        message.CopyFrom(first[0])

    return change


def other_scores(message):
    message.score.scores[:] = [score + 1 for score in message.score.scores]


def one_id():
    ids = []

    def change(message):
        ids.append(message.context_id)
        message.context_id = ids[0]

    return change


def later_scene_lost():
    seen = []

    def change(message):
        if seen:
            message.ClearField("context")
        seen.append(message)

    return change


def reversed_models(message):
    models = list(message.models)[::-1]
    del message.models[:]
    message.models.extend(models)


def more_weight(message):
    if message.context_id:
        message.options.proprio_weight = 9.0


def one_frame_more(message):
    message.latents.visual.shape[1] += 1


def without(kind):
    """Return an error's details without those of one type."""

    def left(trailing):
        ((key, data),) = trailing
        status = Status.FromString(data)
        kept = [detail for detail in status.details if not detail.type_url.endswith(kind)]
        del status.details[:]
        status.details.extend(kept)
        return ((key, status.SerializeToString()),)

    return left


def own_scores():
    """A model that says it scores by itself, and gives latents all the same."""
    return Break(
        responses={
            "GetModel": setting("model.reads_extra_info", True),
            "ListModels": lambda message: [setting("reads_extra_info", True)(model) for model in message.models],
        }
    )


def forgiving():
    return Break(forgives=True)


BREAKS = {
    "models-default-first": lambda: response("ListModels", reversed_models),
    "models-contract": lambda: response("GetModel", setting("model.action_dim", 3)),
    "models-unknown-name": forgiving,
    "score-order": lambda: response(SCORE, sorted_scores),
    "score-repeats": lambda: response(SCORE, drifting()),
    "score-best-index": lambda: response(SCORE, setting("best_index", 7)),
    "score-direction": lambda: response(SCORE, setting("lower_is_better", False)),
    "score-metadata": lambda: response(SCORE, clearing("metadata")),
    "score-timing": lambda: response(SCORE, setting("timing.total_us", 0)),
    "score-raw-actions": lambda: request(SCORE, clearing("options.actions_are_normalized")),
    "score-proprio-weight": lambda: request(SCORE, clearing("options.proprio_weight")),
    "error-info": lambda: Break(details=without("ErrorInfo")),
    "error-bad-request": lambda: Break(details=without("BadRequest")),
    "error-shape-and-dtype": forgiving,
    "error-data-length": forgiving,
    "error-not-finite": forgiving,
    "error-far-actions": forgiving,
    "error-scaled-frame": forgiving,
    "error-extra-info": lambda: request(SCORE, clearing("extra_info")),
    "error-shared-memory": forgiving,
    "error-malformed-message": forgiving,
    "limit-samples": forgiving,
    "limit-horizon": forgiving,
    "limit-candidate-steps": forgiving,
    "limit-context-frames": forgiving,
    "limit-message-bytes": forgiving,
    "limit-queue": lambda: Break(details=without("RetryInfo")),
    "stream-early-headers": lambda: Break(late_headers=True),
    "stream-scores": lambda: response(STREAM, other_scores),
    "stream-order": lambda: response(STREAM, first_again()),
    "stream-scene-only": lambda: response(STREAM, lambda message: message.score.SetInParent()),
    "stream-refusal": lambda: response(STREAM, clearing("error")),
    "stream-no-scene": lambda: response(STREAM, clearing("error")),
    "stream-scene-in-part": lambda: request(STREAM, later_scene_lost()),
    "stream-flow-control": lambda: Break(reads_ahead=True),
    "context-scores": lambda: request(SCORE, more_weight),
    "context-ids": lambda: response("CreateContext", one_id()),
    "context-expiry": lambda: response("CreateContext", clearing("expire_time")),
    "context-deleted": forgiving,
    "context-unknown": forgiving,
    "context-of-other-model": forgiving,
    "latents-shape": lambda: response("Encode", one_frame_more),
    "latents-dtype": lambda: request("Encode", clearing("dtype")),
    "latents-of-own-scores": own_scores,
    "unroll-steps": lambda: response(UNROLL, setting("step", 1)),
    "unroll-chosen-steps": lambda: request(UNROLL, clearing("steps")),
    "unroll-chosen-samples": lambda: request(UNROLL, clearing("samples")),
    "unroll-early-headers": lambda: Break(late_headers=True),
    "plan-progress": lambda: response(PLAN, setting("iteration", 1)),
    "plan-seed": lambda: request(PLAN, setting("seed", counting())),
    "plan-initial-mean": lambda: request(PLAN, clearing("initial_mean")),
    "plan-bounds": lambda: request(PLAN, clearing("planner.low", "planner.high")),
    "plan-iterations": forgiving,
    "plan-options": forgiving,
    "plan-raw-units": forgiving,
    "plan-early-headers": lambda: Break(late_headers=True),
    "plan-cancel": lambda: Break(ignores_cancel=True),
    "plan-deadline": lambda: Break(ignores_cancel=True),
    "plan-last-response": lambda: request(PLAN, setting("seed", counting())),
}
