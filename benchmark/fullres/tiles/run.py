"""Run a network, or any engine's function on a crop, over the tiles of an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.fullres.subject import Call, Forward, nothing
from benchmark.fullres.tiles.located import LocatedResizes
from benchmark.fullres.tiles.plan import Tile, TilePlan
from benchmark.units import shape_text
from zoo.errors import UserError


@dataclass(frozen=True)
class Workers:
    """The workers: ``count`` tiles at once with one thread each, or (1) one tile with all of torch's threads.

    ``channels_last``: the memory format of the crops, in which torch's convolutions are fastest on processors.
    """

    count: int = 1
    channels_last: bool = True


def run_tiled(
    forward: Forward,
    planes: Tensor,
    plan: TilePlan,
    out: Tensor | None = None,
    *,
    workers: Workers | None = None,
    advance: Call = nothing,
    after_tile: Call = nothing,
) -> Tensor:
    """Run ``forward`` over the crops of ``planes`` (1, C, H, W) and return its outputs put together (1, C', H', W').

    ``forward`` takes a crop (1, C, h, w) and returns its output; where ``plan.reception.resizes`` is not empty it must
    be run by torch. ``out`` is filled and returned; both it and ``planes`` may be mapped files. ``advance`` is called
    in this thread for each finished tile, ``after_tile`` in the thread that finished it. Ctrl-C takes effect after the
    running tiles. Raises UserError if a crop's output does not have the size that the plan expects.
    """
    reception, how = plan.reception, workers or Workers()
    if tuple(planes.shape[-2:]) != reception.size or planes.shape[0] != 1:
        raise ValueError(f"the plan is for one image of {reception.size}; got {tuple(planes.shape)}")
    if out is None:
        out = torch.empty(1, reception.output_channels, *reception.output_size)

    layout = torch.channels_last if how.channels_last else torch.contiguous_format

    def run(tile: Tile) -> None:
        crop = planes[..., tile.rows.crop, tile.columns.crop].clone(memory_format=layout)
        with torch.inference_mode(), _located(plan, tile):
            output = forward(crop)
        _check_size(output, plan, tile)
        out[..., tile.output[0], tile.output[1]] = output[..., tile.within[0], tile.within[1]]
        after_tile()

    for _ in _over_tiles(run, plan, how.count):
        advance()
    return out


def _check_size(output: Tensor, plan: TilePlan, tile: Tile) -> None:
    """Raise UserError if the output for a crop does not have the expected size."""
    expected = (plan.rows.crop_output(tile.rows), plan.columns.crop_output(tile.columns))
    if tuple(output.shape[-2:]) != expected:
        raise UserError(
            f"the network turns a crop of {shape_text(tile.crop_size)} into"
            f" {shape_text(output.shape[-2:])}, expected {shape_text(expected)}: its output's size does"
            " not follow its input's. Run it with --tile off."
        )


def _located(plan: TilePlan, tile: Tile) -> AbstractContextManager[object]:
    if not plan.reception.resizes:
        return nullcontext()
    return LocatedResizes(plan.reception.resizes, (tile.rows.crop_start, tile.columns.crop_start))


def _over_tiles(run: Callable[[Tile], object], plan: TilePlan, workers: int) -> Iterator[None]:
    """Call ``run`` for each tile, ``workers`` at once with one thread each; yield, here, as each one is done.

    Exceptions of ``run`` are raised here after the running tiles have ended; an interruption waits for them too.
    """
    if workers <= 1 or len(plan) == 1:
        for tile in plan:
            run(tile)
            yield
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    tiles = iter(plan)
    try:
        pending: set[Future[object]] = {pool.submit(run, tile) for tile in itertools.islice(tiles, workers + 1)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                pending |= {pool.submit(run, tile) for tile in itertools.islice(tiles, 1)}
                yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # In some libraries the number of threads is one value for the whole process.
        torch.set_num_threads(threads)
