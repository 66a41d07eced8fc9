"""Train the embedded model from nothing: `python -m examples.two_room.training.train`.

First everything together: predict several steps ahead, with the terms of `losses` against collapse. Then the encoder
is frozen and the predictor trained on, on cached latents of fresh trajectories, at last on those it predicts worst.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from examples.two_room.data import sample_trajectories
from examples.two_room.env import layouts
from examples.two_room.training import losses
from examples.two_room.training.card import write_card
from examples.two_room.training.collapse import CollapseError, collapse_check
from examples.two_room.training.pools import Pool, Replay, encode, normalize, random_trajectories
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.tiny import CONFIG, WEIGHTS


@dataclass(frozen=True)
class Recipe:
    """Everything training depends on, and the defaults the packaged weights were made with."""

    seed: int = 0
    threads: int = 2
    joint_steps: int = 1200
    layouts: int = 8
    trajectories: int = 8
    horizon: int = 5
    joint_rate: float = 1.5e-3
    joint_near_door: float = 0.4
    prediction: float = 5.0
    variance: float = 1.0
    covariance: float = 0.004
    smoothness: float = 0.3
    inverse: float = 1.0
    contrast: float = 0.5
    layout_contrast: float = 0.5
    predictor_horizons: tuple[int, ...] = (3, 6)
    predictor_steps: int = 1600
    predictor_batch: int = 128
    predictor_rate: float = 2e-3
    predictor_near_door: float = 0.5
    refine_horizon: int = 6
    refine_steps: int = 1200
    refine_rate: float = 1e-3
    refine_exponent: float = 0.7
    pool_size: int = 8000
    pool_length: int = 8


class InverseDynamics(nn.Module):
    """A linear guess of the action between two frames from the difference of their latents."""

    def __init__(self, features: int, action_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, action_dim)

    def loss(self, features: Tensor, actions: Tensor) -> Tensor:
        """Mean squared error on [G, R, T + 1, F] and normalized actions [G, R, T, A]."""
        return F.mse_loss(self.linear(features.diff(dim=2)), actions)


def initialize(model: Jepa) -> None:
    """Start by predicting no change; fix a proprio embedding that keeps distances."""
    for parameter in model.get_submodule("predictor.predictor_proj").parameters():
        nn.init.zeros_(parameter)
    nn.init.trunc_normal_(model.get_parameter("encoder.pos_embed"), std=0.02)
    nn.init.orthogonal_(model.get_parameter("proprio_encoder.patch_embed.weight")[:, :, 0].data, gain=2.0)
    nn.init.zeros_(model.get_parameter("proprio_encoder.patch_embed.bias"))
    model.proprio_encoder.requires_grad_(False)


def prediction_errors(model: Jepa, latents: Latents, actions: Tensor) -> Tensor:
    """Mean squared errors [B] of unrolling from the first frame; latents [B, H + 1, N, ...], actions [B, H, A]."""
    assert latents.proprio is not None
    start = Latents(latents.visual[:, :1], latents.proprio[:, :1])
    frames = list(model.unroll(start, actions.transpose(0, 1), None))
    visual = torch.cat([frame.visual for frame in frames], dim=1) - latents.visual[:, 1:]
    proprio = torch.cat([frame.proprio for frame in frames if frame.proprio is not None], dim=1)
    proprio = proprio - latents.proprio[:, 1:]
    return visual.square().flatten(1).mean(1) + proprio.square().flatten(1).mean(1)


class Optimizer:
    """AdamW with a short warm-up, a cosine schedule to zero and gradients clipped to norm 1."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, steps: int) -> None:
        self.parameters = parameters
        self.adamw = torch.optim.AdamW(parameters, lr=rate)
        warmup = torch.optim.lr_scheduler.LinearLR(self.adamw, 0.05, total_iters=min(50, steps))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.adamw, max(1, steps - 50))
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.adamw, [warmup, cosine], [50])

    def step(self, loss: Tensor) -> None:
        """One update; a loss that is not finite stops training."""
        if not torch.isfinite(loss):
            raise CollapseError("the loss is not finite")
        self.adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adamw.step()
        self.schedule.step()


def train_together(model: Jepa, recipe: Recipe, rng: np.random.Generator) -> None:
    """Encoder and predictor, without stop-gradient or target network."""
    encoder = CONFIG.encoder
    inverse = InverseDynamics(encoder.grid**2 * encoder.latent_dim, CONFIG.predictor.action_dim)
    parameters = [p for p in (*model.parameters(), *inverse.parameters()) if p.requires_grad]
    optimizer = Optimizer(parameters, recipe.joint_rate, recipe.joint_steps)
    with Progress("together", recipe.joint_steps) as bar:
        for _ in range(recipe.joint_steps):
            data = sample_trajectories(rng, recipe.layouts, recipe.trajectories, recipe.horizon, recipe.joint_near_door)
            latents, actions = encode(model, data), normalize(data.actions)
            features = latents.visual.reshape(*data.positions.shape[:3], -1)
            centred = losses.centre(features)
            prediction = prediction_errors(model, latents, actions.flatten(0, 1)).mean()
            spread = losses.variance(centred)
            loss = (
                recipe.prediction * prediction
                + recipe.variance * spread
                + recipe.covariance * losses.covariance(centred)
                + recipe.smoothness * losses.smoothness(features)
                + recipe.inverse * inverse.loss(features, actions)
                + recipe.contrast * losses.contrast(features, lag=int(rng.integers(2, 5)))
                + recipe.layout_contrast * losses.layout_contrast(features)
            )
            optimizer.step(loss)
            terms = {"loss": loss, "prediction": prediction, "variance": spread}
            bar.show(note=", ".join(f"{name} {term.item():.3f}" for name, term in terms.items()))


def train_predictor(model: Jepa, recipe: Recipe, rng: np.random.Generator) -> None:
    """The predictor alone, on cached latents: ever further ahead, then on what it predicts worst."""
    horizons, steps = recipe.predictor_horizons, recipe.predictor_steps
    optimizer = Optimizer(list(model.predictor.parameters()), recipe.predictor_rate, len(horizons) * steps)
    for horizon in horizons:
        fit_predictor(model, recipe, optimizer, Replay(pool(model, recipe, rng), horizon, 0), steps, rng)
    optimizer = Optimizer(list(model.predictor.parameters()), recipe.refine_rate, recipe.refine_steps)
    replay = Replay(pool(model, recipe, rng), recipe.refine_horizon, recipe.refine_exponent)
    fit_predictor(model, recipe, optimizer, replay, recipe.refine_steps, rng)


def pool(model: Jepa, recipe: Recipe, rng: np.random.Generator) -> Pool:
    """Latents of fresh trajectories."""
    return Pool.of(model, random_trajectories(rng, recipe.pool_size, recipe.pool_length, recipe.predictor_near_door))


def fit_predictor(
    model: Jepa, recipe: Recipe, optimizer: Optimizer, replay: Replay, steps: int, rng: np.random.Generator
) -> None:
    """`steps` updates on windows that `replay` draws."""
    with Progress(f"predictor, {replay.horizon} ahead", steps) as bar:
        for _ in range(steps):
            drawn, latents, actions = replay.sample(recipe.predictor_batch, rng)
            errors = prediction_errors(model, latents, actions)
            optimizer.step(errors.mean())
            replay.update(drawn, errors.detach())
            bar.show(note=f"prediction {errors.mean().item():.4f}")


def train(recipe: Recipe, output: Path) -> None:
    """Run the recipe; write the weights, their digest and the model card."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.perf_counter()
    model = Jepa(CONFIG)
    initialize(model)
    train_together(model, recipe, np.random.default_rng(recipe.seed))
    collapse_check(model, recipe.seed)
    model.encoder.requires_grad_(False)
    train_predictor(model, recipe, np.random.default_rng(recipe.seed))
    report = collapse_check(model, recipe.seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(save(model.state_dict()))
    write_card(output, CONFIG, facts(recipe, model, time.perf_counter() - started), report)


def facts(recipe: Recipe, model: Jepa, seconds: float) -> dict[str, object]:
    """Return the model card's facts about the training."""
    frames = recipe.layouts * recipe.trajectories * (recipe.horizon + 1)
    return {
        **vars(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "command": "python -m examples.two_room.training.train",
        "minutes": seconds / 60,
        "training_layouts": len(layouts(held_out=False)),
        "held_out_layouts": len(layouts(held_out=True)),
        "joint_frames": recipe.joint_steps * frames,
        "pool_frames": (len(recipe.predictor_horizons) + 1) * recipe.pool_size * (recipe.pool_length + 1),
        "furthest": max(*recipe.predictor_horizons, recipe.refine_horizon),
        "horizons": ", then ".join(map(str, recipe.predictor_horizons)),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    options = parser.parse_args()
    train(Recipe(seed=options.seed, threads=options.threads), options.output)


if __name__ == "__main__":
    sys.exit(exit_code("train", main))
