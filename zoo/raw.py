"""From sensor counts to what a network receives and back: packing, scaling, padding, cropping."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import PYNET_PLANES, InputSpec
from zoo.errors import SizeError, UserError

Offset = tuple[int, int]


def pack(mosaic: Tensor, planes: Sequence[Offset] = PYNET_PLANES, *, red: Offset = (0, 0)) -> Tensor:
    """Split a Bayer mosaic (N, 1, H, W) into planes (N, len(planes), H/2, W/2).

    ``planes`` are (row, column) offsets from a red pixel, ``red`` is the position of the red pixel in the
    mosaic's first 2x2 block: (0, 0) for RGGB. Raises UserError if H or W is odd: cropping here would shift
    the colour filter by one pixel.
    """
    if mosaic.ndim != 4 or mosaic.shape[1] != 1:
        raise UserError(f"a mosaic has shape (N, 1, H, W); got {tuple(mosaic.shape)}.")
    height, width = mosaic.shape[-2:]
    if height % 2 or width % 2:
        raise UserError(
            f"a Bayer mosaic needs an even height and width; got {height}x{width}. Crop it by whole 2x2 blocks."
        )
    rows = [(red[0] + row) % 2 for row, _ in planes]
    columns = [(red[1] + column) % 2 for _, column in planes]
    return torch.cat([mosaic[..., r::2, c::2] for r, c in zip(rows, columns)], dim=1)


def unpack(planes: Tensor, offsets: Sequence[Offset] = PYNET_PLANES, *, red: Offset = (0, 0)) -> Tensor:
    """Put planes (N, 4, H, W) back into a mosaic (N, 1, 2H, 2W); the inverse of ``pack``."""
    n, _, height, width = planes.shape
    mosaic = planes.new_zeros(n, 1, 2 * height, 2 * width)
    for index, (row, column) in enumerate(offsets):
        mosaic[..., (red[0] + row) % 2 :: 2, (red[1] + column) % 2 :: 2] = planes[:, index : index + 1]
    return mosaic


def to_network(
    image: Tensor, spec: InputSpec, *, black: float = 0.0, white: float = 1023.0, red: Offset = (0, 0)
) -> Tensor:
    """Return what the network receives: counts (N, 1, H, W) packed and scaled, or RGB (N, 3, H, W) mapped.

    ``black`` and ``white`` are the sensor's levels; they matter where the convention asks for them.
    """
    if spec.layout == "bayer_packed":
        level = black if spec.black_level is None else spec.black_level
        divisor = white - black if spec.divisor is None else spec.divisor
        image = (pack(image, spec.planes, red=red) - level) / divisor
    low, high = spec.input_range
    return image if (low, high) == (0.0, 1.0) else image * (high - low) + low


def padded_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """Return the size to which planes of ``height`` x ``width`` are padded.

    Raises SizeError below the smallest size that the network takes.
    """
    least = max(spec.min_size, 1)
    sizes = tuple(-(-size // spec.multiple) * spec.multiple for size in (height, width))
    # Reflection needs more pixels than it adds.
    if min(height, width) < least or sizes[0] - height >= height or sizes[1] - width >= width:
        needed = max(least, spec.multiple // 2 + 1)
        raise SizeError(
            f"planes of {height}x{width} are too small: this network takes at least {needed}x{needed}"
            f" (the planes it receives; a mosaic is twice as large)."
        )
    return sizes[0], sizes[1]


def pad_planes(planes: Tensor, spec: InputSpec) -> Tensor:
    """Pad planes (N, C, H, W) by reflection at the right and bottom to a size that the network takes.

    Raises SizeError below the smallest size.
    """
    height, width = planes.shape[-2:]
    rows, columns = padded_size(height, width, spec)
    if (rows, columns) == (height, width):
        return planes
    return F.pad(planes, (0, columns - width, 0, rows - height), mode="reflect")


def apply_model(model: nn.Module, planes: Tensor, spec: InputSpec) -> Tensor:
    """Run ``model`` on what ``to_network`` returned; the output is (N, 3, H * scale, W * scale) in [0, 1].

    Pads to the network's multiple, crops the output back and maps its range; nothing is clipped. Raises
    ValueError if the model does not return one image of the size that its convention promises.
    """
    height, width = planes.shape[-2:]
    padded = pad_planes(planes, spec)
    output = model(padded)
    expected = (planes.shape[0], 3, *(round(size * spec.output_scale) for size in padded.shape[-2:]))
    if not isinstance(output, Tensor):
        raise ValueError(f"the model returned {type(output).__name__}; expected one tensor of shape {expected}")
    if tuple(output.shape) != expected:
        raise ValueError(f"the model returned shape {tuple(output.shape)}; expected {expected}")
    output = output[..., : round(height * spec.output_scale), : round(width * spec.output_scale)]
    low, high = spec.output_range
    return output if (low, high) == (0.0, 1.0) else (output - low) / (high - low)
