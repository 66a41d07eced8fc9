"""Write one self-contained HTML page of a recording's plans: scene, scores by iteration, histogram, stage times."""

from __future__ import annotations

import argparse
import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from worldforge_jepa_client.tools.recording.file import read
from worldforge_jepa_client.tools.recording.plans import Frame, Plan, plans

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2430; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
section { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start } h2 { width: 100%; margin-bottom: 0 }
figure { margin: 0 } figcaption { color: #5a6372 } img { width: 192px; image-rendering: pixelated }
td, th { padding: .1rem .8rem .1rem 0; text-align: right } th { font-weight: normal; text-align: left; color: #5a6372 }
"""
COLOURS = ("#1f6fb2", "#c4572b", "#3f8f4f")
WIDTH, HEIGHT, BINS = 360, 160, 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("file", type=Path, help="the recording")
    parser.add_argument("--output", type=Path, default=Path("plans.html"), help="the page (default: plans.html)")


def run(arguments: argparse.Namespace) -> int:
    """Write the page, say where, and return 0; 1 where the recording has no plan."""
    found = plans(read(arguments.file))
    arguments.output.write_text(page(found), encoding="utf-8")
    print(f"{len(found)} plans in {arguments.output}")
    return 0 if found else 1


def page(found: Sequence[Plan]) -> str:
    """Return the page; nothing in it is loaded or run, and all text is escaped."""
    body = "\n".join(_section(plan) for plan in found)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{len(found)} plans</title>'
        f"<style>{STYLE}</style><h1>{len(found)} plans</h1>\n{body}</html>\n"
    )


def _section(plan: Plan) -> str:
    count = len(next(iter(plan.curves.values())))
    frames = "".join(_figure(name, _picture(frame)) for name, frame in plan.frames.items())
    charts = _figure("score by iteration, lower is better", _lines(plan.curves))
    if plan.costs.size:
        charts += _figure(f"scores of the last iteration, {plan.costs.size} candidates", _histogram(plan.costs))
    return (
        f"<section><h2>{escape(plan.title)}: {count} iterations</h2>{frames}{charts}"
        f"{_figure('milliseconds on the server', _times(plan))}</section>"
    )


def _figure(caption: str, content: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _picture(frame: Frame) -> str:
    data = base64.b64encode(png(frame)).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _lines(curves: dict[str, list[float]]) -> str:
    finite = [value for values in curves.values() for value in values if np.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    drawn = []
    for index, ((name, values), colour) in enumerate(zip(curves.items(), COLOURS, strict=False)):
        points = " ".join(
            f"{WIDTH * step / max(1, len(values) - 1):.1f},{HEIGHT * (high - value) / ((high - low) or 1.0):.1f}"
            for step, value in enumerate(values)
            if np.isfinite(value)
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="{70 * index}" y="{HEIGHT + 16}" fill="{colour}">{escape(name)}</text>')
    drawn.append(f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end">{low:.4g} to {high:.4g}</text>')
    return _svg("".join(drawn))


def _histogram(costs: np.typing.NDArray[np.float32]) -> str:
    counts, edges = np.histogram(costs, bins=BINS)
    width = WIDTH / BINS
    bars = "".join(
        f'<rect x="{width * index:.1f}" y="{HEIGHT * (1 - count / counts.max()):.1f}" width="{width - 1:.1f}" '
        f'height="{HEIGHT * count / counts.max():.1f}" fill="{COLOURS[0]}"/>'
        for index, count in enumerate(counts)
    )
    return _svg(f'{bars}<text y="{HEIGHT + 16}">{edges[0]:.4g} to {edges[-1]:.4g}</text>')


def _svg(content: str) -> str:
    return f'<svg width="{WIDTH}" height="{HEIGHT + 22}" role="img">{content}</svg>'


def _times(plan: Plan) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{np.median(values):.2f}</td><td>{max(values):.2f}</td></tr>"
        for name, values in plan.milliseconds.items()
    )
    return f"<table><tr><th></th><td>median</td><td>most</td></tr>{rows}</table>"


def png(frame: Frame) -> bytes:
    """Return a frame, uint8 (3, height, width), as a PNG file."""
    rows = np.moveaxis(frame, 0, -1)
    height, width = rows.shape[:2]
    data = b"".join(b"\0" + row.tobytes() for row in rows)  # each row behind its filter, none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
