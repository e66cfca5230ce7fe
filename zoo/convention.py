"""What a network takes and returns, as data: the planes, the levels of the sensor, ranges and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

# Raw: one plane per position of a 2x2 cell, or one per colour at the mosaic's size. Then colour and gray images.
Layout = Literal["bayer_packed", "bayer_rgb", "rgb", "gray"]

# Offsets (row, column) from a red pixel, in the plane order of PyNET, AWNet, PyNET-CA and LiteISP:
# blue, green beside red, red, green beside blue. The letters Gr and Gb have two conflicting meanings in this field.
PYNET_PLANES = ((1, 1), (0, 1), (0, 0), (1, 0))
# Offsets of a cell whose first pixel is red in reading order: red, the green beside it, the green below it, blue.
READING_PLANES = ((0, 0), (0, 1), (1, 0), (1, 1))

# Black and white of the 10-bit counts of ZRR, and of the files of UltraISP, which hold 10-bit counts times 4.
ZRR_LEVELS = (64.0, 1023.0)
ULTRAISP_LEVELS = (256.0, 4092.0)


@dataclass(frozen=True)
class InputSpec:
    """The input and output convention of a network, as data.

    The fixed numbers of a raw network hold for counts whose black and white are ``levels``: counts of another sensor
    are first mapped to these linearly, black to black and white to white. Then a plane holds
    ``(counts - black_level) / divisor``, not below ``floor`` if that is given, mapped linearly from [0, 1] to
    ``input_range``; nothing is clipped at white. ``black_level`` and ``divisor`` may differ by plane; ``None`` means
    the sensor's own value (black, white - black), which comes with each sample. The layout ``bayer_packed`` has one
    plane, of half the mosaic's size, per offset in ``planes``; ``bayer_rgb`` has the planes red, green and blue of the
    mosaic's size, with ``missing`` where the mosaic has another colour.

    ``rgb`` and ``gray`` images are in [0, 1] and not clipped; with ``quantised`` they are clipped and rounded to 8
    bits. With ``noise_level`` the last channel is a map of the noise's standard deviation, on the scale of the image.

    Height and width of the planes are padded by reflection at the right and bottom to a multiple of ``multiple``, and
    the output is cropped back; planes smaller than ``min_size`` are refused. The output has ``output_scale`` times the
    planes' size and is mapped from ``output_range`` to [0, 1].
    """

    layout: Layout
    planes: tuple[tuple[int, int], ...] = PYNET_PLANES
    divisor: float | tuple[float, ...] | None = 1020.0  # 4 * 255: PyNET's scale for 10-bit counts; 1023 becomes 1.003
    black_level: float | tuple[float, ...] | None = 0.0
    levels: tuple[float, float] = ZRR_LEVELS
    floor: float | None = None
    missing: float = 0.0
    quantised: bool = False
    noise_level: bool = False
    input_range: tuple[float, float] = (0.0, 1.0)
    output_range: tuple[float, float] = (0.0, 1.0)
    multiple: int = 1
    min_size: int = 1
    output_scale: float = 2.0

    @property
    def is_raw(self) -> bool:
        """Whether the network takes the mosaic of a sensor."""
        return self.layout in ("bayer_packed", "bayer_rgb")

    @property
    def channels(self) -> int:
        """Number of input planes."""
        images = {"bayer_packed": len(self.planes), "gray": 1}.get(self.layout, 3)
        return images + self.noise_level

    @property
    def out_channels(self) -> int:
        """Number of output channels: 1 for gray images, else 3."""
        return 1 if self.layout == "gray" else 3

    @property
    def cell(self) -> int:
        """The side, in pixels of the mosaic or image, of what one pixel of the planes shows."""
        return 2 if self.layout == "bayer_packed" else 1

    def plane_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of this network's planes; ``size`` is that of packed planes (for RAW) or of an image."""
        factor = 2 // self.cell if self.is_raw else 1
        return size[0] * factor, size[1] * factor


# The files of counts that published weights were trained on, by the value of an option ``counts``.
Counts = Literal["ultraisp", "zrr"]
_LEVELS: dict[str, tuple[float, float]] = {"ultraisp": ULTRAISP_LEVELS, "zrr": ZRR_LEVELS}


def of_counts(spec: InputSpec) -> Callable[[Mapping[str, Any]], InputSpec]:
    """Return ``input_of`` for a network whose option ``counts`` says on which files its weights were trained."""
    return lambda options: replace(spec, levels=_LEVELS[options["counts"]])
