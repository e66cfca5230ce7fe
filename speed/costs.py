"""Costs of every model at 12 MP, each in a process of its own: seconds after imports, peak resident memory.

python -m speed costs            # goal: under 2 s and under 1 GiB for any model
"""

from __future__ import annotations

import subprocess
import sys

from speed.figures import Figure

ONE = """
import resource, sys, time
from benchmark.costs.profiling import profile
from zoo import get_card, list_models
list_models()
card = get_card(sys.argv[1])
start = time.perf_counter()
document = profile(card.name, size=(1536, 2048) if card.task == "raw2rgb" else (3072, 4096))
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, document["macs"])
"""


def main() -> list[Figure]:
    """Print one line per model; return the largest of each figure."""
    from zoo import list_models

    worst = [0.0, 0.0]
    print(f"{'model':24} {'seconds':>8} {'GiB':>6} {'GMACs':>12}")
    for name in list_models():
        done = subprocess.run([sys.executable, "-c", ONE, name], capture_output=True, text=True, check=True)
        seconds, gib, macs = map(float, done.stdout.split())
        worst = [max(worst[0], seconds), max(worst[1], gib)]
        print(f"{name:24} {seconds:8.2f} {gib:6.2f} {macs / 1e9:12.1f}", flush=True)
    return [
        Figure("longest for one network", worst[0], "s", at_most=2),
        Figure("largest resident memory", worst[1], "GiB", at_most=1),
    ]
