"""Each line of docs/inputs.md that converts a library's frames."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from worldforge_jepa_client.inputs.arrays import as_observation

DOCUMENT = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text()
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
