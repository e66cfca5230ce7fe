"""Sizes of images on which tiles are compared with the whole, and the seams of tiles that are not exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.plan import TilePlan, plan_tiles, step_of
from benchmark.fullres.tiles.receptive import Reception
from benchmark.fullres.tiles.run import run_tiled
from benchmark.fullres.tiles.spans import Span
from benchmark.types import SeamError
from benchmark.units import shape_text

# Pixels around an approximate tile, and the side of the image part on which its seams are measured.
APPROXIMATE_HALO, SEAM_SIDE = 64, 768


def tiled_sizes(subject: Subject, reception: Reception) -> Iterator[tuple[int, int]]:
    """Yield sizes of small images that no tile sees completely; the first is not square, and odd if possible."""
    assert reception.reach is not None
    multiple, rows, columns = subject.multiple, *(_small_side(subject, reception, axis) for axis in (0, 1))
    steps = [step_of(subject, reception, axis) for axis in (0, 1)]
    yield rows + (1 - rows // multiple % 2) * multiple, columns + (3 - columns // multiple % 2) * multiple
    yield rows + (multiple if steps[0] > multiple else 0), columns + (multiple if steps[1] > multiple else 0)
    yield rows, columns + steps[1]
    # This is for networks that divide an image by more than their strides.
    yield tuple(-(-side // 64) * 64 + size % 64 for side, size in zip((rows, columns), reception.size))  # type: ignore[misc]


def _small_side(subject: Subject, reception: Reception, axis: int) -> int:
    """Return a side on which a tile in the middle has room on both sides, a multiple of the steps."""
    assert reception.reach is not None
    span, step = reception.reach[axis], step_of(subject, reception, axis)
    return subject.side(max(span.before + span.after + 3 * step, 48), step)


def seams_text(seams: SeamError) -> str:
    """Return the text for the user about the seams of tiles that are not exact."""
    tile, size = (shape_text(sides) for sides in (seams.tile, seams.size))
    return (
        f"approximate: tiles of {tile} differ from whole-image statistics by up to {seams.largest:.3g}"
        f" (RMS {seams.rms:.3g}) on the image's middle {size}"
    )


def approximate_reception(exact: Reception) -> Reception:
    """Return a reception that takes operations on the whole image for local ones, with a fixed halo.

    Raises InexactError for a network whose output size is not a fixed multiple of its input size.
    """
    spans = []
    for before, after in zip(exact.size, exact.output_size):
        stride = Fraction(before, after)
        if 1 not in (stride.numerator, stride.denominator):
            raise InexactError(f"--approximate: the network turns {before} pixels into {after}, not a whole factor")
        spans.append(Span(stride, Fraction(-APPROXIMATE_HALO), APPROXIMATE_HALO + stride))
    return replace(exact, reach=(spans[0], spans[1]), resizes=())


def measure_seams(subject: Subject, planes: Tensor, plan: TilePlan) -> SeamError:
    """Run the middle of an image, up to SEAM_SIDE pixels, whole and in tiles half as large; return the difference.

    If the plan's own tiles are smaller, they are used. The part's statistics replace those of the image.
    """
    step = step_of(subject, plan.reception, 0)
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
        whole = subject.network(part)
    tiled = run_tiled(subject.network, part, plan_tiles(subject, small, (tile[0], tile[1])))
    difference = (whole - tiled).double()
    return SeamError(
        size=list(size),
        tile=list(tile),
        largest=float(difference.abs().max()),
        rms=float(difference.square().mean().sqrt()),
    )
