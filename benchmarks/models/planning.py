"""(b) The cost of the wire for a planner.

One CEM plan on the embedded model, five variants: in this process without any server (the reference), and through a
server process by unary calls, a context, a session, and the server's own planner. All plans must be equal bit by bit.
This process has the server's threads and malloc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from benchmarks.harness import Seconds, interleave, keeping, median
from benchmarks.report import Table, Target, p50_p99
from benchmarks.scene import two_rooms
from benchmarks.servers import serving
from worldforge_jepa_client import Client
from worldforge_jepa_client.contract.types import Timing
from worldforge_jepa_client.planning import CEM, plan
from worldforge_jepa_server.app.system import tune_malloc
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.local import LocalClient

SECONDS, THREADS = 80, 2
SAMPLES, ITERATIONS, HORIZON, ACTION_DIM, SEED = 300, 30, 6, 10, 0
REFERENCE, STREAM, PLAN = "in process", "stream", "Plan"

Plan = npt.NDArray[np.float32]
ScoreCandidates = Callable[[Plan], Plan]


def measure(effort: float) -> Table:
    """Plan in turns."""
    scene = two_rooms()
    tune_malloc()
    timings: list[Timing] = []
    with (
        serving("--threads", str(THREADS)) as server,
        Client(server.target, timeout=120) as client,
        LocalClient(config=ServerConfig(threads=THREADS)) as local,
    ):
        variants = {REFERENCE: _in_process(local, scene), **_by_server(client, scene, timings)}
        plans: dict[str, list[Plan]] = {name: [] for name in variants}
        # A round takes most of a minute, and a plan makes 30 calls of which one is the first: all rounds count.
        kept = {name: keeping(plans[name], variant) for name, variant in variants.items()}
        taken = interleave(kept, SECONDS * effort, warm_up=False)
    reference = plans[REFERENCE][0]
    equal = {name: all(np.array_equal(each, reference) for each in made) for name, made in plans.items()}
    return _table(taken, equal, timings)


def _by(score_candidates: ScoreCandidates) -> Plan:
    return plan(CEM(horizon=HORIZON, action_dim=ACTION_DIM, rng=SEED, samples=SAMPLES), score_candidates, ITERATIONS)


def _in_process(client: LocalClient, scene: dict[str, Any]) -> Callable[[], Plan]:
    def variant() -> Plan:
        with client.session(**scene) as session:
            return _by(lambda candidates: session.score(candidates).scores)

    return variant


def _by_server(client: Client, scene: dict[str, Any], timings: list[Timing]) -> dict[str, Callable[[], Plan]]:
    """The variants through a server; `timings` collects what it says of each of the session's calls."""

    def unary() -> Plan:
        return _by(lambda it: client.score(**scene, action_candidates=it).costs)

    def context() -> Plan:
        kept = client.create_context(**scene)
        return _by(lambda it: client.score(context=kept, action_candidates=it).costs)

    def session() -> Plan:
        with client.session(**scene) as session:

            def score_there(candidates: Plan) -> Plan:
                result = session.score(candidates)
                timings.append(result.timing)
                return result.costs

            return _by(score_there)

    def server() -> Plan:
        planning = client.plan(**scene, horizon=HORIZON, samples=SAMPLES, iterations=ITERATIONS, seed=SEED)
        return planning.result().actions

    return {"unary": unary, "context": context, STREAM: session, PLAN: server}


def _table(taken: dict[str, Seconds], equal: dict[str, bool], timings: list[Timing]) -> Table:
    ratios = {name: seconds / taken[REFERENCE] for name, seconds in taken.items()}
    rows = [
        (name, *p50_p99(seconds), median(ratios[name]), "yes" if equal[name] else "NO")
        for name, seconds in taken.items()
    ]

    def draw(axes: Axes) -> None:
        axes.boxplot([ratios[name] for name in taken], orientation="horizontal", tick_labels=list(taken))
        axes.set_xlabel(f"time of a plan, in times of {REFERENCE}")

    return Table(
        "planning",
        f"A CEM plan on the embedded model: {ITERATIONS} iterations of {SAMPLES} candidates, horizon {HORIZON}",
        ("variant", "p50 ms", "p99 ms", "x in process", "plan equal"),
        rows,
        draw,
        [
            Target(f"a plan over a {STREAM}, in times of {REFERENCE}", median(ratios[STREAM]), 1.05),
            Target(f"a plan by {PLAN}, in times of {REFERENCE}", median(ratios[PLAN]), 1.02),
            Target("ways whose plan differs from the one made in process", sum(not same for same in equal.values()), 0),
            Target(
                "part of the server's time that a stream's timing fields account for",
                median([_accounted(timing) for timing in timings]),
                0.9,
                at_least=True,
            ),
        ],
    )


def _accounted(timing: Timing) -> float:
    parts = timing.queue_us + timing.decode_us + timing.encode_us + timing.unroll_us + timing.distance_us
    return parts / timing.total_us
