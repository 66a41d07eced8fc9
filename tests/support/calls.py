"""A spec, calls that fit it, and what their extra_info may hold."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from worldforge_jepa_client.contract.spec import (
    DYNAMIC,
    FLOATS,
    Limits,
    ModelSpec,
    Normalization,
    Objective,
    TensorSpec,
)
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreCall

S, H, A, P = 3, 2, 4, 2

SPEC = ModelSpec(
    name="m",
    source="test",
    visual=TensorSpec((1, DYNAMIC, 3, DYNAMIC, DYNAMIC), ("uint8", "float32"), (0.0, 255.0)),
    proprio=TensorSpec((1, DYNAMIC, P), FLOATS),
    raw_action_dim=2,
    frameskip=2,
    context_window=2,
    objective=Objective.L2,
    proprio_weight=0.1,
    normalization=Normalization((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0)),
    limits=Limits(max_samples=8, max_horizon=4, max_context_frames=3),
    device="cpu",
    dtype="float32",
    parameter_count=1,
    checkpoint_digest="",
)
BLIND = dataclasses.replace(SPEC, proprio=None, proprio_weight=0.0, normalization=None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def observation(frames=1):
    return Observation(np.full((1, frames, 3, 8, 8), 9, np.uint8), np.ones((1, frames, P), np.float32))


def call(**changes):
    whole = {"observation": observation(), "goal": observation(), "action_history": None}
    scene = Scene(**{name: changes.pop(name, part) for name, part in whole.items()})
    return ScoreCall(**({"scene": scene, "action_candidates": np.zeros((1, S, H, A), np.float32)} | changes))
