"""Injects every fault into logs and prints a Markdown table of what it is named: `python -m tests.diagnosis.table`.

The exit code is 0 if right logs are fit and each fault has its own name.
"""

import argparse
import sys

from examples.two_room.logs import log_episodes
from tests.diagnosis.faults import FAULTS, Fault
from worldforge_jepa_client import Client
from worldforge_jepa_client.diagnosis import Settings, diagnose
from worldforge_jepa_client.tools import local_server
from worldforge_jepa_client.tools.exit_code import exit_code

EPISODES, STEPS = 40, 50
FEW = {"windows": 200, "samples": 16, "horizon": 2, "most_calls": 2000}
"""Calls suffice for a verdict; what follows it is left out."""
RIGHT = Fault(dict, "")


def main() -> int:
    parser = argparse.ArgumentParser("tests.diagnosis.table")
    parser.add_argument("faults", nargs="*", default=[*FAULTS], help="which (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seed = options.seed
    episodes = list(log_episodes(EPISODES, STEPS, seed))
    print("| fault | verdict | mean rank as sent | as it should be | corrected p |\n|---|---|---|---|---|", flush=True)
    with local_server.running_server("--model", "tiny") as target, Client(target, timeout=60) as client:
        rows = {"none": RIGHT, **{name: FAULTS[name] for name in options.faults}}
        named = [_row(client, episodes, seed, name, fault) for name, fault in rows.items()]
    print(f"\n{sum(named)} of {len(named)} right")
    return 0 if all(named) else 1


def _row(client, episodes, seed, name, fault) -> bool:
    """Print the row of a fault, and return whether it is named right."""
    settings = Settings(**FEW, seed=seed, actions_are_normalized=fault.actions_are_normalized)
    found = diagnose(client, [fault.change(episode) for episode in episodes], settings).figures
    sent = found["measures"]["among_other_windows"]
    best = [each for each in found["hypotheses"] or () if each["hypothesis"]["name"] == found["hypothesis"]]
    figures = [f"{best[0][key]:.3g}" for key in ("sent_rank", "rank", "p")] if best else [_rank(sent), "-", "-"]
    print(f"| {name} | {found['verdict']} | {' | '.join(figures)} |", flush=True)
    return found["verdict"] == (f"inputs look wrong: {fault.name}" if fault.name else "fit")


def _rank(sent) -> str:
    return f"{sent['rank']['mean']:.3g}" if sent else "not measured"


if __name__ == "__main__":
    sys.exit(exit_code("tests.diagnosis.table", main))
