"""The fields of a raw action in each environment: names, units, and effects.

Units are those of the environment's own `step`. Sources: the environments of facebookresearch/jepa-wms (commit
6eafb14), Farama's Metaworld for `metaworld`, and `examples/two_room/env.py` for the embedded model's.
"""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """One entry of a raw action."""

    name: str
    unit: str
    meaning: str


class TaskFamily(NamedTuple):
    """The raw actions of one environment, entry by entry.

    One lasts `step_seconds`, None where there is no clock. No entry's absolute value is above `limit`, None where the
    environment takes any.
    """

    name: str
    step_seconds: float | None
    limit: float | None
    fields: tuple[Field, ...]


_FAMILIES = (
    TaskFamily(
        "pusht",
        0.1,
        None,
        (
            Field("dx", "100 px of 512", "where the pusher is drawn to, to the right of where it is"),
            Field("dy", "100 px of 512", "likewise, downwards"),
        ),
    ),
    TaskFamily(
        "wall",
        None,
        1.0,
        (
            Field("dx", "2 px of 65", "displacement of the dot"),
            Field("dy", "2 px of 65", "displacement of the dot"),
        ),
    ),
    TaskFamily(
        "pointmaze",
        0.05,
        1.0,
        (
            Field("force_x", "100 MuJoCo force units", "push on the ball, clipped to -1..1"),
            Field("force_y", "100 MuJoCo force units", "push on the ball, clipped to -1..1"),
        ),
    ),
    TaskFamily(
        "metaworld",
        0.0125,
        1.0,
        (
            Field("dx", "0.01 m", "displacement of the hand's target, clipped to -1..1"),
            Field("dy", "0.01 m", "displacement of the hand's target, clipped to -1..1"),
            Field("dz", "0.01 m", "displacement of the hand's target, clipped to -1..1"),
            Field("gripper", "unknown", "control of the fingers, positive closes; -1..1 in the action space"),
        ),
    ),
    TaskFamily(
        "droid",
        0.25,
        None,
        (
            Field("dx", "m", "displacement of the end effector"),
            Field("dy", "m", "displacement of the end effector"),
            Field("dz", "m", "displacement of the end effector"),
            Field("droll", "rad", "Euler angle about x of the rotation from one pose to the next, extrinsic xyz"),
            Field("dpitch", "rad", "likewise about y"),
            Field("dyaw", "rad", "likewise about z"),
            Field("dgripper", "share of its range", "change of the gripper's closedness, which runs from 0 to 1"),
        ),
    ),
    TaskFamily(
        "two_room",
        None,
        2.5,
        (
            Field("dx", "px of 64", "displacement to the right, clipped to -2.5..2.5"),
            Field("dy", "px of 64", "displacement downwards, clipped to -2.5..2.5"),
        ),
    ),
)

FAMILIES = {family.name: family for family in _FAMILIES}
"""By the name that a model publishes as its `environment`."""
