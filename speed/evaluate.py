"""Evaluating a free network: the pipeline's threads against the serial loop, in one run.

    python speed/evaluate.py [IMAGES]      # goal: over 1.7 cores busy on 2

The test pairs of the ZRR stand-in again and again, through the bilinear network, scored by the protocol's ids. The
first row is the plain loop over the float64 reference, the others share the one-pass scores. CPU seconds are those
of the whole process; turns are interleaved.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from benchmark.datasets import DATASETS
from benchmark.evaluation import as_picture, run_sample, score_pair
from benchmark.fastmetrics import score_fast
from benchmark.opening import open_dataset
from benchmark.pipeline import run_pipeline
from benchmark.protocols import ZRR, prepare_output
from benchmark.types import Sample
from zoo import create_model
from zoo.card import get_card

TURNS = 5


def main() -> None:
    """Print seconds, cores and images per second of each way, and the ratios."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    torch.set_num_threads(1)  # the network is free; its threads would only be in the way
    data = open_dataset(DATASETS.get("zrr"))
    model, spec = create_model("bilinear").eval(), get_card("bilinear").input
    ids = [f"{data.ids[index % len(data.ids)]} ({index})" for index in range(count)]

    def load(index: int) -> Sample:
        return data[index % len(data.ids)]

    def fast(sample: Sample, output: torch.Tensor) -> dict[str, float]:
        pictures = (image[0].permute(1, 2, 0).numpy() for image in (output, sample.target))
        prepared, target = next(pictures), next(pictures)
        return score_fast(prepare_output(prepared, ZRR), target, ZRR.metrics)

    def slow(sample: Sample, output: torch.Tensor) -> dict[str, float]:
        return score_pair(as_picture(output), as_picture(sample.target), ZRR, ZRR.metrics)

    def way(score: Callable[[Sample, torch.Tensor], dict[str, float]], workers: int | None) -> list[dict[str, float]]:
        scores: list[dict[str, float]] = []
        run_pipeline(
            ids,
            load=load,
            forward=lambda sample: run_sample(model, sample, spec),
            score=score,
            deliver=lambda done: scores.append(done.score),
            workers=workers,
        )
        return scores

    ways = {
        "serial, float64 reference": lambda: way(slow, 0),
        "serial, one pass": lambda: way(fast, 0),
        "2 threads, one pass": lambda: way(fast, 2),
        "3 threads, one pass": lambda: way(fast, 3),
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
    for name in ("serial, float64 reference", "2 threads, one pass", "3 threads, one pass"):
        ratios = sorted(serial / other for serial, other in zip(base, seconds[name]))
        print(f"serial, one pass / {name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")
    same = results["serial, one pass"] == results["2 threads, one pass"] == results["3 threads, one pass"]
    print(f"the same scores for any number of threads: {same}")


if __name__ == "__main__":
    main()
