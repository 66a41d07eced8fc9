"""The floating point operations of a native model, counted from its config, and the matrix peak at its shapes.

Needs torch and numpy only. Letters: S candidates, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from worldforge_jepa_client.contract.spec import Limits
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Observation
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.transformer import block_causal_attention
from worldforge_jepa_server.models.native.weights.architectures import model_config

ROWS = 4096
"""Rows of a matrix product of `Products`: the tokens of 16 candidates' frames."""


@dataclass(frozen=True)
class Operations:
    """The floating point operations of a score: those of its attention, and those of its other matrix products."""

    products: int
    attention: int

    @property
    def all(self) -> int:
        """Both."""
        return self.products + self.attention


def score_operations(name: str, samples: int, horizon: int) -> Operations:
    """Return the operations that a score of S candidates from one frame takes, its encoding not counted."""
    model = _meta_model(name)
    size = model.spec.image_size
    frames = torch.zeros(1, 1, 3, size, size, device="meta")
    proprio = torch.zeros(1, 1, model.spec.proprio_dim, device="meta") if model.spec.proprio else None
    start = model.encode(Observation(frames, proprio))
    actions = torch.zeros(horizon, samples, model.spec.action_dim, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for _ in model.module.unroll(start, actions, None):
            pass
    aten = torch.ops.aten
    counted = counter.get_flop_counts()["Global"]
    products = sum(counted.get(operator, 0) for operator in (aten.addmm, aten.mm))
    return Operations(products, counter.get_total_flops() - products)


def _meta_model(name: str) -> NativeModel:
    with torch.device("meta"):
        module = Jepa(model_config(CATALOG[name]))
    return NativeModel(module, name=name, source="", digest="", device="meta", limits=Limits(1, 1, 1))


@dataclass(frozen=True)
class Attention:
    """One layer's attention, as a predictor calls it: B candidates, the newest frame to it and the one before."""

    tokens: int
    width: int
    heads: int
    batch: int = 8

    @classmethod
    def of(cls, name: str) -> Attention:
        """Return that of a published model."""
        config = _meta_model(name).module.config.predictor
        return cls(config.grid**2, config.width, config.heads)

    @property
    def flops(self) -> int:
        """The operations of one run."""
        return 2 * 2 * self.batch * self.tokens * 2 * self.tokens * self.width

    def on(self, device: str, dtype: torch.dtype) -> Callable[[], Tensor]:
        """Return a function that runs it."""
        frames = torch.randn(3, self.batch, 2, self.tokens, self.width, device=device, dtype=dtype)
        queries, keys, values = frames

        def run() -> Tensor:
            with torch.inference_mode():
                return block_causal_attention(queries[:, 1:], keys, values, self.heads)

        return run


@dataclass(frozen=True)
class Products:
    """The matrix products of one block of a predictor: width W to 3 W, W to W, W to its hidden width and back."""

    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, name: str) -> Products:
        """Return those of a published model: its attention's and its feed-forward layer's."""
        predictor = _meta_model(name).module.predictor
        layers = {name: each for name, each in predictor.named_modules() if isinstance(each, torch.nn.Linear)}
        # A modulation has one row for each frame, not for each token.
        shapes = [(each.in_features, each.out_features) for name, each in layers.items() if "modulation" not in name]
        found = dict.fromkeys(shapes)
        largest = sorted(found, key=lambda shape: shape[0] * shape[1], reverse=True)
        return cls(tuple(largest[:4]))

    @property
    def flops(self) -> int:
        """The operations of one run."""
        return sum(2 * ROWS * inner * outer for inner, outer in self.shapes)

    def on(self, device: str, dtype: torch.dtype) -> Callable[[], Tensor]:
        """Return a function that multiplies them all, one after the other."""
        make = partial(torch.randn, device=device, dtype=dtype)
        pairs = [(make(ROWS, inner), make(outer, inner)) for inner, outer in self.shapes]

        def run() -> Tensor:
            with torch.inference_mode():
                for rows, weight in pairs:
                    last = F.linear(rows, weight)
                return last

        return run
