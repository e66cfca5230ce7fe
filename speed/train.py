"""Training: is the network or the data what a step waits for, and what does a filter bank per sample cost?

    python speed/train.py [STEPS]     # goals: over 90 % in the network; HyperConv's convolution within 1.3x

The first part trains `hyperunet_8_8_64` at batch 8 on the embedded stand-in of ZRR, 96x96 planes, and prints which
share of the steps was spent waiting for a batch. The second times forward and backward of HyperConv's batched
convolution, one filter bank per sample, beside a plain grouped convolution of the same sizes with the same number
of groups, at the three resolutions of that network; turns are interleaved, medians and quartiles are printed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmark.training.loop import train
from zoo.hyper import conv2d_per_sample

TURNS = 30
BATCH, CHANNELS = 8, 8


def main() -> None:
    """Print both figures with their goals."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    measure_waiting(steps)
    for side in (96, 48, 24):
        measure_convolution(side)


def measure_waiting(steps: int) -> None:
    """Train some steps; the first load of each sample is part of them."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = {
            "max_steps": steps,
            "batch_size": 8,
            "checkpoint_every": 10 * steps,
            "validation.every": 10 * steps,
            "validation.limit": 1,
        }
        done = train("standin_hyperunet_8_8_64", folder, overrides=overrides)
    print(
        f"hyperunet_8_8_64 at batch 8: {1 - done['wait_share']:.1%} of {steps} steps in the network"
        f" ({done['images_per_s']:.1f} images/s); goal over 90 %"
    )


def measure_convolution(side: int) -> None:
    """Time both convolutions on planes of ``side``, forward and backward."""
    torch.manual_seed(0)
    planes = torch.randn(BATCH, CHANNELS, side, side, requires_grad=True)
    filters = torch.randn(BATCH, CHANNELS, CHANNELS, 3, 3, requires_grad=True)
    merged = planes.detach().reshape(1, BATCH * CHANNELS, side, side).requires_grad_()
    grouped = filters.detach().flatten(0, 1).requires_grad_()

    def hyper() -> None:
        conv2d_per_sample(planes, filters).sum().backward()

    def plain() -> None:
        F.conv2d(merged, grouped, padding=1, groups=BATCH).sum().backward()

    hyper(), plain()
    ratios, seconds = [], []
    for _ in range(TURNS):
        plain_time, hyper_time = timed(plain), timed(hyper)
        ratios.append(hyper_time / plain_time)
        seconds.append(hyper_time)
    low, median, high = statistics.quantiles(ratios, n=4)
    print(
        f"HyperConv {BATCH}x{CHANNELS}x{side}x{side}: {median:.2f} times a grouped convolution ({low:.2f}-{high:.2f}),"
        f" {statistics.median(seconds) * 1e3:.2f} ms; goal at most 1.3"
    )


def timed(call: Callable[[], None]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
