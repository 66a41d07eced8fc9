"""Precision and compilation of a model: options that every source takes.

A module whose code follows the dtype of its weights is `cast`. Foreign code, which may make float32 tensors of its own,
runs under `autocast` instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.devices import multiplies
from worldforge_jepa_server.models.options import flag

_log = logging.getLogger(__name__)

OPTIONS = ("precision", "compile")

_VARIANTS = 256
"""Compiled forms of a block that torch keeps: all models share its code, and beyond torch's 8 it runs uncompiled."""

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """Precision and compilation in force for one model."""

    dtype: torch.dtype = torch.float32
    compiled: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str], device: str) -> Execution:
        """Read `precision` and `compile` from the options of a source.

        Raises:
            ModelLoadError: neither a precision nor a flag, or torch cannot do it on this machine.
        """
        precision = options.get("precision", "float32")
        if precision not in _PRECISIONS:
            raise ModelLoadError(f"precision={precision}: expected one of {', '.join(_PRECISIONS)}")
        chosen = cls(_PRECISIONS[precision], flag("compile", options.get("compile", "false")))
        _check_kernels(precision, device)
        if not multiplies(chosen.dtype, device):
            _log.warning(
                "precision=%s: this CPU has no instructions for it, and float32 is several times faster", precision
            )
        if chosen.compiled:
            _check_compiler(device)
        return chosen

    @property
    def precision(self) -> str:
        """The dtype's name."""
        return str(self.dtype).removeprefix("torch.")

    def cast(self, module: nn.Module) -> None:
        """Convert the parameters in place; buffers, which hold statistics, stay in float32."""
        for parameter in module.parameters():
            parameter.data = parameter.data.to(self.dtype)

    def autocast(self, device: str) -> torch.autocast:
        """Return a context in which torch chooses the precision operator by operator."""
        return torch.autocast(torch.device(device).type, self.dtype, enabled=self.dtype is not torch.float32)

    def compile(self, modules: Iterable[nn.Module]) -> None:
        """Have torch compile each module at its first call, where `compiled`, until `end_compiling`.

        Blocks are best: those of one kind share compiled code. Sizes other than 1 stay variables, so that other batches
        need no other code.
        """
        if self.compiled:
            from torch._dynamo import config  # slow

            config.cache_size_limit = _VARIANTS  # of later versions an alias
            for module in modules:
                module.compile(dynamic=True)


FLOAT32 = Execution()
"""The default, in which models are trained and measured: float32, not compiled."""


def _check_kernels(precision: str, device: str) -> None:
    try:
        x = torch.ones(1, 1, 8, 8, dtype=_PRECISIONS[precision], device=device)
        x = F.gelu(F.layer_norm(F.linear(x, x[0, 0]), (8,)))
        F.scaled_dot_product_attention(x, x, x)
    except (RuntimeError, TypeError) as error:  # mps raises the latter for a dtype that it does not have
        raise ModelLoadError(
            f"precision={precision}: torch {torch.__version__} cannot do it on {device}: {error}"
        ) from error


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def end_compiling() -> None:
    """Run shapes without compiled code uncompiled from now on, so that no caller waits for a compiler."""
    torch.compiler.set_stance("eager_on_recompile")


def uncompiled() -> AbstractContextManager[object]:
    """Return a context that runs compiled code as it was written, so that every tensor it makes can be counted."""
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _check_compiler(device: str) -> None:
    try:
        torch.compiler.set_stance("default")  # another model may have ended compiling
        torch.compile(_probe)(torch.zeros(8, device=device))
    except Exception as error:  # whatever is missing: torch has many names for it
        lines = str(error).strip().split("\n")
        reason = next((line for line in lines if not line.endswith("raised:")), lines[0])  # torch 2.6 names it below
        needed = "a C++ compiler" if torch.device(device).type == "cpu" else "a C compiler and triton"
        raise ModelLoadError(f"compile=true needs torch 2.6 and {needed} on the server's machine: {reason}") from error
