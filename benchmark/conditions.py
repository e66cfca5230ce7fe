"""How a network runs (``Conditions``, part of a record's key) and what it may use (``Limits``, not part of it).

A new condition is a field here with its words, an option in ``benchmark/cli/conditions.py``, and what it does to a
network in ``benchmark/placing.py``. Keys, records, messages between processes, commands that repeat a record and the
grouping of tables follow from the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer

from benchmark.record import Record
from benchmark.units import shape_text, size_of
from zoo.errors import UserError, shortened

TORCH = "torch"
WHOLE: Literal["off"] = "off"
# Conditions of the first records, which their keys always hold; a later one is left out of a key at its default.
FIRST_CONDITIONS = {"threads", "device", "precision", "channels_last"}
# "auto" decides by the image, "off" runs it whole; else (height, width) of the tiles in pixels of the planes.
TileSize = Literal["auto", "off"] | tuple[int, int]


def tile_of(text: object) -> TileSize:
    """Return what ``--tile`` says; raises UserError for anything but auto, off and HxW."""
    if isinstance(text, (tuple, list)):
        text = shape_text(text)
    if text in ("auto", "off"):
        return "auto" if text == "auto" else "off"
    size = size_of(text) if isinstance(text, str) else None
    if size is None:
        raise UserError(f"--tile {shortened(text)}: expected auto, off or HxW, for example 256x256.")
    return size


def tile_text(tile: TileSize) -> str:
    """Return a size of tile as ``--tile`` takes it."""
    return tile if isinstance(tile, str) else f"{tile[0]}x{tile[1]}"


class Conditions(Record):
    """How a network runs; each of these decides numbers.

    Whether this machine can keep them, ``benchmark.placing.check`` says.
    """

    # None: as many as torch uses here.
    threads: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    # What runs the network: torch, or an engine of ``benchmark.backends``.
    backend: str = TORCH
    # In JSON and in keys this is text: "auto", "off" or "HxW".
    tile: Annotated[TileSize, BeforeValidator(tile_of), PlainSerializer(tile_text)] = WHOLE
    # Whether tiles of that size are taken where they are not exact.
    approximate: bool = False

    @property
    def is_tiled(self) -> bool:
        """Whether images may go through in pieces."""
        return self.tile != WHOLE

    @property
    def by_torch(self) -> bool:
        """Whether torch itself runs the network, and not an engine."""
        return self.backend == TORCH

    @property
    def is_plain(self) -> bool:
        """Whether a network runs as it is built: by torch, on the CPU, in float32, in the plain memory format."""
        return self.by_torch and (self.device, self.precision, self.channels_last) == ("cpu", "fp32", False)

    def words(self, *, usual: bool = False, engine: str | None = None, approximate: bool | None = None) -> list[str]:
        """Return the conditions in words, only those that are unusual, unless ``usual``: device and precision too.

        ``engine`` is how an engine is to be called (its name), and ``approximate`` whether tiles turned out not to be
        exact (default: whether they were allowed not to be). Threads are not among the words.
        """
        inexact = self.approximate if approximate is None else approximate
        words = [self.device] if usual or self.device != "cpu" else []
        words += [self.precision] if usual or self.precision != "fp32" else []
        words += ["channels last"] if self.channels_last else []
        words += [] if self.by_torch else [engine or self.backend]
        words += [f"{'approximate ' if inexact else ''}tiles {tile_text(self.tile)}"] if self.is_tiled else []
        return words

    def flags(self) -> list[str]:
        """Return the arguments of a command line that give these conditions: ["--threads", "2", "--tile", "auto"]."""
        flags = []
        for name, value in self.model_dump().items():
            if value != type(self).model_fields[name].default:
                flags += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return flags


@dataclass(frozen=True)
class Limits:
    """What a network may use: resident bytes and seconds (None: no limit).

    Limits decide whether there is a number, and what ``--tile auto`` takes, but never the number itself. How long the
    time is that is limited, the caller says.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
