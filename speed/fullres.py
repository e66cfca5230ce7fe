"""Full-resolution images: torch and the engines on the whole image and piece by piece, time and memory, and the goals.

    python -m speed fullres [MODEL ...] [--size HxW] [--only torch,openvino] [--passes N]     # minutes a model
    python -m speed fullres --large [--size HxW]       # vdn on a mapped file of 100 MPix, held to 2 GiB

Each line is a process of its own, and ratios hold within one run. "torch whole" is what a user writes: ``model(x)``,
plain memory format, the C library as it is; the next lines keep the freed memory, then take channels last. "pieces" are
what ``infer`` runs: strips by torch, tiles by engines. Memory is what the passes add to a process that holds libraries,
network, input and what an engine compiled for the whole image; output and what it compiles for tiles count. The first
pass is not timed. FLOPs are those of the whole image. A product of matrices
is timed by torch (MKL) and by numpy (OpenBLAS), in float32 with the same threads; the share is of the faster one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.backends import ENGINES
from benchmark.conditions import Conditions
from benchmark.costs.prediction import predict
from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.host import machine
from benchmark.host.isolation import run_isolated
from benchmark.placing import Placed
from benchmark.running.inference import infer
from benchmark.selection import entry_of
from benchmark.timing.roofline import ceilings
from benchmark.units import MIB
from speed.figures import Figure

MODELS = ["plainunet_64", "hyperunet_32_16_2048", "vdn"]
WIDE = ("plainunet_64", "vdn")
# About 12 megapixels: packed planes of a RAW mosaic, or RGB.
SIZES = {4: (1488, 1984), 3: (3000, 4000)}
WAYS = [
    "torch whole",
    "torch whole, heap kept",
    "torch whole, channels last",
    "torch pieces",
    *(f"{name} {how}" for name in ENGINES for how in ("whole", "pieces")),
]


def measure(*, model: str, size: list[int], way: str, passes: int, emit: Callable[[Any], None]) -> dict[str, Any]:
    """Run passes in this process; return their seconds, the bytes that they add and how the image was cut."""
    backend, _, how = way.partition(" ")
    entry = entry_of(model, None, {})
    subject = subject_of(entry, entry.build(seed=0))
    planes = torch.rand(1, subject.channels, *size, generator=torch.Generator().manual_seed(0))
    if how != "whole" or backend != "torch":
        set_heap(keep=True)
    text = how
    run: FullNetwork | Placed
    if how == "pieces":
        run = FullNetwork(subject, Conditions(backend=backend, tile="auto"))
        text = run.plan(planes).text
    else:
        last = how.endswith("channels last")
        run = Placed(subject.network, Conditions(backend=backend, channels_last=last))
    small = torch.rand(1, subject.channels, 64, 64)
    with torch.inference_mode():
        # Loads the libraries; an engine compiles for the whole image, and for pieces in the first pass.
        subject.network(small)
        Placed(torch.nn.ReLU(), Conditions(backend=backend))(small)
        if isinstance(run, Placed) and backend != "torch":
            run.model.prepare(planes)  # type: ignore[operator]
        machine.return_free_memory()
        machine.reset_peak_resident()
        resting = machine.resident_bytes() or 0
        seconds = []
        for _ in range(passes + 1):
            began = time.perf_counter()
            run(planes)
            seconds.append(time.perf_counter() - began)
    added = (machine.peak_resident_bytes() or 0) - resting
    # The first pass finds the memory, and compiles.
    return {"seconds": seconds[1:], "added": added, "text": text}


def multiply(*, emit: Callable[[Any], None]) -> float:
    """Return the GFLOP/s of numpy's product of two matrices of 2048x2048 in float32, the best of several."""
    a, b = (np.random.RandomState(seed).rand(2048, 2048).astype(np.float32) for seed in (0, 1))
    times = []
    for _ in range(12):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return float(2 * 2048**3 / min(times) / 1e9)


def large(*, folder: str, emit: Callable[[Any], None]) -> dict[str, Any]:
    """Run ``infer`` on a mapped array as the command does; return seconds and the largest resident memory."""
    machine.reset_peak_resident()
    began = time.perf_counter()
    (path,) = infer("vdn", [Path(folder, "x.npy")], Path(folder, "out"), memory_limit=2 << 30, random_weights=True)
    array = np.load(path, mmap_mode="r")
    return {"seconds": time.perf_counter() - began, "peak": machine.peak_resident_bytes(), "shape": list(array.shape)}


def main() -> list[Figure]:
    """Print one line per way; return ratios with their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--size", help="of the planes; default 1488x1984 packed or 3000x4000, 10000x10000 with --large")
    parser.add_argument("--only", help="names of the lines, or parts of names, comma-separated")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    size = [int(side) for side in given.size.split("x")] if given.size else None
    if given.large:
        return show_large(size or [10000, 10000], given.threads)
    gemm, figures = show_ceiling(given.threads), []
    for model in given.models or MODELS:
        own = size or list(SIZES[entry_of(model, None, {}).card.input.channels])
        ways = [way for way in WAYS if not given.only or _named(way, given.only.split(","))]
        figures += show(model, own, ways, given.passes, given.threads, gemm)
    return figures


def _named(way: str, names: list[str]) -> bool:
    return any(name == way or (name not in WAYS and name in way) for name in names)


def show_ceiling(threads: int) -> float:
    """Print and return the speed of a product of matrices, GFLOP/s."""
    by_torch = known.gemm_gflops if (known := ceilings(threads)) else 0.0
    by_numpy = run_isolated("speed.fullres:multiply", {}, threads=threads).value or 0.0
    print(f"sgemm, {threads} threads: torch {by_torch:.0f} GFLOP/s, numpy {by_numpy:.0f} GFLOP/s")
    return max(by_torch, by_numpy)


def show(model: str, size: list[int], ways: list[str], passes: int, threads: int, gemm: float) -> list[Figure]:
    """Measure a model in every way, print the lines and return the ratios."""
    flops = predict(model, (size[0], size[1]), {}).flops
    print(f"\n{model} at {size[0]}x{size[1]}, {flops / 1e12:.3f} TFLOP, median of {passes} passes")
    print(f"  {'':28} {'s':>7} {'x whole':>8} {'GFLOP/s':>8} {'of sgemm':>8} {'added MiB':>10}")
    found: dict[str, dict[str, Any]] = {}
    for way in ways:
        arguments = {"model": model, "size": size, "way": way, "passes": passes}
        outcome = run_isolated("speed.fullres:measure", arguments, threads=threads)
        if outcome.status != "ok":
            print(f"  {way:28} {outcome.status}: {outcome.error}", flush=True)
            continue
        one = found[way] = outcome.value
        one["median"] = statistics.median(one["seconds"])
        ratio = one["median"] / found["torch whole"]["median"] if "torch whole" in found else float("nan")
        speed = flops / one["median"] / 1e9
        figures = (
            f"{one['median']:7.2f} {ratio:8.2f} {speed:8.0f} {100 * speed / gemm:7.0f}% {one['added'] / MIB:10.0f}"
        )
        print(f"  {way:28} {figures}  {one['text']}", flush=True)
    return ratios(model, found, flops / 1e9 / gemm)


def ratios(model: str, found: dict[str, dict[str, Any]], sgemm_seconds: float) -> list[Figure]:
    """Return ratios between the ways that were measured."""
    whole, pieces = found.get("torch whole"), found.get("torch pieces")
    figures = []
    if whole and pieces:
        figures.append(
            Figure(f"{model}: torch whole / torch pieces", whole["median"] / pieces["median"], "x", at_least=2)
        )
    engines = [one for way, one in found.items() if way.endswith("whole") and not way.startswith("torch")]
    cut = {way: one for way, one in found.items() if way.endswith("pieces")}
    if engines and cut:
        engine = min(engines, key=lambda one: one["median"])
        for way, one in cut.items():
            time = one["median"] / engine["median"]
            figures += [
                Figure(f"{model}: {way} / the fastest engine whole", time, "x", at_most=1),
                Figure(f"{model}: memory of {way} / that engine's", one["added"] / engine["added"], "x", at_most=0.2),
            ]
    if pieces:
        goal = 65 if model in WIDE else None
        figures.append(Figure(f"{model}: of sgemm", 100 * sgemm_seconds / pieces["median"], "%", at_least=goal))
    return figures


def show_large(size: list[int], threads: int) -> list[Figure]:
    """Run vdn on a large mapped file; return its peak of resident memory and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        shape = (1, 3, *size)
        array = np.lib.format.open_memmap(Path(folder, "x.npy"), mode="w+", dtype=np.float32, shape=shape)
        random = np.random.default_rng(0)
        for channel in range(3):
            for top in range(0, size[0], 256):
                rows = array[0, channel, top : top + 256]
                rows[:] = random.random(rows.shape, dtype=np.float32)
        array.flush()
        del array
        # Not by the child's own limit, which counts the pages of a mapped file that are not resident.
        outcome = run_isolated("speed.fullres:large", {"folder": folder}, threads=threads)
    if outcome.status != "ok":
        sys.exit(f"{outcome.status}: {outcome.error}")
    value, name = outcome.value, f"vdn at {size[0]}x{size[1]}"
    print(f"{name}: output {value['shape']}")
    return [
        Figure(f"{name}: peak of the resident memory", value["peak"] / MIB, "MiB", at_most=2048),
        Figure(f"{name}: time", value["seconds"], "s"),
    ]
