"""One-pass scoring against pytorch-msssim: PSNR, SSIM and MS-SSIM of one 448x448 image.

    python -m speed metrics [REPEATS]      # goals: at least 10x, equal to 1e-5

Turns are interleaved, so that a slow moment of the machine meets both. pytorch-msssim has 2 threads; the one pass has
one, as in a run, where several images are scored at the same time.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import torch
from pytorch_msssim import ms_ssim, ssim

from benchmark.metrics import ERROR_IDS, METRICS
from benchmark.scoring.fastmetrics import score_fast
from speed.figures import Figure

IDS = ("psnr[rgb]", "ssim[gaussian11,rgb]", "msssim[perchannel]")


def make_pair(side: int = 448) -> tuple[np.ndarray, np.ndarray]:
    """Return an output and a target, float32 (H, W, 3) in [0, 1]: waves, a cast and noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side]
    target = np.stack([0.5 + 0.3 * np.sin(rows / period + columns / (period + 3)) for period in (5, 9, 17)], axis=2)
    output = 0.9 * target + [0.02, 0.0, 0.07] + 0.05 * random.standard_normal(target.shape)
    return output.clip(0, 1).astype(np.float32), target.clip(0, 1).astype(np.float32)


def main() -> list[Figure]:
    """Print times and their ratios with quartiles; return the ratios and the largest difference from float64."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    torch.set_num_threads(2)
    output, target = make_pair()
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[None].contiguous() for image in (output, target))

    def torch_metrics() -> None:
        with torch.inference_mode():
            ssim(x, y, data_range=1)
            ms_ssim(x, y, data_range=1)

    def error_scores() -> None:
        output[0, 0, 0] = (output[0, 0, 0] + 0.01) % 1  # another image each time: shifts of the last ones are kept
        score_fast(output, target, ERROR_IDS)

    contenders = {
        "pytorch_msssim": torch_metrics,
        "one pass": lambda: score_fast(output, target, IDS),
        "float64 reference": lambda: [METRICS.get(id).function(output, target) for id in IDS],
        "parts of the error": error_scores,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 2):
        for name, measured in contenders.items():
            begin = time.perf_counter()
            measured()
            if turn >= 2:  # the first two warm the caches up
                seconds[name].append(time.perf_counter() - begin)
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:18} {1e3 * middle:8.2f} ms  ({1e3 * low:.2f}-{1e3 * high:.2f}, n={len(values)})")
    figures = []
    for name in ("pytorch_msssim", "float64 reference", "parts of the error"):
        ratios = [slow / fast for slow, fast in zip(seconds[name], seconds["one pass"])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name} / one pass: {middle:.1f}x ({low:.1f}-{high:.1f})")
        goal = 10 if name == "pytorch_msssim" else None
        figures.append(Figure(f"{name} / one pass", middle, "x", at_least=goal))
    fast = score_fast(output, target, IDS)
    worst = max(abs(fast[id] - METRICS.get(id).function(output, target)) for id in IDS)
    return [*figures, Figure("largest difference from float64", worst, at_most=1e-5)]
