"""The figures of a diagnosis as one self-contained HTML page: tables, and plots as inline SVG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2430; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; padding: .6rem 1rem; border-left: .5rem solid var(--mark); background: #f4f5f7 }
h2 { font-size: 1.1rem; margin-top: 2rem } table { border-collapse: collapse } .row { display: flex; flex-wrap: wrap }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #e3e6ea; vertical-align: top }
svg { margin-right: 1rem } text { font: 11px system-ui, sans-serif; fill: #5a6372 } pre { overflow: auto }
"""
COLOURS = ("#1f6fb2", "#c4572b", "#3f8f4f", "#8457a8", "#8a7a1f", "#5a6372")
WIDTH, HEIGHT, LEFT, BOTTOM = 380, 210, 42, 30
Series = Mapping[str, Sequence[float | None]]


def render_html(figures: Mapping[str, Any]) -> str:
    """Return the page of `Diagnosis.figures`; all text in it is escaped, and nothing in it is loaded or run."""
    verdict = escape(figures["verdict"])
    mark = "#3f8f4f" if figures["verdict"] == "fit" else "#c4572b"
    sections = (_summary, _ranks, _plots, _landscapes, _hypotheses, _statistics, _evidence)
    body = "\n".join(section(figures) for section in sections)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{verdict}</title>'
        f"<style>:root {{ --mark: {mark} }}{STYLE}</style><h1>{verdict}</h1>\n{body}</html>\n"
    )


def _summary(figures: Mapping[str, Any]) -> str:
    advice, shape, model = figures["recommendation"], figures["shape"], figures["model"]
    rows = [
        ("model", f"{model['name']} ({model['source']}), {model['device']}, {model['dtype']}"),
        ("weights", model["checkpoint_digest"] or "not published"),
        ("windows", f"{shape['windows']} of {figures['episodes']['used']} episodes, H = {shape['horizon']}"),
        ("likely cause", figures["cause"]),
        ("change", figures["remedy"]),
        ("recommended", ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in advice.items())),
        *((f"broken: {each['name']}", each["problem"]) for each in figures["episodes"]["broken"]),
        *(("left out", each) for each in figures["left_out"]),
    ]
    return _table(None, [row for row in rows if row[1]])


def _ranks(figures: Mapping[str, Any]) -> str:
    names = {
        "among_other_windows": "among actions of other windows",
        "control_other_goal": "control: the same, goal of another episode",
        "among_gaussian": "among Gaussian actions",
        "control_other_goal_gaussian": "control: the same, goal of another episode",
    }
    found = figures["measures"]
    rows = [
        (said, *(_interval(found[name][part]) for part in ("rank", "top1", "auroc")))
        for name, said in names.items()
        if found[name]
    ]
    extra = [
        (f"Kendall's tau of latent distance along an episode, {name}", _interval(value), "", "")
        for name, value in (found["order"] or {}).items()
    ]
    extra.append(("largest change of a repeated score, as a share", _text(found["repeats"]), "", ""))
    head = ("the true actions", "rank (0 best, 0.5 chance)", "top-1", "AUROC")
    return _section("Ranking", _table(head, [*rows, *extra]) + "<p>In brackets 95 % intervals over episodes.</p>")


def _plots(figures: Mapping[str, Any]) -> str:
    found, plots = figures["measures"], []
    if found["prediction"]:
        parts = {"true actions": "own", "another window's": "foreign", "between the two": "sensitivity"}
        series = {said: _means(found["prediction"][part]) for said, part in parts.items()}
        plots.append(
            _lines("Prediction error over persistence, by step", {**series, "persistence": [1.0] * _len(series)})
        )
    if found["reach"]:
        plots.append(_lines("Rank of the true actions, by horizon", _reach_series(found["reach"]), top=0.7))
    return _section("By step", f'<div class="row">{"".join(plots)}</div>') if plots else ""


def _reach_series(reach: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The rank of each objective at its best weight, and the mean control."""
    series: dict[str, list[float | None]] = {}
    controls: dict[int, list[float]] = {}
    for each in reach:
        series.setdefault(f"{each['objective']}, proprio weight {each['weight']:g}", []).append(each["rank"]["mean"])
        controls.setdefault(each["step"], []).append(each["control"]["mean"] or 0.5)
    best: dict[str, list[float | None]] = {}
    for name in sorted(series, key=lambda key: sum(value or 0 for value in series[key])):
        if not any(key.startswith(name.partition(",")[0]) for key in best):
            best[name] = series[name]
    return {**best, "control": [sum(values) / len(values) for values in controls.values()]}


def _landscapes(figures: Mapping[str, Any]) -> str:
    if not figures["landscapes"]:
        return ""
    plots = "".join(_heat(each["costs"], each["offsets"], each["dims"]) for each in figures["landscapes"])
    said = "Costs around the true action of one model step, in deviations of the logged actions; dark is low."
    return _section("Energy landscape", f'<div class="row">{plots}</div><p>{said} The cross is the true action.</p>')


def _hypotheses(figures: Mapping[str, Any]) -> str:
    head = (
        "sent instead, were it wrong",
        "rank",
        "as sent",
        "bits gained",
        "margin gained",
        "corrected p",
        "windows",
        "change",
    )
    rows = [
        (
            ("▶ " if each["clear"] else "") + each["hypothesis"]["name"],
            *(_text(each[name]) for name in ("rank", "sent_rank", "gain", "margin", "p", "windows")),
            each["hypothesis"]["remedy"] if each["clear"] else "",
        )
        for each in figures["hypotheses"] or []
    ]
    return _section("May the inputs be wrong?", _table(head, rows)) if rows else ""


def _statistics(figures: Mapping[str, Any]) -> str:
    names = ("mean", "std", "model_mean", "model_std")
    rows = [(part, *(_text(values[name]) for name in names)) for part, values in figures["statistics"].items()]
    return _section("Logged values, beside what the model publishes", _table(("", *names), rows))


def _evidence(figures: Mapping[str, Any]) -> str:
    kept = {name: figures[name] for name in ("model", "settings", "budget")}
    return _section("Contract, settings and calls", f"<pre>{escape(json.dumps(kept, indent=1))}</pre>")


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _table(head: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> str:
    first = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{first}{body}</table>"


def _interval(value: Mapping[str, Any]) -> str:
    said = f"{_text(value['mean'])} ({_text(value['low'])} to {_text(value['high'])})"
    return said.replace(" ", "\N{NO-BREAK SPACE}")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _means(estimates: Iterable[Mapping[str, Any]]) -> list[float | None]:
    return [each["mean"] for each in estimates]


def _len(series: Series) -> int:
    return max(map(len, series.values()))


def _lines(title: str, series: Series, top: float | None = None) -> str:
    """Lines over steps from 1; `top` is the axis' end, by default just above the largest value."""
    most = top or 1.05 * max([each for values in series.values() for each in values if each is not None], default=1.0)
    count = max(2, _len(series))

    def point(step: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 10) * step / (count - 1)
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * min(value / most, 1):.1f}"

    drawn = []
    for (name, values), colour in zip(series.items(), COLOURS, strict=False):
        points = " ".join(point(step, value) for step, value in enumerate(values) if value is not None)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(
            f'<text x="{LEFT}" y="{HEIGHT + 12 * len(drawn) // 2 + 6}" style="fill:{colour}">{escape(name)}</text>'
        )
    base = HEIGHT - BOTTOM
    ticks = "".join(
        f'<text x="{point(step, 0).split(",")[0]}" y="{base + 14}" text-anchor="middle">{step + 1}</text>'
        for step in range(count)
    )
    axes = (
        f'<path d="M{LEFT} 10V{base}H{WIDTH - 10}" fill="none" stroke="#9aa3af"/>{ticks}'
        f'<text x="{LEFT - 6}" y="14" text-anchor="end">{most:.2g}</text>'
        f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">0</text>'
    )
    height = HEIGHT + 14 * len(series) + 12
    return _figure(title, f'<svg width="{WIDTH}" height="{height}" role="img">{axes}{"".join(drawn)}</svg>')


def _heat(costs: Sequence[Sequence[float]], offsets: Sequence[float], dims: Sequence[int]) -> str:
    """A grid of costs; the first dim grows to the right, the second downwards."""
    low, high = min(map(min, costs)), max(map(max, costs))
    size, count = 12, len(costs)
    cells = []
    for row, values in enumerate(costs):
        for column, value in enumerate(values):
            share = (value - low) / ((high - low) or 1)
            colour = f"rgb({round(30 + 220 * share)},{round(50 + 190 * share)},{round(95 + 130 * share)})"
            cells.append(f'<rect x="{column * size}" y="{row * size}" width="{size}" height="{size}" fill="{colour}"/>')
    middle = count * size / 2
    cross = f'<path d="M{middle - 6} {middle}h12M{middle} {middle - 6}v12" stroke="#e04a2b" stroke-width="2.5"/>'
    said = f"dims {dims[0]} (right), {dims[1]} (down), ±{offsets[-1]:g}"
    label = f'<text x="0" y="{count * size + 14}">{escape(said)}</text>'
    return (
        f'<svg width="{count * size + 12}" height="{count * size + 20}" role="img">{"".join(cells)}{cross}{label}</svg>'
    )


def _figure(title: str, svg: str) -> str:
    return f"<div><p><b>{escape(title)}</b></p>{svg}</div>"
