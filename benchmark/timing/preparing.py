"""Work that is done before any pass is measured: load libraries, choose tiles, compile engines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmark.fullres.network import FullNetwork
from benchmark.host import machine
from benchmark.measured import EngineCost, Prepared
from benchmark.placing import place
from benchmark.timing.messages import Job
from zoo.errors import SizeError
from zoo.raw import padded_size

if TYPE_CHECKING:
    from benchmark.backends.compiled import Cost


def run_once(network: nn.Module, planes: Tensor) -> None:
    """Run one pass without gradients."""
    with torch.inference_mode():
        network(planes)


def prepare(job: Job, network: nn.Module, planes: Tensor, library_bytes: int | None) -> Prepared:
    """Decide on tiles and let an engine compile for planes of this size; return the result of both."""
    tiling, resident = None, None
    before = _compile_seconds(network)
    if isinstance(network, FullNetwork):
        resident = network.prepare(planes)
        (tiling,) = (one for one in network.tilings("time") if one.input_shape == list(planes.shape))
    elif not job.conditions.by_torch:
        compile_for: Callable[[Tensor], Cost | None] = network.prepare  # type: ignore[assignment]
        cost = compile_for(planes)
        resident = cost.resident_bytes if cost else None
    engine = EngineCost(
        compile_ms=1000 * (_compile_seconds(network) - before),
        compile_rss_bytes=resident,
        library_rss_bytes=library_bytes,
    )
    return Prepared(engine=None if job.conditions.by_torch else engine, tiling=tiling)


def _compile_seconds(network: nn.Module) -> float:
    return float(getattr(network, "compile_seconds", 0.0))


def load_libraries(job: Job, network: nn.Module, pixels: int) -> int | None:
    """Run a pass on the smallest planes that the network takes, so that thread pools and code are in memory.

    An engine runs a network of one layer instead, which compiles fast; the bytes that this took are returned.
    """
    if not job.conditions.by_torch:
        before = machine.resident_bytes()
        run_once(place(nn.Conv2d(4, 4, 3, padding=1), job.conditions), torch.rand(1, 4, 32, 32))
        return machine.growth(before, machine.settled_resident_bytes())
    entry = job.entry()
    spec = entry.card.input_for(entry.options)
    least = max(spec.min_size, spec.multiple, 32)
    # The network runs without tiles, because these are not chosen yet.
    network = network.network if isinstance(network, FullNetwork) else network
    # If a network refuses small planes, its libraries are loaded in the measured pass.
    with contextlib.suppress(SizeError, RuntimeError, ValueError):
        size = padded_size(least, least, spec)
        if size[0] * size[1] < pixels:
            run_once(network, job.planes((1, spec.channels, *size)))
    return None
