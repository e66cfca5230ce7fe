"""The harness's own share of a run: everything but the network's forward passes and the metrics.

    python -m speed overhead [MODEL ...]      # goal: under 10 %

Loading and scoring run beside the network in threads, so that seconds of work may exceed those of the clock. All in one
process, without timings.

Two shares: of the whole run on the 12 images of the stand-in, where counting costs and drawing the contact sheet
weigh most, and per image (loading and storing against network and metrics), which is what a long run tends to.
The networks get random weights, stored as a file, so that they are scored like trained ones.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from benchmark import run
from speed.figures import Figure
from zoo import create_model
from zoo.weights import save_state

WORK = ("forward", "score")
PER_IMAGE = ("load", "store")


def main() -> list[Figure]:
    """Print the phases of each model's run on the stand-in; return the shares that are not work."""
    figures = []
    names = sys.argv[1:] or ["bilinear", "plainunet_8", "hyperunet_8_8_64", "unet_w8", "unet"]
    with tempfile.TemporaryDirectory() as out:
        weights = {}
        for name in names:
            torch.manual_seed(0)
            model = create_model(name)
            if model.state_dict():
                weights[name] = str(Path(out) / f"{name}.safetensors")
                save_state(weights[name], model.state_dict(), {"model": name})
        run(
            "zrr", models="bilinear", limit=1, out=out, isolate=False, sizes=["none"]
        )  # what is loaded once per process
        results = run("zrr", models=names, weights=weights, out=out, rerun="always", isolate=False, sizes=["none"])
    print(f"{'model':24} {'total s':>8} {'work s':>8} {'of the run':>11} {'per image':>10}")
    for result in results:
        work = sum(result.phases.get(name, 0.0) for name in WORK)
        own = sum(result.phases.get(name, 0.0) for name in PER_IMAGE)
        share, steady = (result.seconds - work) / result.seconds, own / (own + work)
        print(f"{result.model:24} {result.seconds:8.2f} {work:8.2f} {100 * share:10.1f}% {100 * steady:9.1f}%")
        figures += [
            Figure(f"{result.model}: not work, of the run", 100 * share, "%"),
            Figure(f"{result.model}: not work, per image", 100 * steady, "%", at_most=10),
        ]
    return figures
