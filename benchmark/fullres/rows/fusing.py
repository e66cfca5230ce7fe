"""Join convolutions with what follows them: frozen norm, sum and activation in one call, with weights packed once.

oneDNN applies these while the result of a convolution is still in registers, and reads weights in a layout of its own;
torch's compiler uses the same operators. A norm goes into the weights, and activations are computed by oneDNN: results
differ from those of the plain operators by rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from benchmark.fullres.rows.graph import Node, OperatorGraph, aten
from benchmark.fullres.rows.joined import AFTER_SUM, JOINED, NONE, PACKED, Activation, available

# Rows of the image for which oneDNN is asked for a layout of weights; other numbers of rows work with it too.
_USUAL_ROWS = 64
_FEW_PIXELS = 16


def fused(graph: OperatorGraph, *, sums: bool = True) -> OperatorGraph:
    """Return the graph with convolutions joined with what follows them, where nothing else reads what is between.

    ``sums``: whether a sum is joined too, which reads the other image at the time of the convolution.
    """
    joiner = _Joiner(graph, sums)
    for node in graph.nodes:
        joiner.add(node)
    return joiner.graph()


class _Joiner:
    def __init__(self, graph: OperatorGraph, sums: bool) -> None:
        self.old, self.sums = graph, sums and "add" in available()
        self.reads = Counter(source for node in graph.nodes for source in node.inputs)
        self.reads[graph.output] += 1
        self.new: dict[Node, Node] = {}
        # Joined convolutions that may take something in: without an activation, and read once.
        self.open: set[Node] = set()

    def add(self, node: Node) -> None:
        joined = self._convolution(node) or self._norm(node) or self._sum(node) or self._activation(node)
        if joined is not None and self.reads[node] == 1 and joined.args[-2] == NONE:
            self.open.add(joined)
        self.new[node] = joined or node.reading(self.new)

    def graph(self) -> OperatorGraph:
        """Return the new nodes that the output needs, in order."""
        return OperatorGraph.of(self.new[self.old.output], self.new[self.old.input])

    def _open(self, source: Any) -> Node | None:
        """Return the joined convolution that gives ``source`` if it may take something in."""
        joined = self.new.get(source) if isinstance(source, Node) else None
        return joined if joined in self.open else None

    def _convolution(self, node: Node) -> Node | None:
        if node.op is not aten.convolution.default or node.dtype != torch.float32 or not node.is_image:
            return None
        x, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
        pairs = all(len(pair) == 2 for pair in (stride, padding, dilation))
        if transposed or not pairs or not x.is_image or len(weight.shape) != 4:
            return None
        if x.size(2) * x.size(3) < _FEW_PIXELS:
            # For the gates of attention torch's own operators take less time.
            return None
        window = tuple(stride), tuple(padding), tuple(dilation), groups
        return _joined(node, self.new[x], self.new[weight], bias and self.new[bias], window)

    def _norm(self, node: Node) -> Node | None:
        """Return the convolution with the norm's factors in its weights."""
        before = self._open(node.args[0]) if node.op == "norm" else None
        if before is None or before.args[-1] is not None:
            return None
        factor, offset, mean, var, eps = tree_map_only(Node, self.new.__getitem__, node.args[1:])
        x, packed, bias, *window, _, _ = before.args
        if any(isinstance(value, Node) and value.from_input for value in (factor, offset, mean, var, packed, bias)):
            return None
        weight, channels = packed.args[0], node.size(1)

        def made(operator: Any, *args: Any, shape: tuple[int, ...] = (channels,)) -> Node:
            return Node(operator, args, {}, shape)

        scale = made(aten.rsqrt.default, made(aten.add.Scalar, var, eps))
        scale = scale if factor is None else made(aten.mul.Tensor, scale, factor)
        moved = made(aten.neg.default, mean) if bias is None else made(aten.sub.Tensor, bias, mean)
        moved = made(aten.mul.Tensor, moved, scale)
        moved = moved if offset is None else made(aten.add.Tensor, moved, offset)
        spread = made(aten.view.default, scale, [-1, 1, 1, 1], shape=(channels, 1, 1, 1))
        return _joined(node, x, made(aten.mul.Tensor, weight, spread, shape=weight.shape), moved, tuple(window))

    def _sum(self, node: Node) -> Node | None:
        if not self.sums or node.op is not aten.add.Tensor or node.kwargs.get("alpha", 1) != 1:
            return None
        for one, other in (node.args[:2], node.args[1::-1]):
            before = self._open(one)
            if before is None or before.args[-1] is not None or not isinstance(other, Node) or other.op == "empty":
                continue
            if before.shape == other.shape == node.shape and other.dtype == node.dtype and other.from_input:
                return Node(JOINED, (*before.args[:-1], self.new[other]), {}, node.shape, node.dtype)
        return None

    def _activation(self, node: Node) -> Node | None:
        activation = activation_of(node)
        before = None if activation is None else self._open(node.args[0])
        if activation is None or before is None or (before.args[-1] is not None and activation[0] not in AFTER_SUM):
            return None
        return Node(JOINED, (*before.args[:-2], activation, before.args[-1]), {}, node.shape, node.dtype)


def _joined(node: Node, x: Node, weight: Node, bias: Node | None, window: tuple[Any, ...]) -> Node:
    if not weight.from_input:
        # Predicted weights are new for every image.
        shape = (1, x.size(1), min(x.size(2), _USUAL_ROWS), x.size(3))
        weight = Node(PACKED, (weight, *window, shape), {}, weight.shape, weight.dtype)
    return Node(JOINED, (x, weight, bias, *window, NONE, None), {}, node.shape, node.dtype)


def activation_of(node: Node) -> Activation | None:
    """Return what oneDNN calls the activation that a node is; None if it is none that it has."""
    if node.dtype != torch.float32 or node.op not in _ACTIVATIONS:
        return None
    activation = _ACTIVATIONS[node.op](*node.args[1:], **node.kwargs)
    return activation if activation is not None and activation[0] in available() else None


def _between(low: Any, high: Any) -> Activation | None:
    numbers = all(isinstance(value, (int, float)) for value in (low, high))
    return ("hardtanh", (float(low), float(high)), "") if numbers else None


_ACTIVATIONS: dict[Any, Callable[..., Activation | None]] = {
    aten.relu.default: lambda: ("relu", (), ""),
    aten.sigmoid.default: lambda: ("sigmoid", (), ""),
    aten.tanh.default: lambda: ("tanh", (), ""),
    aten.silu.default: lambda: ("swish", (), ""),
    aten.hardswish.default: lambda: ("hardswish", (), ""),
    aten.hardsigmoid.default: lambda: ("hardsigmoid", (), ""),
    aten.gelu.default: lambda approximate="none": ("gelu", (), approximate),
    aten.leaky_relu.default: lambda slope: ("leaky_relu", (float(slope),), ""),
    aten.hardtanh.default: _between,
    aten.clamp.default: _between,
}
