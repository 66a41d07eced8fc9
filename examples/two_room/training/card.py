"""The files beside the weights: their digest and the model card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from worldforge_jepa_server.models.native.jepa import ModelConfig

EVALUATION = "## Evaluation\n\n"
END_OF_EVALUATION = "\n## Limits\n"

CARD = """# tiny

The embedded world model of two rooms and a door: it sees 64 x 64 pixels and the agent's position, and predicts the
latents of the next frames from packed actions.

| | |
| --- | --- |
| parameters | {parameters:,} |
| file | `{file}`, {size:,} bytes |
| sha256 | `{digest}` |
| trained with | `{command}`, seed {seed}, {threads} threads, {minutes:.1f} minutes in all |

## Architecture

{architecture}

Options that differ from the published JEPA-WM architecture: a convolutional stem before the patch embedding, a
linear map of each token to {latent_dim} channels behind the encoder's last norm, a predictor that predicts the
change from the last frame, and MLPs of twice the width. The proprio embedding is a fixed map that keeps distances.

## Data

Made while training, in {training_layouts} layouts; {held_out_layouts} others are held out for evaluation. Actions
are a drift that persists more or less, plus noise. First {joint_frames:,} frames for encoder and predictor together,
{joint_near_door:.0%} of the trajectories starting near the door; then {pool_frames:,} for the predictor alone,
{predictor_near_door:.0%} starting there.

## Loss

Together, {joint_steps} steps: {prediction} times the squared error of the visual and proprio latents predicted up to
{horizon} steps ahead, without stop-gradient, + {variance} variance + {covariance} covariance (VICReg's, within each
layout) + {smoothness} smoothness + {inverse} linear inverse dynamics + {contrast} InfoNCE within each layout +
{layout_contrast} InfoNCE between layouts. Then {predictor_steps} steps of the prediction error alone, the encoder
frozen, up to each of {horizons} steps ahead; and {refine_steps} steps, {refine_horizon} ahead, on windows drawn as
their last error to the power of {refine_exponent}: a planner finds the plans that are predicted wrong.

## Collapse check

On unseen trajectories; training stops with an error when the spread within layouts is lost.

{collapse}
"""

LIMITS = """
The model knows nothing but these two rooms. It predicts from the last two frames, and was trained to predict
{furthest} packed actions ahead: scores of longer plans are extrapolations. The default score adds the distance of
proprio latents with weight {weight}; both tables above say what the pixels alone achieve.
"""


def table(rows: Mapping[str, object]) -> str:
    """A markdown table of two columns."""
    lines = [
        f"| {key} | {value:.3g} |" if isinstance(value, float) else f"| {key} | {value} |"
        for key, value in rows.items()
    ]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def write_card(weights: Path, config: ModelConfig, facts: Mapping[str, object], collapse: Mapping[str, float]) -> None:
    """Write the digest and the card beside `weights`; `facts` fill in the card."""
    data = weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    weights.with_suffix(".sha256").write_text(f"{digest}  {weights.name}\n")
    text = CARD.format(
        file=weights.name,
        size=len(data),
        digest=digest,
        latent_dim=config.encoder.latent_dim,
        architecture=table(
            {**vars(config.encoder), **{f"predictor {k}": v for k, v in vars(config.predictor).items()}}
        ),
        collapse=table(collapse),
        **facts,
    )
    limits = LIMITS.format(weight=config.proprio_weight, **facts)
    weights.with_suffix(".md").write_text(
        text + "\n" + EVALUATION + "Not evaluated yet.\n" + END_OF_EVALUATION + limits
    )


def write_evaluation(weights: Path, text: str) -> None:
    """Replace the card's evaluation by `text`, markdown."""
    card = weights.with_suffix(".md")
    before, rest = card.read_text().split(EVALUATION)
    after = rest.split(END_OF_EVALUATION)[1]
    card.write_text(before + EVALUATION + text + "\n" + END_OF_EVALUATION + after)
