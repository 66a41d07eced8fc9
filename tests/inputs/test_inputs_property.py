"""No wrong number: a drawn call is scored as docs/inputs.md says, or refused by a JepaError that names the field."""

import asyncio
import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.in_process import DEADLINE, running
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Observation
from worldforge_jepa_server.models.native import tiny

MODEL = tiny.load("cpu", "tiny")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text()


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
        "proprio_weight": mostly([0.0, 0.5, 1], [-1.0, np.nan, np.inf, 3e38, "1"]),
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
