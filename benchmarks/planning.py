"""What the wire costs a planner: `python -m benchmarks.planning`.

One CEM plan on the embedded model, five ways, interleaved in one run: in this process without any server (the
reference), and through a server process by unary calls, a context, a session, and the server's own planner. All five
plans must be equal bit by bit. Prints the median time of each, and of its ratio to the reference of the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from threading import Event

import numpy as np
import numpy.typing as npt

from examples.two_room.env import Layout, observe
from worldforge_jepa_client import Client
from worldforge_jepa_client.arguments import build_scene
from worldforge_jepa_client.calls import ScoreOptions
from worldforge_jepa_client.local_server import running_server
from worldforge_jepa_client.planning import CEM, plan
from worldforge_jepa_server.contexts import Cache
from worldforge_jepa_server.device import use_threads
from worldforge_jepa_server.encoding import Encoder
from worldforge_jepa_server.models import tiny
from worldforge_jepa_server.scoring import score, to_actions

HORIZON, ACTION_DIM, SEED, CHUNK = 6, 10, 0, 512

Plan = npt.NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    layout = Layout(wall_x=32, door_y=32)
    now, goal = (_frame(x, layout) for x in (12.0, 52.0))
    use_threads(arguments.threads)
    with running_server("--threads", str(arguments.threads)) as target, Client(target, timeout=120) as client:
        ways = _ways(client, now, goal, arguments.samples, arguments.iterations)
        plans = {name: way() for name, way in ways.items()}  # also warms everything up
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
    _print(seconds, plans, arguments)
    if len({result.tobytes() for result in plans.values()}) > 1:
        raise SystemExit("the plans differ")


def _ways(client: Client, now: object, goal: object, samples: int, iterations: int) -> dict[str, Callable[[], Plan]]:
    def by(score_candidates: Callable[[Plan], Plan]) -> Plan:
        planner = CEM(horizon=HORIZON, action_dim=ACTION_DIM, rng=SEED, samples=samples)
        return plan(planner, score_candidates, iterations)

    def in_process() -> Plan:
        model = tiny_model
        scene = Encoder(Cache(2**20, 60.0)).encode_scene(model, build_scene(now, goal, None))

        def score_here(candidates: Plan) -> Plan:
            actions = to_actions(model, candidates[0], True)
            costs: Plan = score(model, scene, actions, ScoreOptions(), CHUNK, Event()).scores.numpy()
            return costs

        return by(score_here)

    def unary() -> Plan:
        return by(lambda it: client.score(observation=now, goal=goal, action_candidates=it).scores)

    def context() -> Plan:
        kept = client.create_context(observation=now, goal=goal)
        return by(lambda it: client.score(context=kept, action_candidates=it).scores)

    def session() -> Plan:
        with client.session(observation=now, goal=goal) as session:
            return by(lambda it: session.score(it).scores)

    def server() -> Plan:
        planning = client.plan(
            observation=now, goal=goal, horizon=HORIZON, samples=samples, iterations=iterations, seed=SEED
        )
        return planning.result().actions

    tiny_model = tiny.load("cpu", "tiny")
    ways = (in_process, unary, context, session, server)
    return {way.__name__.replace("_", " "): way for way in ways}


def _frame(x: float, layout: Layout) -> dict[str, npt.NDArray[np.generic]]:
    seen = observe(np.array([x, 32.0], np.float32), layout)
    return {"visual": seen["image"], "proprio": seen["proprio"]}


def _print(seconds: dict[str, list[float]], plans: dict[str, Plan], arguments: argparse.Namespace) -> None:
    reference = np.array(seconds["in process"])
    print(
        f"CEM, {arguments.iterations} iterations of {arguments.samples} candidates, horizon {HORIZON}, "
        f"{arguments.threads} threads, {arguments.rounds} rounds"
    )
    print(f"{'':12}{'median ms':>12}{'x in process':>15}  equal")
    for name, values in seconds.items():
        times = np.array(values)
        equal = np.array_equal(plans[name], plans["in process"])
        print(
            f"{name:12}{np.median(times) * 1e3:12.1f}{np.median(times / reference):15.3f}  {'yes' if equal else 'NO'}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
