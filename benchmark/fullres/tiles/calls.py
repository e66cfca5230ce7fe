"""Compare the operations that a network runs on an image with those that it runs on a crop, without data.

A network whose window, branch or factor depends on the image's size is another network on a crop, although each of its
operations could be followed. On a crop every operation must be the same, with the same numbers; only lengths may
follow the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

aten = torch.ops.aten


@dataclass(frozen=True)
class Executed:
    """One operation: its name, its arguments with shapes in place of tensors, and the shapes of what it returned."""

    name: str
    args: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Shape:
    sizes: tuple[int, ...]
    # Whether it comes from the image, whose rows and columns are fewer in a crop.
    of_image: bool


def executed(
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    outputs: Sequence[Tensor],
    is_of_image: Callable[[Tensor], bool],
) -> Executed:
    """Return the parts of a call that are compared."""

    def shown(part: Any) -> Any:
        return _Shape(tuple(part.shape), is_of_image(part)) if isinstance(part, Tensor) else part

    if func._overloadpacket is aten.slice:
        args = _slice(*args)
    more = [part for key, part in sorted(kwargs.items()) if key not in ("memory_format", "device", "layout")]
    name = str(func).removeprefix("aten.")
    return Executed(name, tuple(tree_map(shown, [*args, *more])), tuple(tuple(one.shape) for one in outputs))


def _slice(planes: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> list[Any]:
    """Return a slice's arguments with the number of elements left out at the end in place of its end."""
    length = planes.shape[dim]
    start, stop, step = slice(start, end, step).indices(length)
    return [planes, dim, start, "left out", length - stop, step]


def difference(whole: Sequence[Executed], crop: Sequence[Executed]) -> str | None:
    """Return the first operation that differs between a crop and the whole image; None if there is none."""
    for one, other in zip(whole, crop):
        if one.name != other.name or not _same(one.args, other.args, one, other):
            return one.name
    if len(whole) != len(crop):
        rest = (whole if len(whole) > len(crop) else crop)[min(len(whole), len(crop))]
        return rest.name
    return None


def _same(whole: Any, crop: Any, one: Executed, other: Executed) -> bool:
    if isinstance(whole, _Shape):
        same_sides = whole == crop
        return same_sides or (isinstance(crop, _Shape) and whole.of_image and _same_but_sides(whole.sizes, crop.sizes))
    if isinstance(whole, (list, tuple)):
        if not isinstance(crop, (list, tuple)) or len(whole) != len(crop):
            return False
        pairs = zip(whole, crop)
        return all(_same(a, b, one, other) for a, b in pairs) or _are_lengths(whole, crop, one, other)
    if type(whole) is not type(crop):
        return False
    return bool(whole == crop) or (whole != whole and crop != crop)


def _same_but_sides(whole: tuple[int, ...], crop: tuple[int, ...]) -> bool:
    """Whether two tensors have the same dimensions apart from rows and columns, the last two of an image."""
    return len(whole) == len(crop) and whole[:-2] == crop[:-2]


def _are_lengths(whole: Sequence[Any], crop: Sequence[Any], one: Executed, other: Executed) -> bool:
    """Return whether lists that differ are the last sizes of the operation's output."""
    if not one.shapes or not other.shapes or not all(isinstance(n, int) for n in (*whole, *crop)):
        return False
    shapes = one.shapes[0][-len(whole) :], other.shapes[0][-len(crop) :]
    if not _same_but_sides(one.shapes[0], other.shapes[0]) or len(shapes[0]) != len(whole):
        return False
    # -1 stands for a length that is inferred.
    return all(a == b or (a == m and b == n) for a, b, m, n in zip(whole, crop, *shapes))
