"""`python -m benchmarks.threads.worker`: score on the embedded model, as a server does; `--forever` says nothing of it.

Reads lines of "SAMPLES TIMES" and answers each with the seconds of so many scores, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.scene import candidates, two_rooms
from worldforge_jepa_server.local import LocalClient

HORIZON = 6
LARGE, SMALL = 300, 16


def main() -> None:
    """Score."""
    with LocalClient("tiny") as client:
        scene = two_rooms()
        proposed = {samples: candidates(samples, HORIZON) for samples in (LARGE, SMALL)}

        def seconds(samples: int) -> float:
            began = time.perf_counter()
            client.score(**scene, action_candidates=proposed[samples])
            return time.perf_counter() - began

        seconds(LARGE)
        print("ready", flush=True)
        while sys.argv[1:] == ["--forever"]:
            seconds(LARGE)
        for line in sys.stdin:
            samples, times = map(int, line.split())
            print(json.dumps([seconds(samples) for _ in range(times)]), flush=True)


if __name__ == "__main__":
    main()
