"""Checks of `extra_info`, which reaches models with a scoring method of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import invalid, nearest
from worldforge_jepa_client.reasons import Reason

_CALL_FIELDS = ("objective", "proprio_weight", "actions_are_normalized", "action_history", "observation", "goal")
"""The names that a key of `extra_info` may have been meant as."""


def check_extra_info(extra_info: object, spec: ModelSpec | None = None) -> None:
    """Check what a model with a scoring method of its own is told: a JSON object whose keys say something.

    Raises:
        InvalidArgumentError: it is no such object, or the model of `spec` reads none.
    """
    if not isinstance(extra_info, Mapping):
        raise invalid("extra_info", f"is a {type(extra_info).__name__}; expected an object", Reason.INVALID_TYPE)
    for key, value in extra_info.items():
        _check_entry(key, value)
        if spec is not None and not spec.reads_extra_info:
            raise invalid(
                f"extra_info.{key}",
                f"is not read: model {spec.name} has no scoring method of its own{nearest(key, _CALL_FIELDS)}",
                Reason.UNKNOWN_FIELD,
            )


def _check_entry(key: object, value: object) -> None:
    if not isinstance(key, str) or not key.strip():
        raise invalid("extra_info", f"has the key {key!r}; expected non-empty strings", Reason.INVALID_TYPE)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(f"extra_info.{key}", f"is not JSON: {error}", Reason.NOT_JSON) from error
