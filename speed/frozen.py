"""A hyper-network on ExecuTorch with filters computed, given or frozen: time, and the share that XNNPACK runs.

    python -m speed frozen [MODEL ...] [--size HxW] [--passes N] [--threads N]

"computed" is the whole network, "given" its half that takes image and filters, "frozen" the network with the filters of
one image. Passes are interleaved, medians are printed, ratios hold within one run. No ratio is a goal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.backends.capture import capture
from benchmark.backends.executorch import lower, pass_of, to_pte
from benchmark.backends.placement import placement_of
from speed.figures import Figure
from zoo import create_model, get_card
from zoo.splitting import FrozenNetwork, split


def main() -> list[Figure]:
    """Print one table per network; return the times as ratios to those of frozen filters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["hyperunet_8_8_64"])
    parser.add_argument("--size", default="224x224")
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    return [figure for model in given.models for figure in table(model, (height, width), given.passes, given.threads)]


def table(model: str, size: tuple[int, int], passes: int, threads: int) -> list[Figure]:
    """Time the three forms of a network, print a line for each and return their ratios."""
    torch.manual_seed(0)
    network = create_model(model).eval()
    halves = split(network)
    assert halves is not None, f"{model} is no hyper-network"
    with torch.no_grad():
        planes = torch.rand(1, get_card(model).input.channels, *size)
        filters = list(halves.filters(planes))
        forms: dict[str, tuple[nn.Module, Sequence[Tensor]]] = {
            "computed": (network, [planes]),
            "given": (halves.forward, [planes, *filters]),
            "frozen": (FrozenNetwork(network, filters), [planes]),
        }
        runs, shares = {}, {}
        for name, (module, inputs) in forms.items():
            lowered = lower(capture(module, inputs))
            shares[name] = placement_of(lowered)["delegated_share"]
            runs[name] = pass_of(to_pte(lowered), threads)
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(passes + 1):
            for name, (_, inputs) in forms.items():
                begin = time.perf_counter()
                runs[name](inputs)
                seconds[name].append(time.perf_counter() - begin)
    # The first pass of each makes its buffers.
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(f"{model} at {size[0]}x{size[1]}, {threads} threads\n{'filters':10} {'ms':>8} {'x frozen':>9} {'XNNPACK':>9}")
    for name, median in medians.items():
        print(f"{name:10} {median * 1000:8.2f} {median / medians['frozen']:9.2f} {shares[name]:9.1%}")
    return [
        figure
        for name in ("computed", "given")
        for figure in (
            Figure(f"{model}: {name} / frozen", medians[name] / medians["frozen"], "x"),
            Figure(f"{model}: {name}, MACs in XNNPACK", 100 * shares[name], "%"),
        )
    ]
