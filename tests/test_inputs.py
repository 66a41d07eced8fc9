"""No wrong number: whatever comes in is scored as docs/inputs.md means it, or refused by a JepaError that names it."""

import asyncio
import contextlib
import dataclasses
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import BLIND, SPEC, A, H, S, call, observation
from tests.in_process import DEADLINE, running
from worldforge_jepa_client import Client
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.contract.types import PlanCall, ScoreOptions, ScoreResult, Timing
from worldforge_jepa_client.contract.validate import check_plan_call, check_score_call
from worldforge_jepa_client.errors import InvalidArgumentError, JepaError
from worldforge_jepa_client.inputs.arrays import as_array, as_candidates, as_observation
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Observation
from worldforge_jepa_server.models.native import tiny

MODEL = tiny.load("cpu", "tiny")
DOCUMENT = (Path(__file__).parents[1] / "docs" / "inputs.md").read_text()


def refused(function, *arguments, **keywords):
    with pytest.raises(JepaError) as caught:
        function(*arguments, **keywords)
    return caught.value


# Frames


@pytest.mark.parametrize("part", ["observation", "goal"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "float64"])
@pytest.mark.parametrize("most", [1, 1.03, 2])
def test_frames_scaled_to_one_are_refused_whatever_their_dtype(part, dtype, most):
    visual = np.full((1, 1, 3, 8, 8), most).astype(dtype)
    spec = dataclasses.replace(SPEC, visual=MODEL.spec.visual)
    error = refused(check_score_call, call(**{part: dataclasses.replace(observation(), visual=visual)}), spec)
    assert (error.reason, error.field) == ("INVALID_VALUE", f"context.{part}.visual")
    assert "scaled to 0..1" in str(error)


@pytest.mark.parametrize("most", [0, 3, 255])
def test_a_black_frame_and_a_dark_one_are_accepted(most):
    check_score_call(
        call(goal=dataclasses.replace(observation(), visual=np.full((1, 1, 3, 8, 8), most, np.uint8))), SPEC
    )


def test_frames_with_channels_last_are_told_to_transpose():
    frame = as_observation({"visual": np.full((8, 8, 3), 9, np.uint8), "proprio": [1.0, 2.0]}, "o")
    assert "transpose to (3, H, W)" in str(refused(check_score_call, call(observation=frame), SPEC))


# Candidates


@pytest.mark.parametrize("shape", [(), (A,), (S, A)])
def test_candidates_need_three_dimensions(shape):
    error = refused(as_candidates, np.ones(shape))
    assert (error.reason, error.field) == ("INVALID_SHAPE", "action_candidates")
    assert refused(ActionMapping(MODEL.spec).actions, np.ones((3, 10))).field == "candidates"


def test_candidates_that_overflow_are_refused_by_their_indices():
    candidates = np.zeros((1, S, H, A), np.float32)
    candidates[0, 1, 0, 2] = candidates[0, 2, 1, 0] = 1e18
    error = refused(check_score_call, call(action_candidates=candidates), SPEC)
    assert (error.code.name, error.field) == ("INVALID_ARGUMENT", "action_candidates")
    assert "in samples 1, 2" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_candidates_that_are_not_finite_are_refused_by_their_indices(value):
    candidates = np.zeros((1, S, H, A), np.float32)
    candidates[0, 2] = value
    assert "in samples 2;" in str(refused(check_score_call, call(action_candidates=candidates), SPEC))


def test_raw_candidates_are_measured_by_the_statistics():
    statistics = dataclasses.replace(SPEC.normalization, action_mean=(5e6, 0.0), action_std=(1.0, 1e-9))
    spec, raw = dataclasses.replace(SPEC, normalization=statistics), ScoreOptions(actions_are_normalized=False)
    candidates = np.tile(np.array([5e6, 0, 5e6, 0], np.float32), (1, S, H, 1))
    check_score_call(call(action_candidates=candidates, options=raw), spec)
    candidates[0, 1, 0, 1] = 1.0
    assert "in samples 1" in str(refused(check_score_call, call(action_candidates=candidates, options=raw), spec))


def test_proprio_that_overflows_is_refused():
    far = dataclasses.replace(observation(), proprio=np.full((1, 1, 2), 1e18, np.float32))
    assert refused(check_score_call, call(goal=far), SPEC).field == "context.goal.proprio"


# Options


def test_raw_units_of_a_plan_without_history_are_refused():
    scene = call().scene
    plan = PlanCall(
        scene,
        planner=PlannerOptions(samples=8, elites=2, horizon=2),
        options=ScoreOptions(actions_are_normalized=False),
    )
    assert refused(check_plan_call, plan, SPEC).field == "options.actions_are_normalized"
    past = dataclasses.replace(scene, observation=observation(2), action_history=np.zeros((1, 1, A), np.float32))
    check_plan_call(dataclasses.replace(plan, scene=past), SPEC)


def test_extra_info_for_a_model_that_reads_none_is_refused_with_the_nearest_key():
    error = refused(check_score_call, call(extra_info={"objectve": "l1"}), SPEC)
    assert (error.reason, error.field) == ("UNKNOWN_FIELD", "extra_info.objectve")
    assert "did you mean objective?" in str(error)
    scene = {"observation": dataclasses.replace(observation(), proprio=None)}
    scene["goal"] = scene["observation"]
    check_score_call(call(**scene, extra_info={"note": 1}), dataclasses.replace(BLIND, reads_extra_info=True))


def test_a_provider_names_the_key_of_info_that_was_meant(server):
    info = {"observation": np.full((3, 8, 8), 9, np.uint8), "goal": np.full((3, 8, 8), 9, np.uint8), "objectve": "l1"}
    info |= {"observation_proprio": [1.0, 2.0], "goal_proprio": [1.0, 2.0]}
    with GrpcRuntime(server.target, timeout=DEADLINE) as runtime:
        answer = runtime.score_actions(model_path="", info=info, action_candidates=np.zeros((1, 2, 1, 10), np.float32))
    assert answer["error"] == {
        "type": "unknown_field",
        "message": "info.objectve: is no key that the model reads; did you mean objective?",
    }


def test_costs_are_lower_is_better_always():
    scores = np.array([1, -2, 3], np.float32)
    assert ScoreResult(scores, 1, True, {}, Timing()).costs.argmin() == 1
    assert ScoreResult(scores, 2, False, {}, Timing()).costs.argmin() == 2


# Containers


def torch_tensor(**keywords):
    return lambda array: torch.tensor(array.tolist(), **keywords)


@pytest.mark.parametrize(
    "make",
    [
        torch_tensor(dtype=torch.bfloat16),
        torch_tensor(requires_grad=True),
        torch_tensor(dtype=torch.bfloat16, requires_grad=True),
        lambda array: torch.nn.Parameter(torch_tensor()(array)),
        lambda array: list(torch_tensor(dtype=torch.bfloat16, requires_grad=True)(array)),
        lambda array: array.astype(np.uint8),
        np.ma.masked_array,
        lambda array: array.astype(pytest.importorskip("ml_dtypes").bfloat16),
        lambda array: pytest.importorskip("jax.numpy").asarray(array, "bfloat16"),
    ],
)
def test_candidates_of_every_container_become_float32(make):
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    result = as_candidates(make(array))
    assert result.dtype == np.float32
    assert np.array_equal(result, array[None])


@pytest.mark.parametrize("value", [np.ma.masked_greater([1.0, 2.0], 1.5), [np.ma.masked_greater([1.0, 2.0], 1.5)]])
def test_masked_entries_are_refused(value):
    assert "masked entries; fill them first" in str(refused(as_array, value, "x", rank=2))


# The law


class Served:
    """The embedded model behind a real server of this process, in a thread of its own."""

    def __enter__(self):
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return Client(self.target, timeout=DEADLINE)

    async def _serve(self):
        self._over = asyncio.Event()
        async with running() as server:
            self.target = server.target
            self._ready.set()
            await self._over.wait()

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE)
        self._loop.close()


@pytest.fixture(scope="module")
def tiny_client():
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(stack.enter_context(Served()))


DTYPES = ["uint8", "int8", "uint16", "int64", "float16", "float32", "float64", "bool", "complex64"]
CONTAINERS = {
    "numpy": lambda a: a,
    "list": lambda a: a.tolist(),
    "fortran": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "reversed": lambda a: a[..., ::-1][..., ::-1] if a.ndim else a,
    "torch": lambda a: torch.from_numpy(a.copy()),
    "torch with gradient": lambda a: torch.from_numpy(a.astype(np.float32)).requires_grad_(),
    "masked array": np.ma.masked_array,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}
RANGES = [0.0, 0.5, 1.0, 1.03, 2.0, 3.0, 100.0, 255.0, 256.0, -1.0, 1e6, 2e6, 1e18, 1e300, np.nan, np.inf]


def mostly(usual, others):
    """Draws what is usual three times of four, so that most calls have one thing wrong or nothing."""
    return st.integers(0, 3).flatmap(lambda n: st.sampled_from(usual if n else others))


@st.composite
def arrays(draw, shapes, usual_range):
    """A plain array, and the container that it is passed in."""
    shape, most = draw(mostly(shapes[:1], shapes)), draw(mostly([usual_range], RANGES))
    dtype, container = draw(mostly(["float32"], DTYPES)), draw(mostly(["numpy"], sorted(CONTAINERS)))
    with np.errstate(all="ignore"):
        # A scalar times a number is no array.
        array = np.asarray(np.random.default_rng(draw(st.integers(0, 9))).random(shape) * most).astype(dtype)
        return array, CONTAINERS[container](array)


FRAMES = arrays([(3, 8, 8), (1, 3, 8, 8), (1, 1, 3, 8, 8), (8, 8, 3), (8, 8), (1, 1, 1, 3, 8, 8)], 255.0)
PROPRIO = arrays([(2,), (1, 2), (1, 1, 2), (3,), (), (2, 2)], 60.0)
CANDIDATES = arrays([(1, 3, 2, 10), (3, 2, 10), (3, 10), (10,), (2, 3, 2, 10), (1, 3, 2, 9), (1, 0, 2, 10)], 2.0)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "objective": mostly(["l2", "l1", "cosine"], ["l3", 1]),
        "proprio_weight": mostly([0.0, 0.5, 1], [-1.0, np.nan, "1"]),
        "actions_are_normalized": mostly([True, False], [0, "no"]),
        "extra_info": mostly([{}], [{"note": 1}, [1]]),
    },
)
FIELDS = ("context.observation", "context.goal", "action_candidates", "options.", "extra_info")


def expected(now, now_proprio, goal, goal_proprio, candidates, options):
    """The scores that docs/inputs.md means, of plain arrays, by the model alone."""

    def encoded(visual, proprio):
        frames = torch.from_numpy(visual.astype(np.float32).reshape(1, 1, 3, 8, 8))
        return MODEL.encode(Observation(frames, torch.from_numpy(proprio.astype(np.float32).reshape(1, 1, 2))))

    actions = torch.from_numpy(candidates.astype(np.float32).reshape(3, 2, 10))
    if not options.get("actions_are_normalized", True):
        actions = MODEL.normalize_actions(actions)
    with torch.inference_mode():
        *_, end = MODEL.unroll(encoded(now, now_proprio), actions.transpose(0, 1), None)
        weight = options.get("proprio_weight", MODEL.spec.proprio_weight)
        objective = type(MODEL.spec.objective)(options.get("objective", MODEL.spec.objective))
        return distance(end, encoded(goal, goal_proprio), objective, weight).numpy()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FRAMES, PROPRIO, FRAMES, PROPRIO, CANDIDATES, OPTIONS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::UserWarning")
def test_a_call_is_scored_as_documented_or_refused_by_name(tiny_client, now, now_p, goal, goal_p, candidates, options):
    plain, passed = zip(now, now_p, goal, goal_p, candidates, strict=True)
    try:
        result = tiny_client.score(
            observation={"visual": passed[0], "proprio": passed[1]},
            goal={"visual": passed[2], "proprio": passed[3]},
            action_candidates=passed[4],
            **options,
        )
    except JepaError as error:
        assert error.code.name == "INVALID_ARGUMENT"
        assert error.field.startswith(FIELDS)
        assert str(error).startswith(error.field)
        return
    for frame in (plain[0], plain[2]):
        assert frame.max() > 2 or not frame.any()
    np.testing.assert_allclose(result.scores, expected(*plain, options), rtol=1e-4, atol=1e-5)


# The document


LINES = dict(re.findall(r"^\| (\w+) \| `([^`]+)` \|", DOCUMENT, re.MULTILINE))
PICTURE = np.random.default_rng(0).integers(3, 256, (6, 4, 3), np.uint8)  # height, width, RGB


class Image:
    """sensor_msgs/Image as its documentation lays it out, with two bytes of padding in each row."""

    height, width, encoding, step = 6, 4, "rgb8", 14
    data = np.pad(PICTURE.reshape(6, 12), ((0, 0), (0, 2))).tobytes()


def from_opencv(line):
    return eval(line, {"cv2": pytest.importorskip("cv2"), "image": PICTURE[..., ::-1].copy()})  # noqa: S307


def from_pil(line):
    image = pytest.importorskip("PIL.Image").fromarray(PICTURE)
    return eval(line, {"np": np, "image": image})  # noqa: S307


def from_torch(line):
    return eval(line, {"image": torch.from_numpy(PICTURE).permute(2, 0, 1) / 255})  # noqa: S307


def from_jax(line):
    jnp = pytest.importorskip("jax.numpy")
    return eval(line, {"jnp": jnp, "image": jnp.asarray(PICTURE) / 255})  # noqa: S307


def from_ros(line):
    return eval(line, {"np": np, "message": Image})  # noqa: S307


@pytest.mark.parametrize(
    ("library", "convert"),
    [("OpenCV", from_opencv), ("PIL", from_pil), ("torch", from_torch), ("JAX", from_jax), ("ROS", from_ros)],
)
def test_the_documented_line_converts_a_frame(library, convert):
    frame = as_observation(convert(LINES[library]), "o").visual
    assert frame.shape == (1, 1, 3, 6, 4)
    np.testing.assert_allclose(frame[0, 0], PICTURE.transpose(2, 0, 1), atol=1e-3)


def test_an_array_that_is_no_array_is_still_refused_by_name():
    with pytest.raises(InvalidArgumentError, match="x: is not a rectangular"):
        as_array([torch.zeros(2), torch.zeros(3)], "x", rank=2)
