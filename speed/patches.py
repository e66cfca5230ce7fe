"""Images per second of small images: the plain pass of torch, channels last and joined kernels, in one run.

    python -m speed patches [MODEL ...] [--size HxW] [--turns N]

The patches of ZRR are 224x224 packed, those of SIDD 256x256; each network takes those of its task. The ways take turns
in one process, with the heap that ``run --tile auto`` has; the first two passes of each are not timed. "joined" is what
``--tile auto`` runs for a small image, and must be within 1e-5 of the largest output.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.conditions import Conditions
from benchmark.fullres.checking import largest_difference
from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.selection import entry_of
from benchmark.units import size_of
from speed.figures import Figure

MODELS = ["hyperunet_32_16_2048", "unet", "plainunet_8", "lan_efficient", "mobileie", "vdn", "dncnn_17", "pynet"]
PATCH = {"raw2rgb": (224, 224)}
OTHER_PATCH = (256, 256)


def main() -> list[Figure]:
    """Print images per second of each network and way; return the ratios to the plain pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=MODELS)
    parser.add_argument("--size", help="of the planes")
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    size = size_of(options.size) if options.size else None
    set_heap(keep=True)
    figures = []
    for name in options.models:
        ways, difference = ways_of(name, size)
        seconds = timed(ways, options.turns)
        plain = seconds["plain"]
        rates = ", ".join(f"{way} {1 / one:.1f}/s ({plain / one:.2f}x)" for way, one in seconds.items())
        print(f"{name:22} {rates}; joined differs by {difference:.1e}", flush=True)
        figures.append(Figure(f"{name}: joined kernels / plain pass", plain / seconds["joined"], "x", at_least=1.0))
        figures.append(Figure(f"{name}: difference", difference, at_most=1e-5))
    return figures


def ways_of(name: str, size: tuple[int, int] | None) -> tuple[dict[str, Callable[[], Tensor]], float]:
    """Return the ways to run a network on one image, and how far the joined kernels are from the plain pass."""
    entry = entry_of(name, None, {})
    plain, last = entry.build(seed=0).eval(), entry.build(seed=0).eval().to(memory_format=torch.channels_last)
    height, width = size or PATCH.get(entry.card.task, OTHER_PATCH)
    planes = torch.rand(1, subject_of(entry, plain).channels, height, width)
    joined = FullNetwork(subject_of(entry, plain), Conditions(tile="auto"))

    def channels_last() -> Tensor:
        output: Tensor = last(planes.contiguous(memory_format=torch.channels_last)).contiguous()
        return output

    ways = {"plain": lambda: plain(planes), "channels last": channels_last, "joined": lambda: joined(planes)}
    with torch.inference_mode():
        return ways, largest_difference(joined(planes), plain(planes))


def timed(ways: dict[str, Callable[[], Tensor]], turns: int) -> dict[str, float]:
    """Return the median seconds of each way, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for turn in range(-2, turns):
            for name, run in ways.items():
                begin = time.perf_counter()
                run()
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}
