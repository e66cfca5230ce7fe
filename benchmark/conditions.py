"""How a network runs (``Conditions``, part of a record's key) and what it may use (``Limits``, not part of it).

To add a condition, add a field with its words here, an option in ``benchmark/cli/conditions.py``, and its effect on a
network in ``benchmark/placing.py``. Keys, records, messages between processes, commands that repeat a record and the
grouping of tables follow from the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, PlainSerializer

from benchmark.record import Record
from benchmark.units import shape_text, size_of
from zoo.errors import UserError, shortened

TORCH = "torch"
WHOLE: Literal["off"] = "off"
# Conditions of the first records: keys always contain them. Later conditions are left out of a key at their defaults.
FIRST_CONDITIONS = {"threads", "device", "precision", "channels_last"}
# "auto" chooses for each image, "off" runs it whole; else (height, width) of the tiles in pixels of the planes.
TileSize = Literal["auto", "off"] | tuple[int, int]


def tile_of(text: object) -> TileSize:
    """Return the value of ``--tile``; raises UserError for anything but auto, off and HxW."""
    if isinstance(text, (tuple, list)):
        text = shape_text(text)
    if text in ("auto", "off"):
        return "auto" if text == "auto" else "off"
    size = size_of(text) if isinstance(text, str) else None
    if size is None:
        raise UserError(f"--tile {shortened(text)}: expected auto, off or HxW, for example 256x256.")
    return size


# What a network that is told the level of the noise is told: a standard deviation on the scale of 8-bit values, or that
# of each picture as it is estimated.
ESTIMATE: Literal["estimate"] = "estimate"
Sigma = float | Literal["estimate"]
MAX_SIGMA = 255.0
# The level for a dataset that adds noise when training opens it: none is added, because each window gets its own.
CLEAN = "clean"


def sigma_of(value: object) -> Sigma | None:
    """Return the value of ``--sigma``, None if it is not given; raises UserError if it is no level of noise."""
    if value is None or value == ESTIMATE:
        return cast("Sigma | None", value)
    try:
        sigma = float(str(value))
    except ValueError:
        sigma = -1.0
    # This is also false for NaN.
    if not 0 <= sigma <= MAX_SIGMA:
        raise UserError(
            f"--sigma {shortened(value)}: expected the standard deviation of the noise on the scale of 8-bit values, 0"
            f" to {MAX_SIGMA:g}, or {ESTIMATE}."
        )
    return sigma


def sigma_text(sigma: Sigma | None) -> str | None:
    """Return a level of noise as it is written for ``--sigma``."""
    return f"{sigma:.10g}" if isinstance(sigma, float) else sigma


def tile_text(tile: TileSize) -> str:
    """Return a tile size as it is written for ``--tile``."""
    return tile if isinstance(tile, str) else f"{tile[0]}x{tile[1]}"


DEFAULT_METHOD, DEFAULT_IMAGES = "min-max", 32


@dataclass(frozen=True)
class Calibration:
    """What gives the ranges of an int8 network: ``images`` images of a dataset's train split or of a folder.

    ``method`` is min-max or percentile=P; ``digest``, of the images, is None where it is not known yet.
    """

    source: str
    method: str = DEFAULT_METHOD
    images: int = DEFAULT_IMAGES
    digest: str | None = None

    @classmethod
    def of(cls, text: str) -> Calibration:
        """Return what ``--calibrate SOURCE[,METHOD][,IMAGES][,DIGEST]`` says; a method that is unknown fails later."""
        source, *rest = text.split(",")
        method = rest.pop(0) if rest and not rest[0].isdecimal() else DEFAULT_METHOD
        images = int(rest.pop(0)) if rest and rest[0].isdecimal() and len(rest[0]) < 10 else DEFAULT_IMAGES
        digest = rest.pop(0) if rest else None
        if not source or rest or images < 1:
            raise UserError(
                f"--calibrate {shortened(text)}: expected DATASET|FOLDER[,METHOD][,IMAGES], for example"
                f" zrr,{DEFAULT_METHOD},{DEFAULT_IMAGES}."
            )
        return cls(source, method, images, digest)

    @property
    def text(self) -> str:
        """Return it as it is written for ``--calibrate``."""
        return ",".join(map(str, (self.source, self.method, self.images, *([self.digest] if self.digest else []))))

    @property
    def words(self) -> str:
        """Return it in words: "min-max over 32 of zrr"."""
        return f"{self.method} over {self.images} of {self.source}"


class Conditions(Record):
    """How a network runs; each of these fields can change numbers.

    ``benchmark.placing.check`` checks whether this machine can keep them.
    """

    # None: as many threads as torch uses here.
    threads: int | None = None
    device: str = "cpu"  # cpu or cuda.
    precision: str = "fp32"  # Of inputs and weights: fp32, bf16, or int8 (with ``calibrate``).
    channels_last: bool = False  # Whether they have the channels-last memory format.
    # The software that runs the network: torch, or an engine of ``benchmark.backends``.
    backend: str = TORCH
    # In JSON and in keys the value is a text: "auto", "off" or "HxW".
    tile: Annotated[TileSize, BeforeValidator(tile_of), PlainSerializer(tile_text)] = WHOLE
    # Whether tiles of that size are used even if they are not exact.
    approximate: bool = False
    # What networks that are told the level of the noise are told, where the data do not know it. In JSON and in keys it
    # is a text. No other network has it among its conditions, and no measurement of time.
    sigma: Annotated[Sigma | None, BeforeValidator(sigma_of), PlainSerializer(sigma_text)] = None

    # What gave the ranges of an int8 network: see ``Calibration``.
    calibrate: str | None = None
    # Whether pieces run the network's own operators, and not convolutions joined with what follows them.
    exact_kernels: bool = False

    def without_sigma(self) -> Conditions:
        """Return these conditions for a network that is not told the level of the noise."""
        return self.model_copy(update={"sigma": None})

    @property
    def is_tiled(self) -> bool:
        """Whether images may run in pieces."""
        return self.tile != WHOLE

    @property
    def joins_kernels(self) -> bool:
        """Whether torch may join convolutions with what follows them; tiles of a given size run the network itself."""
        return self.tile == "auto" and self.by_torch and not self.exact_kernels

    @property
    def by_torch(self) -> bool:
        """Whether torch itself runs the network, and not an engine."""
        return self.backend == TORCH

    @property
    def is_plain(self) -> bool:
        """Whether a network runs as it was built: by torch, on the CPU, in float32, in the plain memory format."""
        return self.by_torch and (self.device, self.precision, self.channels_last) == ("cpu", "fp32", False)

    def words(self, *, usual: bool = False, engine: str | None = None, approximate: bool | None = None) -> list[str]:
        """Return the unusual conditions in words; with ``usual`` also device and precision.

        ``engine`` is the name to show for an engine (default: its own), and ``approximate`` whether tiles turned out
        not to be exact (default: whether this was allowed). Threads are not among the words.
        """
        inexact = self.approximate if approximate is None else approximate
        words = [self.device] if usual or self.device != "cpu" else []
        words += [self.precision] if usual or self.precision != "fp32" else []
        words += [] if self.calibrate is None else [Calibration.of(self.calibrate).words]
        words += ["channels last"] if self.channels_last else []
        words += [] if self.by_torch else [engine or self.backend]
        words += [f"{'approximate ' if inexact else ''}tiles {tile_text(self.tile)}"] if self.is_tiled else []
        words += ["exact kernels"] if self.exact_kernels else []
        words += [] if self.sigma is None else [f"sigma {sigma_text(self.sigma)}"]
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
    """The resident bytes and the seconds that a network may use (None: no limit).

    Limits never change a value; they only decide whether it can be measured, and which tiles ``--tile auto`` chooses.
    The caller defines which work the seconds limit.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
