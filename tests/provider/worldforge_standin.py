"""The few interfaces of WorldForge that this project meets, written for it: discovery, a manifest, a planner.

They hold where no checkout of WorldForge is at hand; with one, the tests below tests/worldforge run against its own code.
"""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import numpy as np

_SECRETS = (
    "api_key",
    "api_secret",
    "authorization",
    "bearer",
    "credential",
    "password",
    "secret",
    "signature",
    "token",
)


def assert_valid_manifest(manifest):
    """Schema 1 of a run manifest: its fields, and no text that looks like a secret or has a query or a user."""
    for name in ("run_id", "created_at", "package_version", "provider_profile", "capability", "status"):
        assert isinstance(manifest[name], str)
        assert manifest[name].strip()
    assert manifest["schema_version"] == 1
    assert manifest["status"] in ("passed", "failed", "skipped")
    assert manifest["command_argv"]
    assert all(isinstance(word, str) and word.strip() for word in manifest["command_argv"])
    assert isinstance(manifest["event_count"], int)
    assert manifest["event_count"] >= 0
    for name, kind in (
        ("env_summary", list),
        ("runtime_assets", list),
        ("artifact_paths", dict),
        ("input_summary", dict),
    ):
        assert isinstance(manifest[name], kind)
    _assert_safe({key: value for key, value in manifest.items() if key != "env_summary"})


def _assert_safe(value):
    if isinstance(value, dict):
        for key, item in value.items():
            assert not any(word in key.lower() for word in _SECRETS)
            _assert_safe(item)
    elif isinstance(value, list):
        for item in value:
            _assert_safe(item)
    elif isinstance(value, str) and value.strip():
        parts = urlsplit(value.strip())
        if parts.scheme[:1].isalpha() or parts.netloc or parts.query or parts.fragment:
            host = parts.netloc.rpartition("@")[2]
            assert urlunsplit((parts.scheme, host, parts.path, "", "")) == value.strip()


def discovered(entry_point, event_handler=None):
    """As WorldForge's discovery: the provider of an entry point, whose name it must have; None if not configured."""
    provider = entry_point.load()(event_handler=event_handler)
    assert provider.name == entry_point.name
    return provider if provider.configured() else None


@dataclass(frozen=True)
class ScoreCandidateBatch:
    """`info` is JSON."""

    info: dict
    action_candidates: object

    def __post_init__(self):
        assert json.loads(json.dumps(self.info)) == self.info


@dataclass(frozen=True)
class PlannerConfig:
    """The settings of a planner of actions."""

    horizon: int
    action_kind: str
    action_parameter_bounds: dict
    num_samples: int = 64
    num_iterations: int = 4
    num_elites: int = 8
    execute_k: int = 1
    init_std: float = 1.0
    min_std: float = 1e-3
    seed: int | None = None


class LatentMPCController:
    """Samples actions between bounds, has them encoded and scored, and refits."""

    def __init__(self, *, forge, score_provider, config, encoder):
        self.forge, self.score_provider, self.config, self.encoder = forge, score_provider, config, encoder

    def plan_step(self, *, observation_info, goal_info):
        """The first actions of the best plan, and the best score so far of each iteration."""
        told = self.config
        rng, names = np.random.default_rng(told.seed), list(told.action_parameter_bounds)
        low, high = np.array(list(told.action_parameter_bounds.values())).T
        mean = np.tile((low + high) / 2, (told.horizon, 1))
        std, best, best_scores = np.full_like(mean, np.minimum(told.init_std, (high - low) / 2)), (np.inf, None), []
        for _ in range(told.num_iterations):
            values = np.clip(rng.normal(mean, std, (told.num_samples, *mean.shape)), low, high)
            plans = [[action(told.action_kind, names, step) for step in plan] for plan in values.tolist()]
            scores = self._scores(plans, observation_info, goal_info)
            chosen = scores.argsort()[: told.num_elites]
            best = min(best, (scores[chosen[0]], plans[chosen[0]]), key=lambda pair: pair[0])
            best_scores.append(best[0])
            mean, std = values[chosen].mean(axis=0), np.maximum(told.min_std, values[chosen].std(axis=0))
        return SimpleNamespace(actions=best[1][: told.execute_k], iteration_best_scores=best_scores)

    def _scores(self, plans, observation_info, goal_info):
        batch = self.encoder.encode(plans, observation_info=observation_info, goal_info=goal_info)
        assert isinstance(batch, ScoreCandidateBatch)
        result = self.forge.score_actions(
            self.score_provider, info=batch.info, action_candidates=batch.action_candidates
        )
        assert len(result.scores) == len(plans)
        return np.array(result.scores)


def action(kind, names, values):
    """As `Action`: a kind and parameters."""
    return SimpleNamespace(kind=kind, parameters=dict(zip(names, values, strict=True)))
