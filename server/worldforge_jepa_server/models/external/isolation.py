"""Running foreign code that loads a model, so that nothing of the process is different afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Inside, whatever is printed goes to stderr; afterwards these are as before.

    The random states of Python, numpy and torch; CUDA_VISIBLE_DEVICES; the root logger; warning filters; cuDNN's
    benchmark mode and torch hub's check of repositories.
    """
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with (
        _standard_output(),
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
def _standard_output() -> Iterator[None]:
    """What Python prints goes to stderr, and so does what others in the process, or programs it starts, write."""
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
