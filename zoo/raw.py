"""Convert sensor counts to a network's input, and its output back: packing, scaling, padding, cropping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.convention import PYNET_PLANES, ZRR_LEVELS, InputSpec
from zoo.errors import OutputError, SizeError, UserError
from zoo.outputs import check_output

Offset = tuple[int, int]


def pack(mosaic: Tensor, planes: Sequence[Offset] = PYNET_PLANES) -> Tensor:
    """Split a Bayer mosaic (N, 1, H, W) whose first pixel is red into planes (N, len(planes), H/2, W/2).

    ``planes`` are (row, column) offsets from a red pixel. For another colour filter call ``align_to_red``
    first. Raises UserError if H or W is odd: cropping here would shift the colour filter by one pixel.
    """
    _check_mosaic(mosaic)
    return torch.cat([mosaic[..., row % 2 :: 2, column % 2 :: 2] for row, column in planes], dim=1)


def unpack(planes: Tensor, offsets: Sequence[Offset] = PYNET_PLANES) -> Tensor:
    """Put planes (N, 4, H, W) back into a mosaic (N, 1, 2H, 2W) whose first pixel is red; inverse of ``pack``."""
    n, _, height, width = planes.shape
    mosaic = planes.new_zeros(n, 1, 2 * height, 2 * width)
    for index, (row, column) in enumerate(offsets):
        mosaic[..., row % 2 :: 2, column % 2 :: 2] = planes[:, index : index + 1]
    return mosaic


def align_to_red(mosaic: Tensor, red: Offset) -> Tensor:
    """Extend a mosaic (N, 1, H, W) by reflection so that its first pixel is red.

    ``red`` is the position of the red pixel in the first 2x2 block: (0, 0) for RGGB, which changes nothing,
    (1, 1) for BGGR. For each coordinate of 1 a row or column is added on both sides, so that every network gets the
    neighbourhood it was trained on; ``apply_model`` crops the output back. Reflection keeps the phase.
    """
    _check_mosaic(mosaic)
    if red == (0, 0):
        return mosaic
    row, column = red
    return F.pad(mosaic, (column, column, row, row), mode="reflect")


def _check_mosaic(mosaic: Tensor) -> None:
    if mosaic.ndim != 4 or mosaic.shape[1] != 1:
        raise UserError(f"a mosaic has shape (N, 1, H, W); got {tuple(mosaic.shape)}.")
    height, width = mosaic.shape[-2:]
    if height % 2 or width % 2:
        raise UserError(
            f"a Bayer mosaic needs an even height and width; got {height}x{width}. Crop it by whole 2x2 blocks."
        )


def to_network(
    image: Tensor,
    spec: InputSpec,
    *,
    black: float = ZRR_LEVELS[0],
    white: float = ZRR_LEVELS[1],
    red: Offset = (0, 0),
    sigma: float | None = None,
) -> Tensor:
    """Return the network's input: counts (N, 1, H, W) as planes and scaled, or RGB (N, 3, H, W) or gray mapped.

    ``black`` and ``white`` are the levels of the sensor's counts and ``red`` is the position of the red pixel in the
    first 2x2 block. ``sigma`` is the standard deviation of the noise on the scale of 8-bit values, for networks that
    are told it. Raises UserError if such a network gets none, or one that no noise has.
    """
    if spec.is_raw:
        planes = _scaled(align_to_red(image, red), spec, (black, white))
    elif spec.quantised:
        planes = (image.clamp(0, 1) * 255).round() / 255
    else:
        planes = image
    low, high = spec.input_range
    planes = planes if (low, high) == (0.0, 1.0) else planes * (high - low) + low
    return torch.cat([planes, _noise_level(planes, sigma)], dim=1) if spec.noise_level else planes


def _scaled(mosaic: Tensor, spec: InputSpec, levels: tuple[float, float]) -> Tensor:
    """Return a mosaic (N, 1, H, W) that begins with red as the planes of ``spec``, in [0, 1] for its white."""
    if spec.black_level is None and spec.divisor is None:
        spec = replace(spec, levels=levels)
    elif levels != spec.levels:
        (black, white), (low, high) = levels, spec.levels
        mosaic = (mosaic - black) * ((high - low) / (white - black)) + low
    level = spec.levels[0] if spec.black_level is None else spec.black_level
    divisor = spec.levels[1] - spec.levels[0] if spec.divisor is None else spec.divisor
    planes = pack(mosaic, spec.planes) if spec.layout == "bayer_packed" else mosaic
    planes = (planes - _by_plane(level, mosaic)) / _by_plane(divisor, mosaic)
    if spec.floor is not None:
        planes = planes.clamp(min=spec.floor)
    return _spread(planes, spec.missing) if spec.layout == "bayer_rgb" else planes


def _by_plane(value: float | tuple[float, ...], like: Tensor) -> float | Tensor:
    return like.new_tensor(value)[:, None, None] if isinstance(value, tuple) else value


def _spread(mosaic: Tensor, missing: float) -> Tensor:
    """Return planes red, green, blue (N, 3, H, W) of a mosaic that begins with red, ``missing`` at other places."""
    planes = mosaic.new_full((len(mosaic), 3, *mosaic.shape[-2:]), missing)
    for plane, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        planes[:, plane, row::2, column::2] = mosaic[:, 0, row::2, column::2]
    return planes


def _noise_level(planes: Tensor, sigma: float | None) -> Tensor:
    """Return a map (N, 1, H, W) of ``sigma`` / 255."""
    if sigma is None:
        raise UserError("this network is told the level of the noise; give it, for example --sigma 25.")
    # This is also false for NaN.
    if not 0 <= sigma <= 255:
        raise UserError(f"sigma {sigma:g}: expected a standard deviation of 0 to 255, as 8-bit values have it.")
    return torch.full_like(planes[:, :1], sigma / 255)


def padded_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """Return the size to which planes of ``height`` x ``width`` are padded.

    Raises SizeError below the smallest size that the network accepts.
    """
    least = max(spec.min_size, 1)
    sizes = tuple(-(-size // spec.multiple) * spec.multiple for size in (height, width))
    # Reflection needs more pixels than it adds.
    if min(height, width) < least or sizes[0] - height >= height or sizes[1] - width >= width:
        needed = max(least, spec.multiple // 2 + 1)
        raise SizeError(
            f"planes of {height}x{width} are too small: this network takes at least {needed}x{needed}"
            f" (the planes it receives{'; a mosaic is twice as large' if spec.cell == 2 else ''})."
        )
    return sizes[0], sizes[1]


def pad_planes(planes: Tensor, spec: InputSpec) -> Tensor:
    """Pad planes (N, C, H, W) by reflection at the right and bottom to a size that the network accepts.

    Raises SizeError below the smallest size.
    """
    height, width = planes.shape[-2:]
    rows, columns = padded_size(height, width, spec)
    if (rows, columns) == (height, width):
        return planes
    return F.pad(planes, (0, columns - width, 0, rows - height), mode="reflect")


def apply_model(model: Callable[[Tensor], Any], planes: Tensor, spec: InputSpec, *, red: Offset = (0, 0)) -> Tensor:
    """Run ``model`` on the planes from ``to_network``; the output is (N, 3, H * scale, W * scale) in [0, 1], or gray.

    Pads to the network's multiple, crops the output back (also the part that ``align_to_red`` added for ``red``) and
    maps its range; nothing is clipped. Raises OutputError if the model does not return one image of the size that its
    convention promises.
    """
    height, width = planes.shape[-2:]
    padded = pad_planes(planes, spec)
    output = model(padded)
    expected = (planes.shape[0], spec.out_channels, *(round(size * spec.output_scale) for size in padded.shape[-2:]))
    check_output(output)
    if tuple(output.shape) != expected:
        raise OutputError(f"the model returned shape {tuple(output.shape)}; expected {expected}")
    output = output[..., : round(height * spec.output_scale), : round(width * spec.output_scale)]
    if red != (0, 0):
        # Output pixels per pixel of the mosaic; its first red[0] rows and red[1] columns were added.
        scale = spec.output_scale / spec.cell
        top, left = (int(offset * scale) for offset in red)
        rows, columns = (round((spec.cell * n - 2 * o) * scale) for n, o in zip((height, width), red))
        output = output[..., top : top + rows, left : left + columns]
    low, high = spec.output_range
    return output if (low, high) == (0.0, 1.0) else (output - low) / (high - low)
