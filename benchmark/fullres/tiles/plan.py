"""Cut an image into tiles whose crops hold all that the network needs to see.

A crop begins and ends at multiples of the network's strides or at the image's own edge, where the network's padding
acts as it does on the whole image. Outputs of a tile lie so far inside its crop that they equal those of the whole
image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.receptive import Reception
from benchmark.fullres.tiles.spans import Span
from benchmark.units import counted


@dataclass(frozen=True)
class Piece:
    """One tile along one axis, in input pixels; ends are exclusive."""

    start: int
    end: int
    crop_start: int
    crop_end: int

    @property
    def crop(self) -> slice:
        """The pixels that the network is given."""
        return slice(self.crop_start, self.crop_end)


@dataclass(frozen=True)
class Tile:
    """One tile: its input crop, and the position of its output in the whole output and in the crop's output."""

    rows: Piece
    columns: Piece
    output: tuple[slice, slice]
    within: tuple[slice, slice]

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        return self.rows.crop_end - self.rows.crop_start, self.columns.crop_end - self.columns.crop_start


@dataclass(frozen=True)
class Axis:
    """One axis of a plan: the image's and the output's length, the network's span, and the pieces."""

    length: int
    output_length: int
    span: Span
    pieces: tuple[Piece, ...]

    def output(self, piece: Piece) -> slice:
        """Return the elements of the output that belong to ``piece``."""
        last = piece.end == self.length
        end = self.output_length if last else min(self.span.element(piece.end), self.output_length)
        return slice(min(self.span.element(piece.start), end), end)

    def within(self, piece: Piece) -> slice:
        """Return the position of these elements in the output of the piece's crop."""
        offset, output = self.span.element(piece.crop_start), self.output(piece)
        return slice(output.start - offset, output.stop - offset)

    def crop_output(self, piece: Piece) -> int:
        """Return how many elements the output of the piece's crop has."""
        last = piece.crop_end == self.length
        end = self.output_length if last else self.span.element(piece.crop_end)
        return end - self.span.element(piece.crop_start)


@dataclass(frozen=True)
class TilePlan:
    """How an image is cut: rows by columns of tiles."""

    reception: Reception
    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.pieces) * len(self.columns.pieces)

    def __iter__(self) -> Iterator[Tile]:
        for rows, columns in product(self.rows.pieces, self.columns.pieces):
            yield Tile(
                rows,
                columns,
                (self.rows.output(rows), self.columns.output(columns)),
                (self.rows.within(rows), self.columns.within(columns)),
            )

    @cached_property
    def tile(self) -> tuple[int, int]:
        """Height and width of the largest tile without its surroundings: cutting by it gives these tiles again."""
        rows, columns = (max(p.end - p.start for p in axis.pieces) for axis in (self.rows, self.columns))
        return rows, columns

    @cached_property
    def largest_crop(self) -> tuple[int, int]:
        """Height and width that no crop exceeds."""
        rows, columns = ([p.crop_end - p.crop_start for p in axis.pieces] for axis in (self.rows, self.columns))
        return max(rows), max(columns)

    @cached_property
    def crop_pixels(self) -> int:
        """Pixels of all crops together: what is computed."""
        rows, columns = (sum(p.crop_end - p.crop_start for p in axis.pieces) for axis in (self.rows, self.columns))
        return rows * columns

    @property
    def text(self) -> str:
        """The text about the plan for the user."""
        height, width = self.largest_crop
        more = self.crop_pixels / (self.rows.length * self.columns.length) - 1
        tiles = counted(len(self), "tile")
        return f"{tiles}, crops of up to {height}x{width}, {100 * more:.0f} % computed twice"


def plan_tiles(subject: Subject, reception: Reception, tile: tuple[int, int], *, equal: bool = False) -> TilePlan:
    """Cut the image that ``reception`` was found for into tiles of about ``tile`` input pixels (height, width).

    ``equal``: crops of one size where the image allows, for an engine, which compiles for each size. Raises
    InexactError if the network cannot be followed.
    """
    reach = reception.reach
    if reach is None:
        raise InexactError(f"not exact in tiles: {'; '.join(cause.text for cause in reception.causes)}")
    axes = []
    for axis in (0, 1):
        step = step_of(subject, reception, axis)
        pieces = cut(reception.size[axis], tile[axis], reach[axis], step=step, least=subject.least)
        if equal:
            pieces = _of_one_size(pieces, reception.size[axis], step)
        axes.append(Axis(reception.size[axis], reception.output_size[axis], reach[axis], pieces))
    return TilePlan(reception, axes[0], axes[1])


def step_of(subject: Subject, reception: Reception, axis: int) -> int:
    """Return the step of tile starts along an axis, from the network's strides and the sides that it takes."""
    return math.lcm(reception.multiple[axis], subject.multiple)


def cut(length: int, tile: int, span: Span, *, step: int, least: int) -> tuple[Piece, ...]:
    """Cut ``length`` pixels into pieces of nearly equal size, at most ``tile`` (one ``step`` if that is more)."""
    steps = -(-length // step)
    count = 1 if tile >= length else max(1, -(-steps // max(1, tile // step)))
    bounds = [step * (index * steps // count) for index in range(count)] + [length]
    return tuple(_piece(start, end, length, span, step, least) for start, end in pairwise(bounds))


def _of_one_size(pieces: tuple[Piece, ...], length: int, step: int) -> tuple[Piece, ...]:
    """Extend all crops into the image to the longest length, unless the image's end is not a multiple of the steps."""
    longest = max(piece.crop_end - piece.crop_start for piece in pieces)
    if length % step or longest % step:
        return pieces
    starts = [min(piece.crop_start, length - longest) for piece in pieces]
    return tuple(Piece(piece.start, piece.end, start, start + longest) for piece, start in zip(pieces, starts))


def _piece(start: int, end: int, length: int, span: Span, step: int, least: int) -> Piece:
    first = max(0, start - span.before) // step * step
    last = min(length, -(-(end + span.after) // step) * step)
    if last - first < least:
        # Grow to a length that the network takes, inside the image if there is room.
        last = min(length, -(-(first + least) // step) * step)
        first = max(0, last - least) // step * step
    return Piece(start, end, first, last)
