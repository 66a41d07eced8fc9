"""The cost class of examples/stable_worldmodel, against scores asked for directly; tried with their own solvers apart."""

import numpy as np
import pytest
import torch

from examples.stable_worldmodel.server_cost import ServerCost

B, S, H = 2, 5, 3


@pytest.fixture
def info(client):
    """As a solver expands it: every tensor once per sample; frames channels last."""
    rng, spec = np.random.default_rng(0), client.model()
    side = spec.visual.shape[-1] if spec.visual.shape[-1] > 0 else 64
    tensors = {
        "pixels": rng.integers(0, 256, (B, 2, side, side, 3), np.uint8),
        "goal": rng.integers(0, 256, (B, 1, side, side, 3), np.uint8),
        "proprio": rng.standard_normal((B, 2, spec.proprio_dim)).astype(np.float32),
        "goal_proprio": rng.standard_normal((B, 1, spec.proprio_dim)).astype(np.float32),
        "action_history": rng.standard_normal((B, 1, spec.action_dim)).astype(np.float32),
    }
    return {key: torch.from_numpy(value)[:, None].expand(-1, S, *value.shape[1:]) for key, value in tensors.items()}


@pytest.fixture
def candidates(client):
    return torch.randn(B, S, H, client.model().action_dim, generator=torch.Generator().manual_seed(0))


def direct(client, info, candidates, row):
    def frames(name):
        return np.moveaxis(info[name][row, 0].numpy(), -1, -3)

    return client.score(
        observation={"visual": frames("pixels"), "proprio": info["proprio"][row, 0]},
        goal={"visual": frames("goal"), "proprio": info["goal_proprio"][row, 0]},
        action_history=info["action_history"][row, 0],
        action_candidates=candidates[row],
    ).scores


def test_costs_are_the_servers_scores(client, info, candidates):
    costs = ServerCost(client).get_cost(info, candidates)
    assert (costs.shape, costs.dtype) == ((B, S), torch.float32)
    for row in range(B):
        np.testing.assert_array_equal(costs[row], direct(client, info, candidates, row))


def test_by_the_older_contract_the_past_stands_before_the_candidates(client, info, candidates):
    history = info.pop("action_history")
    costs = ServerCost(client).get_cost(info, torch.cat([history, candidates], 2))
    expected = ServerCost(client).get_cost({**info, "action_history": history}, candidates)
    assert torch.equal(costs, expected)
