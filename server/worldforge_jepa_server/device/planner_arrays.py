"""Torch arrays for the client's planners, so that candidates are drawn, kept and averaged on the model's device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.devices import has_float64

Values = NDArray[np.floating] | Tensor


class DeviceArrays:
    """Tensors on `device` as a planner's arrays: `CEM(..., rng=7, arrays=partial(DeviceArrays, "cuda"))`.

    Then `ask()` returns, and `tell()` takes, tensors on the device; of all arrays only the S scores are copied to the
    host. Equal seeds give equal draws on one kind of device, others than numpy's.

    Raises:
        FailedPreconditionError: the device has no float64.
    """

    def __init__(self, device: torch.device | str, rng: int | np.random.Generator) -> None:
        self._device = torch.device(device)
        if not has_float64(self._device):
            raise FailedPreconditionError(
                f"refits in float64, which {self._device.type} does not have; leave it out, and the host refits",
                reason=Reason.DTYPE_UNSUPPORTED,
                field="on_device",
            )
        seed = int(np.random.default_rng(rng).integers(2**63))
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Draw from the standard normal distribution, float32."""
        return torch.randn(shape, generator=self._generator, device=self._device)

    def single(self, values: Values) -> Tensor:
        """Copy to float32 on the device."""
        return torch.as_tensor(values, dtype=torch.float32, device=self._device).clone()

    def double(self, values: Values) -> Tensor:
        """Convert to float64 on the device."""
        return torch.as_tensor(values, dtype=torch.float64, device=self._device)

    def host(self, values: Tensor) -> NDArray[np.float64]:
        """Convert to numpy's float64."""
        array: NDArray[np.float64] = values.double().cpu().numpy()
        return array
