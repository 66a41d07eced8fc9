"""Keys of official checkpoints to the names of `Jepa`'s parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from worldforge_jepa_server.models.native.weights.checkpoint import CheckpointError

_PARTS = ("predictor", "action_encoder", "proprio_encoder", "state_encoder")
# Of distributed training, of torch.compile, and of V-JEPA 2's own training.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|backbone)\.")
_RENAMED = {
    "action_encoder.": "predictor.action_encoder.",
    "state_encoder.": "proprio_encoder.",
    "predictor.state_encoder.": "predictor.proprio_encoder.",
}
# Not weights: the causal mask, which is rebuilt, and layers that only training uses.
_UNUSED = re.compile(
    r"predictor\.transformer\.layers\.\d+\.0\.bias|predictor\.extrinsics_encoder\.(?:weight|bias)|encoder\.mask_token"
)
_BIAS_MASK = ".qkv.bias_mask"


def official_weights(checkpoint: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the parts of an official checkpoint and its encoder's own file to the names of `Jepa`.

    Whatever else the checkpoint holds beside its parts (`opt`, `epoch`, `loss`, ...) is ignored.

    Raises:
        CheckpointError: a part that is not weights by name, or a weight twice.
    """
    parts = {name: checkpoint[name] for name in _PARTS if checkpoint.get(name) is not None}
    nested = encoder.get("encoder")  # as V-JEPA 2's file has it, beside what it was trained with
    named: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for part, state in {**parts, "encoder": nested if isinstance(nested, Mapping) else encoder}.items():
        for key, tensor in _tensors(part, state):
            name, origin = _renamed(f"{part}.{_WRAPPERS.sub('', key)}"), f"{part}.{key}"
            if name in named:
                raise CheckpointError(f"{origins[name]} and {origin} are the same weight, {name}")
            named[name], origins[name] = tensor, origin
    return _masked_biases({key: tensor for key, tensor in named.items() if not _UNUSED.fullmatch(key)})


def _tensors(part: str, state: Any) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{part} is a {type(state).__name__}; expected weights by name")
    for key, tensor in state.items():
        if not (isinstance(key, str) and isinstance(tensor, Tensor)):
            raise CheckpointError(f"{part} has a {type(tensor).__name__} as {key!r}; expected weights by name")
        yield key, tensor


def _renamed(key: str) -> str:
    for old, new in _RENAMED.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _masked_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the masks that DINOv3 stores beside its biases into these."""
    for key in [key for key in weights if key.endswith(_BIAS_MASK)]:
        bias = key.removesuffix("_mask")
        if bias in weights and weights[bias].shape == weights[key].shape:
            weights[bias] = weights[bias] * weights.pop(key)
    return weights
