"""`python -m benchmarks.threads.worker`: score on the embedded model, as a server does.

Reads lines of "SAMPLES TIMES" and answers each with the seconds of so many scores, as JSON. With `--forever` it scores
and reads nothing. With `--shared` torch's threads share each operation, as they do in models that are not native.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.scene import candidates, two_rooms
from worldforge_jepa_server.local import LocalClient
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native import tiny

HORIZON = 6
LARGE, SMALL = 300, 16


class Shared:
    """The embedded model without the ways of native models to use a CPU's cores."""

    def __init__(self) -> None:
        native = tiny.load("cpu", "tiny")
        self.spec, self.normalize_actions, self._module = native.spec, native.normalize_actions, native.module

    @torch.inference_mode()
    def encode(self, observation: Observation) -> Latents:
        """See `WorldModel.encode`."""
        return self._module.encode(observation.visual, observation.proprio)

    @torch.inference_mode()
    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        yield from self._module.unroll(latents, actions, action_history)


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--forever", "--shared"):
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    with LocalClient(Shared() if arguments.shared else "tiny") as client:
        scene = two_rooms()
        proposed = {samples: candidates(samples, HORIZON) for samples in (LARGE, SMALL)}

        def seconds(samples: int) -> float:
            began = time.perf_counter()
            client.score(**scene, action_candidates=proposed[samples])
            return time.perf_counter() - began

        seconds(LARGE)
        print("ready", flush=True)
        while arguments.forever:
            seconds(LARGE)
        for line in sys.stdin:
            samples, times = map(int, line.split())
            print(json.dumps([seconds(samples) for _ in range(times)]), flush=True)


if __name__ == "__main__":
    main()
