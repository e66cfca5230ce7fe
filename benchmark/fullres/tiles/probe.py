"""Try tiles where the truth is cheap: a small image, whole and in tiles; and the seams of tiles that are not exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from benchmark.fullres.tiles.plan import Plan, make_plan, step_of
from benchmark.fullres.tiles.receptive import Reception
from benchmark.fullres.tiles.run import Workers, run_tiled
from benchmark.fullres.tiles.spans import Span
from zoo.errors import UserError, in_one_line

# Of the largest output: kernels for other shapes add up in another order.
TOLERANCE = 1e-5
# Pixels around an approximate tile, and the side of the image part on which its seams are measured.
APPROXIMATE_HALO, SEAM_SIDE = 64, 768


def probe_size(reception: Reception, *, multiple: int, least: int) -> tuple[int, int]:
    """Return the size of a small image of which tiles do not see all: two tiles with all that they need."""
    assert reception.reach is not None
    sides = []
    for axis, span in enumerate(reception.reach):
        step = step_of(reception, axis, multiple)
        # A tile in the middle needs room on both sides; the odd part at the end has its own phase.
        sides.append(
            -(-max(least, span.before + span.after + 3 * step, 48) // step) * step
            + (multiple if step > multiple else 0)
        )
    return sides[0], sides[1]


def check_tiles(
    run_whole: Callable[[Tensor], Tensor], run_in_tiles: Callable[[Tensor], Tensor], planes: Tensor
) -> None:
    """Raise UserError unless an image comes out of tiles as it does whole."""
    size = "x".join(map(str, planes.shape[-2:]))
    with torch.inference_mode():
        whole = run_whole(planes)
    try:
        tiled = run_in_tiles(planes)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the network runs on a small image of {size} but not on its tiles ({in_one_line(error)})."
        ) from error
    scale = max(1.0, float(whole.abs().max()))
    difference = float((whole - tiled).abs().max()) / scale if whole.shape == tiled.shape else float("inf")
    if not difference <= TOLERANCE:
        raise UserError(
            f"tiled differs from whole on a small image of {size} (by {difference:.2g} of the largest value): the"
            " network has operations that see the whole image or depend on the place in it."
        )


def probe_planes(channels: int, size: tuple[int, int]) -> Tensor:
    """Return uniform noise (1, channels, *size), always the same."""
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Seams:
    """By how much tiles differ from the whole image, on a part of it of ``size``: largest and root mean square."""

    size: tuple[int, int]
    tile: tuple[int, int]
    largest: float
    rms: float

    @property
    def text(self) -> str:
        """What a user reads about it."""
        height, width = self.size
        return (
            f"approximate: tiles of {self.tile[0]}x{self.tile[1]} differ from whole-image statistics by up to"
            f" {self.largest:.3g} (RMS {self.rms:.3g}) on the image's middle {height}x{width}"
        )


def approximate_reception(exact: Reception) -> Reception:
    """Return a reception that takes operations on the whole image for local ones, with a fixed halo.

    Raises UserError for a network whose output is not a fixed number of times its input's size.
    """
    spans = []
    for before, after in zip(exact.size, exact.output_size):
        stride = Fraction(before, after)
        if 1 not in (stride.numerator, stride.denominator):
            raise UserError(f"--approximate: the network turns {before} pixels into {after}; expected a whole factor.")
        spans.append(Span(stride, Fraction(-APPROXIMATE_HALO), APPROXIMATE_HALO + stride))
    return replace(exact, reach=(spans[0], spans[1]), resizes=())


def measure_seams(network: nn.Module, planes: Tensor, plan: Plan, *, multiple: int, least: int) -> Seams:
    """Run the middle of an image, up to SEAM_SIDE pixels, whole and in tiles half as large; return the difference.

    Tiles of the plan's own size where those are smaller. The part's own statistics stand for the image's.
    """
    step = step_of(plan.reception, 0, multiple)
    size = tuple(min(side, SEAM_SIDE // step * step or step) for side in planes.shape[-2:])
    top, left = ((side - part) // 2 // step * step for side, part in zip(planes.shape[-2:], size))
    part = planes[..., top : top + size[0], left : left + size[1]].clone()
    scale = [Fraction(a, b) for a, b in zip(plan.reception.output_size, plan.reception.size)]
    small = replace(
        plan.reception,
        size=(size[0], size[1]),
        output_size=(int(size[0] * scale[0]), int(size[1] * scale[1])),
    )
    tiles = [axis.pieces[0].end for axis in (plan.rows, plan.columns)]
    tile = tuple(min(own, max(step, side // 2)) for own, side in zip(tiles, size))
    with torch.inference_mode():
        whole = network(part)
    tiled = run_tiled(
        network, part, make_plan(small, (tile[0], tile[1]), multiple=multiple, least=least), workers=Workers()
    )
    difference = (whole - tiled).double()
    return Seams(
        (size[0], size[1]), (tile[0], tile[1]), float(difference.abs().max()), float(difference.square().mean().sqrt())
    )
