"""Evaluating a free network: the pipeline's threads against the serial loop, in one run.

    python -m speed evaluate [IMAGES]      # goal: over 1.7 cores busy on 2

The test pairs of the ZRR stand-in again and again, through the bilinear network, scored by the protocol's ids. The
first row is the plain loop over the float64 reference, the others share the one-pass scores. CPU seconds are those
of the whole process; turns are interleaved.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmark.datasets import DATASETS
from benchmark.opening import open_dataset
from benchmark.protocols import ZRR
from benchmark.scoring.evaluation import evaluate_images
from benchmark.types import Sample
from speed.figures import Figure
from zoo import create_model
from zoo.card import get_card

TURNS = 5


def main() -> list[Figure]:
    """Print seconds, cores and images per second of each way; return the ratios."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    torch.set_num_threads(1)  # the network is free; its threads would only be in the way
    data = open_dataset(DATASETS.get("zrr"))
    model, spec = create_model("bilinear").eval(), get_card("bilinear").input
    ids = [f"{data.ids[index % len(data.ids)]} ({index})" for index in range(count)]

    class Repeated:
        """The split again and again."""

        name, split, provenance = data.name, data.split, data.provenance

        def __init__(self) -> None:
            self.ids: Sequence[str] = ids
            self.scenes: Sequence[str] = ids

        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(data[index % len(data.ids)], id=ids[index])

        def digest(self, limit: int | None = None) -> str:
            return data.digest(limit)

    def way(scoring: str, workers: int | None) -> dict[str, dict[str, float]]:
        how: dict[str, Any] = {"protocol": ZRR, "metrics": ZRR.metrics, "scoring": scoring, "workers": workers}
        return evaluate_images(model, spec, Repeated(), count, **how)[0]

    ways = {
        "serial, float64 reference": lambda: way("float64", 0),
        "serial, one pass": lambda: way("one-pass", 0),
        "2 threads, one pass": lambda: way("one-pass", 2),
        "3 threads, one pass": lambda: way("one-pass", 3),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cores: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for turn in range(TURNS + 1):
        for name, run in ways.items():
            begin, busy = time.perf_counter(), time.process_time()
            results[name] = run()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
                cores[name].append((time.process_time() - busy) / seconds[name][-1])
    for name in ways:
        middle = statistics.median(seconds[name])
        spread = f"{min(seconds[name]):.2f}-{max(seconds[name]):.2f}"
        print(f"{name:26} {middle:6.2f} s ({spread}) {count / middle:6.1f} images/s", end=" ")
        print(f"{statistics.median(cores[name]):.2f} cores ({min(cores[name]):.2f}-{max(cores[name]):.2f})")
    base = seconds["serial, one pass"]
    figures = [Figure("busy cores, 2 threads", statistics.median(cores["2 threads, one pass"]), at_least=1.7)]
    for name in ("serial, float64 reference", "2 threads, one pass", "3 threads, one pass"):
        ratio = statistics.median(serial / other for serial, other in zip(base, seconds[name]))
        figures.append(Figure(f"serial, one pass / {name}", ratio, "x"))
    same = results["serial, one pass"] == results["2 threads, one pass"] == results["3 threads, one pass"]
    print(f"the same scores for any number of threads: {same}")
    return figures
