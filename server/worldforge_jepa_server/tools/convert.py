"""Write an official checkpoint and its encoder into one safetensors file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="a model of native:NAME, e.g. jepa_wm_pusht")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the official NAME.pth.tar")
    parser.add_argument("--encoder", type=Path, required=True, help="e.g. dinov2_vits14_pretrain.pth")
    parser.add_argument("--output", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--force", action="store_true", help="accept a checkpoint that is named after another model")


def run(arguments: argparse.Namespace) -> int:
    """Convert; print the digest and return 0, or print the error and return 1."""
    from worldforge_jepa_server.models.contract import ModelLoadError
    from worldforge_jepa_server.models.native.weights.published import convert

    try:
        digest = convert(**vars(arguments))
    except ModelLoadError as error:
        print(f"worldforge-jepa convert: {error}", file=sys.stderr)
        return 1
    print(f"sha256:{digest}  {arguments.output}")
    return 0
