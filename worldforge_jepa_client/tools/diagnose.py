"""Tell from logged episodes whether a served model, and the inputs it is sent, are fit to plan with.

The first line printed is the verdict; the exit code is 0 for "fit" only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from worldforge_jepa_client.diagnosis import Diagnosis, Keys, Settings, diagnose, render_html
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.progress import Progress

_NOT_FIT = 2
"""Exit code of a diagnosis that was made and is not "fit"; 1 is that of an error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    told = Settings()
    connection.add_arguments(parser, timeout=60.0)
    parser.add_argument(
        "--episodes", required=True, help="npz:DIR, hdf5:FILE or lerobot:DIR; docs/diagnosis.md says what is in them"
    )
    parser.add_argument("--model", default="", help="a served model's name (default: the server's default one)")
    parser.add_argument("--windows", type=int, default=told.windows, help=f"to score (default: {told.windows})")
    parser.add_argument("--samples", type=int, default=told.samples, help=f"candidates (default: {told.samples})")
    parser.add_argument("--horizon", type=int, help="model steps (default: the model's published planner's, or 6)")
    parser.add_argument("--seed", type=int, default=told.seed, help=f"of every draw (default: {told.seed})")
    for name in ("frames", "actions", "proprio"):
        parser.add_argument(f"--{name}-key", help=f"the name of the episodes' {name}")
    parser.add_argument("--frameskip", type=int, help="of a model that does not publish it")
    parser.add_argument(
        "--actions-are-normalized", action="store_true", help="send the logged actions as normalized ones"
    )
    parser.add_argument(
        "--max-calls", type=int, default=told.most_calls, help=f"bound on calls (default: {told.most_calls})"
    )
    parser.add_argument(
        "--max-mib", type=int, default=told.most_bytes >> 20, help=f"bound on MiB (default: {told.most_bytes >> 20})"
    )
    parser.add_argument("--report", type=Path, help="where to write the page, HTML")
    parser.add_argument("--json", type=Path, help="where to write every figure, JSON")


def run(arguments: argparse.Namespace) -> int:
    """Diagnose, write what was asked for, print the verdict first, and return 0 if it is "fit"."""
    with connection.connect(arguments) as client, Progress("diagnosing") as bar:
        found = diagnose(
            client, arguments.episodes, _settings(arguments), lambda stage, done, total: bar.show(done, total, stage)
        )
    _write(arguments.json, json.dumps(found.figures, indent=1, allow_nan=False) + "\n")
    _write(arguments.report, render_html(found.figures))
    print("\n".join(_lines(found)))
    return 0 if found.verdict.fit else _NOT_FIT


def _settings(arguments: argparse.Namespace) -> Settings:
    names = ("model", "windows", "samples", "horizon", "seed", "frameskip", "actions_are_normalized")
    return Settings(
        **{name: getattr(arguments, name) for name in names},
        keys=Keys(arguments.frames_key, arguments.actions_key, arguments.proprio_key),
        most_calls=arguments.max_calls,
        most_bytes=arguments.max_mib << 20,
    )


def _write(path: Path | None, text: str) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _lines(found: Diagnosis) -> list[str]:
    figures: dict[str, Any] = found.figures
    lines, measured = [found.verdict.text], figures["measures"]
    if figures["remedy"]:
        lines.append(f"  change       {figures['remedy']}")
        named = [each for each in figures["hypotheses"] or () if each["hypothesis"]["name"] == figures["hypothesis"]]
        lines += [f"  rank         {each['rank']:.3f} so, {each['sent_rank']:.3f} as sent" for each in named]
    for name, said in (("among_other_windows", "rank"), ("control_other_goal", "control")):
        if measured[name]:
            rank = measured[name]["rank"]
            lines.append(f"  {said:12} {rank['mean']:.3f} ({rank['low']:.3f} to {rank['high']:.3f}); 0.5 is chance")
    advice = ", ".join(f"{name} {value}" for name, value in figures["recommendation"].items())
    lines.append(f"  recommended  {advice}")
    lines.append(f"  episodes     {figures['episodes']['used']} used, {len(figures['episodes']['broken'])} broken")
    lines += [f"    {each['name']}: {each['problem']}" for each in figures["episodes"]["broken"]]
    lines += [f"  left out     {each}" for each in figures["left_out"]]
    return lines
