"""Isolation of foreign code: process-wide settings are restored, and every exception becomes a `JepaError`."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import uuid
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from worldforge_jepa_client.errors import InternalError, JepaError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.memory import is_out_of_memory

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Redirect the output of loading to stderr; restore the process's state afterwards.

    The random states of Python, numpy and torch; torch's thread count, default dtype and grad mode; the root logger;
    CUDA_VISIBLE_DEVICES; warning filters; cuDNN's benchmark mode and torch hub's check of repositories.
    """
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with (
        _standard_output(),
        _torch_modes(),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=cuda),
        _random_states(),
        _visible_devices(),
        _root_logger(),
        _attribute(torch.backends.cudnn, "benchmark"),
        _attribute(torch.hub, "_validate_not_a_forked_repo"),
    ):
        warnings.simplefilter("default")
        yield


@contextlib.contextmanager
def wrap_model_errors(what: str, show_text: bool = False) -> Iterator[None]:
    """Run one call of a model; restore torch's modes afterwards.

    Args:
        what: the call, for the log and the error: `MODEL.METHOD`.
        show_text: put the exception's text into the error; by default only the log has it.

    Raises:
        InternalError: the model raised, or tried to exit; the message has the incident's id in the log.
        MemoryError, torch.OutOfMemoryError, RuntimeError: out of memory, as the model raised it.
        JepaError: as the model raised it.
    """
    try:
        with _torch_modes():
            yield
    except GeneratorExit:  # the caller stopped an unroll between two calls: no fault of the model
        raise
    except BaseException as error:
        if isinstance(error, JepaError) or is_out_of_memory(error):
            raise
        incident = uuid.uuid4().hex[:12]
        _log.error("incident %s: %s failed", incident, what, exc_info=error)
        told = f": {error}" if show_text else ""
        raise InternalError(
            f"{what} raised {type(error).__name__}{told}; the server's log has incident {incident}",
            reason=Reason.MODEL_FAILED,
        ) from error


@contextlib.contextmanager
def _torch_modes() -> Iterator[None]:
    """Restore torch's thread count, default dtype and grad mode: a call that sets them sets them for all models."""
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)


@contextlib.contextmanager
def _standard_output() -> Iterator[None]:
    """Send to stderr what Python prints, and what libraries and child processes write to file descriptor 1."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _random_states() -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


@contextlib.contextmanager
def _visible_devices() -> Iterator[None]:
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)


@contextlib.contextmanager
def _attribute(owner: object, name: str) -> Iterator[None]:
    before = getattr(owner, name)
    try:
        yield
    finally:
        setattr(owner, name, before)
