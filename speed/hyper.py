"""Hyper-networks: what predicting the filters takes, how their convolutions run, what frozen filters save.

    python -m speed hyper [MODEL ...] [--frame HxW]    # goal: the MLPs read their weights at the speed of memory
    python -m speed hyper hyperunet_8_8_64 hypervdn_8  # a quick trial: these weights stay in the cache

For each network three tables; turns are interleaved, medians are printed, ratios hold within one run.

1. **MLPs for one image**: the time to predict all filters of a pass from the embeddings' maxima, as bytes of weights
   and biases per second, each counted once and only as read. Three ceilings stand beside it: ``copy`` is that of
   ``benchmark.timing.roofline`` (``copy_gbs``: a copy of 256 MB, bytes read plus bytes written); ``read`` sums 256 MB
   of float32, bytes read; ``sum`` sums these very weights layer by layer, bytes read. The last is the fair one: it
   reads the same tensors, writes nothing, and is of the same minute. "as linear layers" is ``nn.Linear`` on one row,
   which MKL computes with one thread on some processors.
2. **Convolutions** of a layer's size. One image is a plain convolution; four are one grouped convolution or four plain
   ones (milliseconds per image). ``taken`` is what ``conv2d_per_sample`` itself takes for the four.
3. **A burst**: milliseconds per frame with filters predicted for each and with ``--freeze-filters`` (whose first frame
   predicts them), the frame whole and in tiles.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.backends import has_bf16
from benchmark.conditions import Conditions, TileSize
from benchmark.fullres.bf16 import filters_in_bf16
from benchmark.fullres.checking import probe_planes
from benchmark.fullres.hyper import hyper_layers, release_filters
from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import Subject, subject_of
from benchmark.selection import entry_of
from benchmark.timing.roofline import NoRequest, measure_ceilings
from speed.figures import Figure
from zoo.hyper import HyperConv2d, conv2d_per_sample, normalize_filters

MODELS = ["hyperunet_32_16_2048", "hypervdn_21"]
SIDES, BATCH = (128, 256, 512), 4
TURNS, FRAMES = 11, 5


def main() -> list[Figure]:
    """Print the ceilings, then the three tables of each network; return speed of the MLPs and what freezing saves."""
    figures = []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--frame", default="448x448", help="size of a burst's frames, in planes")
    options = parser.parse_args()
    height, width = map(int, options.frame.split("x"))
    # As ``infer`` does.
    set_heap(keep=True)
    limits = measure_ceilings(NoRequest())
    plain = torch.ones(64 << 20)
    read = plain.nbytes / median({"read": partial(torch.sum, plain)})["read"] / 1e9
    del plain
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"ceilings: copy {limits.copy_gbs:.1f} GB/s (read + written), read {read:.1f} GB/s")
    for name in options.models:
        entry = entry_of(name, None, {})
        subject = subject_of(entry, entry.build(seed=0))
        pooled = codes_of(subject)
        print(f"\n{name}: {len(pooled)} hyper-convolutions in a pass")
        figures.append(Figure(f"{name}: MLPs, of the speed of reading", measure_mlps(pooled), "x", at_least=0.9))
        measure_convolutions(min(pooled, key=lambda layer: abs(layer.filter_shape[0] - layer.filter_shape[1])))
        figures.append(Figure(f"{name}: frozen / predicted", measure_burst(subject, (height, width)), "x"))
        if has_bf16():
            print(f"  {filters_in_bf16(subject).text}")
    return figures


def median(runs: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Return the median seconds of each, in interleaved turns after a first one."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for turn in range(turns + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if turn:
                    times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def codes_of(subject: Subject) -> dict[HyperConv2d, Tensor]:
    """Return the hyper-convolutions of a pass with the maxima that their MLPs get for an image of noise."""
    found: dict[HyperConv2d, Tensor] = {}

    def look(layer: nn.Module, args: tuple[Tensor, Tensor]) -> None:
        assert isinstance(layer, HyperConv2d)
        found[layer] = F.adaptive_max_pool2d(args[1], layer.pool)

    hooks = [layer.register_forward_pre_hook(look) for layer in hyper_layers(subject.network)]
    side = subject.side(64)
    with torch.inference_mode():
        subject.network(probe_planes(subject.channels, (side, side)))
    for hook in hooks:
        hook.remove()
    return found


def measure_mlps(pooled: Mapping[HyperConv2d, Tensor]) -> float:
    """Print how fast the MLPs of one image read their weights, beside a sum over the same; return that ratio."""
    rounded = {copy.deepcopy(layer): code for layer, code in pooled.items()} if has_bf16() else {}
    for layer in rounded:
        layer.mlp.to(torch.bfloat16)

    def predict(layers: Mapping[HyperConv2d, Tensor]) -> Callable[[], object]:
        return lambda: [layer.filters_of(code) for layer, code in layers.items()]

    def read(layers: Mapping[HyperConv2d, Tensor]) -> Callable[[], object]:
        return lambda: [weights.sum() for layer in layers for weights in layer.mlp.parameters()]

    def linear() -> object:
        banks = [layer.mlp(code.flatten(1)).unflatten(1, layer.filter_shape) for layer, code in pooled.items()]
        return [normalize_filters(bank) for bank in banks]

    def size(layers: Mapping[HyperConv2d, Tensor]) -> int:
        return sum(weights.nbytes for layer in layers for weights in layer.mlp.parameters())

    runs = {"sum": read(pooled), "as linear layers": linear, "fp32": predict(pooled)}
    if rounded:
        runs |= {"sum of bf16": read(rounded), "bf16": predict(rounded)}
    seconds = median(runs)
    print(f"  {'MLPs of one image':20} {'MB':>7} {'ms':>8} {'GB/s':>7} {'of sum':>7} {'x fp32':>7}")
    for name, taken in seconds.items():
        half = "bf16" in name
        amount, ceiling = size(rounded if half else pooled), seconds["sum of bf16" if half else "sum"]
        print(
            f"  {name:20} {amount / 1e6:7.1f} {1e3 * taken:8.2f} {amount / taken / 1e9:7.1f}"
            f" {ceiling / taken:7.2f} {taken / seconds['fp32']:7.2f}"
        )
    return seconds["sum"] / seconds["fp32"]


def measure_convolutions(layer: HyperConv2d) -> None:
    """Print the ways to convolve one image and four with filters of their own, in both memory formats."""
    c_out, c_in, kernel, _ = layer.filter_shape
    filters = torch.randn(BATCH, c_out, c_in, kernel, kernel)
    heads = ("one", "one cl", "grouped", "singly", "taken", "grouped cl", "singly cl", "taken cl")
    print(f"  {f'{c_in} to {c_out}, ms per image':20} {' '.join(f'{head:>10}' for head in heads)}")
    for side in SIDES:
        plain = torch.randn(BATCH, c_in, side, side)
        planes = {"": plain, " cl": plain.contiguous(memory_format=torch.channels_last)}
        runs: dict[str, Callable[[], object]] = {}
        for form, x in planes.items():
            runs[f"one{form}"] = partial(conv2d_per_sample, x[:1], filters[:1])
            runs[f"grouped{form}"] = partial(grouped, x, filters)
            runs[f"singly{form}"] = partial(singly, x, filters)
            runs[f"taken{form}"] = partial(conv2d_per_sample, x, filters)
        seconds = median(runs)
        each = {name: 1e3 * taken / (1 if name.startswith("one") else BATCH) for name, taken in seconds.items()}
        print(f"  {f'{side}x{side}':20} {' '.join(f'{each[head]:10.2f}' for head in heads)}")
        ratios = " ".join(f"{each[head] / each['one']:10.2f}" for head in heads)
        print(f"  {'  x one':20} {ratios}", flush=True)


def grouped(x: Tensor, filters: Tensor) -> Tensor:
    """Return the convolutions of the samples of x as one with groups."""
    n = len(filters)
    merged = x.reshape(1, n * x.shape[1], *x.shape[2:])
    return F.conv2d(merged, filters.flatten(0, 1), padding=1, groups=n).reshape(n, -1, *x.shape[2:])


def singly(x: Tensor, filters: Tensor) -> Tensor:
    """Return the convolutions of the samples of x, one by one."""
    return torch.cat([F.conv2d(one, bank, padding=1) for one, bank in zip(x.split(1), filters)])


def measure_burst(subject: Subject, size: tuple[int, int]) -> float:
    """Print the time per frame with filters predicted for each frame and with those of the first.

    Returns the ratio of the second to the first for whole frames.
    """
    ratios = []
    frames = [torch.rand(1, subject.channels, *size) for _ in range(FRAMES)]
    ways: dict[str, TileSize] = {"whole": "off", "tiles": (-(-size[0] // 2), -(-size[1] // 2))}
    print(f"  {f'frames of {size[0]}x{size[1]}':20} {'predicted':>10} {'first':>10} {'frozen':>10} {'ratio':>7}")
    for name, tile in ways.items():
        predicted, frozen = (
            FullNetwork(subject, Conditions(tile=tile), freeze_filters=freeze) for freeze in (False, True)
        )
        # What is decided once per size is no part of a frame's time.
        predicted(frames[0]), frozen.plan(frames[0])
        each, first, later = [], [], []
        for _ in range(3):
            each += [seconds_of(predicted, frame) for frame in frames]
            first.append(seconds_of(frozen, frames[0]))
            later += [seconds_of(frozen, frame) for frame in frames[1:]]
            release_filters(subject.network)
        times = [1e3 * statistics.median(values) for values in (each, first, later)]
        ratios.append(times[2] / times[0])
        print(f"  {name:20} {' '.join(f'{value:10.1f}' for value in times)} {ratios[-1]:7.2f}", flush=True)
    return ratios[0]


def seconds_of(runner: FullNetwork, frame: Tensor) -> float:
    """Return the time of one frame."""
    start = time.perf_counter()
    runner(frame)
    return time.perf_counter() - start
