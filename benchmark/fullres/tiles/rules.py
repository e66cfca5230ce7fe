"""Which elements of its inputs an operation reads, for the operations of convolutional networks.

A rule takes the reach of the operation's image-like inputs and its arguments and returns the reach of its output. It
raises ``LostError`` if the output depends on the whole image, or on something that no rule knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor

from benchmark.fullres.tiles.spans import Reach

aten = torch.ops.aten


class LostError(Exception):
    """The output cannot be followed: it is ``global`` (sees the whole image) or ``unknown`` to the rules."""

    def __init__(self, kind: Literal["global", "unknown"], why: str = "") -> None:
        super().__init__(why)
        self.kind: Literal["global", "unknown"] = kind


@dataclass(frozen=True)
class Call:
    """One executed operation: the reach of its first image-like input, all arguments by position, its output."""

    reach: Reach
    args: Sequence[Any]
    output: Tensor

    @property
    def planes(self) -> Tensor:
        """The first argument."""
        return self.args[0]


ReachRule = Callable[[Call], Reach]


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return (value[0], value[-1])


def _through(reach: Reach, windows: Iterable[tuple[Fraction | int, Fraction | int, Fraction | int]]) -> Reach:
    """Return the reach after an operation that reads these windows (scale, low, high) along rows and columns."""
    rows, columns = (span.through(*window) for span, window in zip(reach, windows))
    return rows, columns


def _windows(reach: Reach, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Reach:
    sides = zip(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation))
    return _through(reach, ((s, -p, (k - 1) * d - p) for k, s, p, d in sides))


def _convolution(call: Call) -> Reach:
    weight, stride, padding, dilation, transposed = call.args[1], *call.args[3:7]
    if weight.ndim != 4:
        raise LostError("unknown", "a convolution that is not over rows and columns")
    kernel = weight.shape[-2:]
    if not transposed:
        return _windows(call.reach, kernel, stride, padding, dilation)
    sides = zip(kernel, _pair(stride), _pair(padding), _pair(dilation))
    return _through(
        call.reach, ((Fraction(1, s), Fraction(p - (k - 1) * d, s), Fraction(p, s)) for k, s, p, d in sides)
    )


def _max_pool(call: Call) -> Reach:
    _, kernel, stride, padding, dilation = call.args[:5]
    return _windows(call.reach, kernel, stride or kernel, padding, dilation)


def _avg_pool(call: Call) -> Reach:
    _, kernel, stride, padding = call.args[:4]
    return _windows(call.reach, kernel, stride or kernel, padding, (1, 1))


def _ratios(call: Call) -> list[Fraction]:
    """Return rows before / rows after, and the same for columns; raises LostError unless one divides the other.

    Any other ratio is specific to this size and would be different on a piece of the image.
    """
    before, after = call.planes.shape[-2:], call.output.shape[-2:]
    ratios = [Fraction(*sizes) for sizes in zip(before, after)]
    if any(1 not in (ratio.numerator, ratio.denominator) for ratio in ratios):
        raise LostError("unknown", f"resized from {tuple(before)} to {tuple(after)}")
    return ratios


def _bilinear(call: Call) -> Reach:
    ratios = _ratios(call)
    if not call.args[2]:
        return _around(call.reach, ratios, 1)
    if max(ratios) > 1:
        raise LostError("unknown", "made smaller with aligned corners")
    # Output i falls up to 1 - ratio before ratio i.
    return _through(call.reach, ((ratio, ratio - 2, 1) for ratio in ratios))


def _bicubic(call: Call) -> Reach:
    if call.args[2]:
        raise LostError("unknown", "bicubic with aligned corners")
    return _around(call.reach, _ratios(call), 2)


def _around(reach: Reach, ratios: Iterable[Fraction], taps: int) -> Reach:
    # Output i falls on ratio i + (ratio - 1) / 2.
    return _through(reach, ((ratio, (ratio - 1) / 2 - taps, (ratio - 1) / 2 + taps) for ratio in ratios))


def _nearest(call: Call) -> Reach:
    return _through(call.reach, ((ratio, -max(Fraction(0), 1 - ratio), 0) for ratio in _ratios(call)))


def _pixel_shuffle(call: Call) -> Reach:
    factor = call.args[1]
    return _through(call.reach, [(Fraction(1, factor), Fraction(1 - factor, factor), 0)] * 2)


def _pixel_unshuffle(call: Call) -> Reach:
    factor = call.args[1]
    return _through(call.reach, [(factor, 0, factor - 1)] * 2)


def _pad(call: Call) -> Reach:
    left, _, top, _ = [*call.args[1], 0, 0, 0, 0][:4]
    return _through(call.reach, ((1, -pad, -pad) for pad in (top, left)))


def _reflect(call: Call) -> Reach:
    # The padded elements read pixels on the other side of the edge, as far away as they are wide.
    left, right, top, bottom = call.args[1]
    return _through(call.reach, ((1, -first - 2 * last, first) for first, last in ((top, bottom), (left, right))))


def _slice(call: Call) -> Reach:
    _, dim, start, _, step = call.args
    start = start or 0
    axis = _spatial_axis(call.planes, dim)
    if axis is None:
        return call.reach
    if start < 0:
        raise LostError("unknown", "a slice that begins at a distance from the end")
    spans = list(call.reach)
    spans[axis] = spans[axis].through(step, start, start)
    return spans[0], spans[1]


def _spatial_axis(planes: Tensor, dim: int) -> int | None:
    """Return 0 for the dimension of rows, 1 for that of columns, None for others."""
    axis = dim % planes.ndim - (planes.ndim - 2)
    return axis if axis >= 0 else None


def _not_along_the_image(dim_at: int) -> ReachRule:
    """Return the rule of an operation along one dimension, which must not be one of the image's."""

    def rule(call: Call) -> Reach:
        first = call.planes if isinstance(call.planes, Tensor) else call.planes[0]
        if _spatial_axis(first, call.args[dim_at]) is not None:
            raise LostError("unknown", "along rows or columns")
        return call.reach

    return rule


def _reduction(call: Call) -> Reach:
    dims = call.args[1] if len(call.args) > 1 else None
    # A bool is the normalisation of a variance over all elements.
    dims = range(call.planes.ndim) if dims is None or dims == [] or isinstance(dims, bool) else dims
    if isinstance(dims, Tensor):
        raise LostError("unknown")
    dims = dims if isinstance(dims, Sequence) else (dims,)
    if any(_spatial_axis(call.planes, dim) is not None for dim in dims):
        raise LostError("global")
    return call.reach


def _softmax(call: Call) -> Reach:
    if _spatial_axis(call.planes, call.args[1]) is not None:
        raise LostError("global")
    return call.reach


def _batch_norm(call: Call) -> Reach:
    if call.args[5]:
        raise LostError("global")
    return call.reach


def _global(call: Call) -> Reach:
    raise LostError("global")


def _same(call: Call) -> Reach:
    return call.reach


def _reshaped(call: Call) -> Reach:
    """Accept a change of shape that keeps rows and columns last and complete."""
    if call.output.ndim < 2 or call.output.shape[-2:] != call.planes.shape[-2:]:
        raise LostError("unknown", "rows and columns are taken apart")
    return call.reach


def _permuted(call: Call) -> Reach:
    last = [call.planes.ndim - 2, call.planes.ndim - 1]
    if [dim % call.planes.ndim for dim in call.args[1][-2:]] != last:
        raise LostError("unknown", "rows and columns change places")
    return call.reach


def _transposed(call: Call) -> Reach:
    if any(_spatial_axis(call.planes, dim) is not None for dim in call.args[1:3]):
        raise LostError("unknown", "rows and columns change places")
    return call.reach


RULES: dict[Any, ReachRule] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _max_pool,
    aten.avg_pool2d: _avg_pool,
    aten.upsample_nearest2d: _nearest,
    aten._upsample_nearest_exact2d: _nearest,
    aten.upsample_bilinear2d: _bilinear,
    aten.upsample_bicubic2d: _bicubic,
    aten.pixel_shuffle: _pixel_shuffle,
    aten.pixel_unshuffle: _pixel_unshuffle,
    aten.constant_pad_nd: _pad,
    aten.reflection_pad2d: _reflect,
    aten.replication_pad2d: _reflect,
    aten.slice: _slice,
    aten.select: _not_along_the_image(1),
    aten.split: _not_along_the_image(2),
    aten.split_with_sizes: _not_along_the_image(2),
    aten.unbind: _not_along_the_image(1),
    aten.cat: _not_along_the_image(1),
    aten.glu: _not_along_the_image(1),
    aten.native_batch_norm: _batch_norm,
    aten._native_batch_norm_legit: _batch_norm,
    aten._native_batch_norm_legit_no_training: _same,
    aten.native_group_norm: _global,
    aten.native_layer_norm: _global,
    aten._softmax: _softmax,
    aten._log_softmax: _softmax,
    aten.permute: _permuted,
    aten.transpose: _transposed,
}
RULES |= dict.fromkeys(
    (aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.var, aten.std, aten.var_mean), _reduction
)
RULES |= dict.fromkeys((aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.linalg_vector_norm), _global)
RULES |= dict.fromkeys(
    (aten.view, aten._unsafe_view, aten.reshape, aten.expand, aten.repeat, aten.squeeze, aten.unsqueeze), _reshaped
)
RULES |= dict.fromkeys((aten.clone, aten.detach, aten.alias, aten._to_copy, aten.contiguous, aten.lift_fresh), _same)
RULES |= dict.fromkeys((aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like), _same)
