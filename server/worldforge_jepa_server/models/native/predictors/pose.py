"""The pose of a robot's hand after an action: 3 metres, 3 Euler angles (extrinsic xyz, radians), 1 gripper 0..1."""

from __future__ import annotations

import torch
from torch import Tensor

from worldforge_jepa_server.models.devices import has_float64

_LOCKED = 1e-7  # cosine of the second angle below which the first and third are one


def move_pose(pose: Tensor, action: Tensor) -> Tensor:
    """Move `pose` by `action`, a difference of poses; both [..., 7] and broadcast.

    Positions add, the action's rotation follows the pose's, the gripper stays within 0..1. Rotations are computed in
    float64, as upstream does, and in float32 where the device has no other.
    """
    position = pose[..., :3] + action[..., :3]
    wide = torch.float64 if has_float64(pose.device) else torch.float32
    turned = rotation_matrix(action[..., 3:6].to(wide)) @ rotation_matrix(pose[..., 3:6].to(wide))
    gripper = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    return torch.cat([position, euler_angles(turned).to(position.dtype), gripper], dim=-1)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotate about the fixed axes x, then y, then z: [..., 3] -> [..., 3, 3]."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    entries = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]
    entries += [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx]
    entries += [-sy, cy * sx, cy * cx]
    matrix: Tensor = torch.stack(entries, dim=-1).unflatten(-1, (3, 3))
    return matrix


def euler_angles(matrix: Tensor) -> Tensor:
    """Invert `rotation_matrix`; where first and third angle cannot be told apart the third is 0."""
    m = {(row, column): matrix[..., row, column] for row in range(3) for column in range(3)}
    cosine = torch.hypot(m[0, 0], m[1, 0])
    locked = cosine < _LOCKED
    first = torch.where(locked, torch.atan2(-m[1, 2], m[1, 1]), torch.atan2(m[2, 1], m[2, 2]))
    third = torch.where(locked, torch.zeros_like(cosine), torch.atan2(m[1, 0], m[0, 0]))
    return torch.stack([first, torch.atan2(-m[2, 0], cosine), third], dim=-1)
