"""The rules of operators: the inputs for some rows of the output, and how these are computed exactly.

A rule computes rows [first, last) of a node, reading rows of its images through ``read(node, first, last)`` and whole
small tensors (weights, factors per channel) through ``whole(node)``. The kernels are torch's own on a strip of rows, so
that a strip has the values of the whole image. Operators without a rule, or with arguments that a rule does not cover,
run on the whole tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.fullres.rows import joined
from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.listing import is_pointwise
from benchmark.fullres.rows.moves import MOVES
from benchmark.fullres.rows.resizing import RESIZES
from benchmark.fullres.rows.rule import Reader, RowRule, is_channels_last
from benchmark.fullres.rows.windows import WINDOWS

aten = torch.ops.aten
# Overloads of pointwise operators whose ``out`` variant takes the same arguments.
_WITH_OUT = ("default", "Tensor")


def rule_of(node: Node) -> RowRule | None:
    """Return the rule that covers a node with its arguments, or None."""
    rule = RULES.get(node.op)
    if rule is not None and node.kwargs:
        return None
    if rule is None and _is_pointwise(node):
        rule = POINTWISE
    if rule is None or not node.is_image or not node.dtype.is_floating_point:
        return None
    return rule if rule.supports(node) and all(image.is_image for image in rule.images(node)) else None


def _is_pointwise(node: Node) -> bool:
    return (is_pointwise(node.op) and not node.is_view) or node.op is aten._prelu_kernel.default


def _rows_of(node: Node) -> list[Node]:
    """Return the inputs of a pointwise node that come from the image and have its rows."""
    return [item for item in node.inputs if item.is_image and item.size(2) == node.size(2) and item.from_input]


def _values(node: Node, first: int, last: int, reader: Reader) -> tuple[list[Any], dict[str, Any]]:
    """Return a pointwise node's arguments; images, and other tensors with a value for each row, are given by rows."""
    images = {item: reader.read(item, first, last) for item in dict.fromkeys(_rows_of(node))}

    def value(item: Any) -> Any:
        if not isinstance(item, Node):
            return item
        if item in images:
            return images[item]
        tensor = reader.whole(item)
        return tensor[..., first:last, :] if _has_rows(item, node) else tensor

    args = [[value(part) for part in item] if isinstance(item, list) else value(item) for item in node.args]
    return args, {name: value(item) for name, item in node.kwargs.items()}


def _has_rows(item: Node, node: Node) -> bool:
    """Return whether a tensor that is broadcast to a pointwise node's shape has different values in each row."""
    return len(item.shape or ()) > 1 and item.size(-2) == node.size(2) > 1


def _write_pointwise(node: Node, first: int, last: int, reader: Reader, target: Tensor) -> bool:
    packet = node.op._overloadpacket
    if node.op._overloadname not in _WITH_OUT or "out" not in packet.overloads() or not is_channels_last(target):
        return False
    args, kwargs = _values(node, first, last, reader)
    packet.out(*args, **kwargs, out=target)
    return True


def _pointwise(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    args, kwargs = _values(node, first, last, reader)
    operator = node.op
    target = node.args[0]
    if isinstance(target, Node) and target.shape == node.shape and target.dtype == node.dtype and reader.owned(target):
        operator = _in_place(node.op) or operator
    return operator(*args, **kwargs)


def _in_place(operator: Any) -> Any:
    packet = getattr(aten, f"{operator._overloadpacket.__name__}_", None)
    return getattr(packet, operator._overloadname, None) if packet is not None else None


def _pointwise_supports(node: Node) -> bool:
    return bool(_rows_of(node)) and all(value.shape is not None and value.op != "empty" for value in node.inputs)


def _normalised(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    x, weight, bias, mean, var, eps = node.args
    strip = reader.read(x, first, last)
    if not is_channels_last(strip):
        # Some channels of a larger image are no block of memory.
        strip = strip.contiguous(memory_format=torch.channels_last if strip.stride(1) == 1 else torch.contiguous_format)
    weight, bias, mean, var = (reader.whole(value) for value in (weight, bias, mean, var))
    return torch.native_batch_norm(strip, weight, bias, mean, var, False, 0.0, eps)[0]


def _mean_of_channels(node: Node, first: int, last: int, reader: Reader) -> Tensor:
    return reader.read(node.args[0], first, last).mean(1, keepdim=True)


def _is_of_channels(node: Node) -> bool:
    return [dim % 4 for dim in node.args[1] or ()] == [1] and node.args[2:] == (True,)


POINTWISE = RowRule(_pointwise, same_rows=True, supports=_pointwise_supports, images=_rows_of, write=_write_pointwise)
RULES: dict[Any, RowRule] = {
    "norm": RowRule(_normalised, same_rows=True),
    joined.JOINED: joined.RULE,
    aten.mean.dim: RowRule(_mean_of_channels, same_rows=True, supports=_is_of_channels),
    **MOVES,
    **WINDOWS,
    **RESIZES,
}
