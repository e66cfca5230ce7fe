"""Operators of a network as nodes that a plan of strips or bands can reason about.

Operators that do not change values are removed (views of the same shape, copies, detach). Planes of one value become
constants without memory. Norms with statistics of the image are split into the statistics and their application. Writes
into parts of a new tensor become one ``assemble`` of parts, or a concatenation if the parts are channels.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmark.fullres.rows.listing import list_operators, tensors_of, with_defaults

aten = torch.ops.aten

# Operators that return several tensors; networks use only the first.
FIRST = {aten.max_pool2d_with_indices.default, aten.adaptive_max_pool2d.default}
_NORMS = {aten.native_batch_norm.default, aten._native_batch_norm_legit_no_training.default}
_SAME_SHAPE = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.expand.default,
    aten.alias.default,
    aten.detach.default,
    aten.clone.default,
    aten._to_copy.default,
    aten.lift_fresh_copy.default,
}
_EMPTY = {aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default}
# Tensors of one value, with the place of that value among the arguments, or the value itself.
_FILLED: dict[Any, tuple[int, float | None]] = {
    aten.full.default: (1, None),
    aten.full_like.default: (1, None),
    aten.new_full.default: (2, None),
    aten.zeros.default: (0, 0.0),
    aten.zeros_like.default: (0, 0.0),
    aten.new_zeros.default: (0, 0.0),
    aten.ones.default: (0, 1.0),
    aten.ones_like.default: (0, 1.0),
    aten.new_ones.default: (0, 1.0),
}
# Views that are not marked as views in their schemas.
_VIEWS = {aten._unsafe_view.default, aten._reshape_alias.default}
# The place of a write: start, stop, step for each dimension.
Region = tuple[tuple[int, int, int, int], ...]


@dataclass(eq=False)
class Node:
    """One value: ``op`` of ``args``, an ATen operator or one of our names; ``shape`` None for several tensors.

    ``args`` are all positional arguments of an operator, with defaults for those that the network left out.
    """

    op: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float32
    index: int = -1
    serial: int = field(default_factory=itertools.count().__next__)
    # Whether the value depends on the image.
    from_input: bool = field(init=False)

    def __post_init__(self) -> None:
        self.from_input = self.op == "input" or any(source.from_input for source in self.inputs)

    @cached_property
    def inputs(self) -> list[Node]:
        """Return the nodes among the arguments, each as often as it is used."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Node)]

    @property
    def is_image(self) -> bool:
        """Whether this is one image (1, C, H, W)."""
        return self.shape is not None and len(self.shape) == 4 and self.shape[0] == 1

    @property
    def is_view(self) -> bool:
        """Whether the operator returns its first input's memory, or parts of it."""
        if self.op is operator.getitem:
            return bool(self.args[0].is_view)
        if not isinstance(self.op, torch._ops.OpOverload):
            return False
        return self.op in _VIEWS or any(value.alias_info is not None for value in self.op._schema.returns)

    @property
    def is_source(self) -> bool:
        """Whether this is the input, a weight or a constant."""
        return self.op in ("input", "weight", "constant")

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return 0 if self.shape is None else torch.Size(self.shape).numel() * self.dtype.itemsize

    def reading(self, new: Mapping[Node, Node]) -> Node:
        """Return the same operator of other nodes: those that ``new`` has for its own inputs; a source is returned."""
        if self.is_source:
            return self
        args, kwargs = tree_map_only(Node, new.__getitem__, (self.args, self.kwargs))
        return Node(self.op, args, kwargs, self.shape, self.dtype)

    def size(self, dim: int) -> int:
        """Return one dimension of a tensor."""
        assert self.shape is not None
        return self.shape[dim]


@dataclass(frozen=True)
class OperatorGraph:
    """The needed nodes in the order of the network's own code, and the returned node."""

    nodes: tuple[Node, ...]
    output: Node
    input: Node

    @classmethod
    def of(cls, output: Node, image: Node) -> OperatorGraph:
        """Return the nodes that ``output`` needs, numbered in their order."""
        nodes = _needed(output)
        for index, node in enumerate(nodes):
            node.index = index
        return cls(tuple(nodes), output, image)


def operators_of(module: nn.Module, shape: Sequence[int]) -> OperatorGraph:
    """Return the nodes of ``module`` for one image (1, C, H, W); raises InexactError if they cannot be listed."""
    lowering = _Lowering(list_operators(module, (1, *shape[1:])), list(tensors_of(module)))
    for item in lowering.operators.graph.nodes:
        lowering.add(item)
    assert lowering.output is not None
    assert lowering.input is not None
    return OperatorGraph.of(lowering.output, lowering.input)


class _Lowering:
    def __init__(self, operators: fx.GraphModule, weights: Sequence[str]) -> None:
        self.operators = operators
        self.values: dict[fx.Node, Node] = {}
        self.sources = iter(weights)
        self.input: Node | None = None
        self.output: Node | None = None

    def add(self, item: fx.Node) -> None:
        if item.op == "placeholder":
            self.values[item] = self._placeholder(item)
        elif item.op == "get_attr":
            value = getattr(self.operators, str(item.target))
            self.values[item] = Node("constant", (value,), shape=tuple(value.shape), dtype=value.dtype)
        elif item.op == "output":
            found = [self.values[leaf] for leaf in tree_leaves(item.args) if isinstance(leaf, fx.Node)]
            self.output = found[0]
        else:
            self.values[item] = self._call(item)

    def _placeholder(self, item: fx.Node) -> Node:
        name = next(self.sources, None)
        node = Node("input") if name is None else Node("weight", (name,))
        node.shape, node.dtype = tuple(item.meta["val"].shape), item.meta["val"].dtype
        if name is None:
            self.input = node
        return node

    def _call(self, item: fx.Node) -> Node:
        target = item.target
        args, kwargs = tree_map_only(fx.Node, self.values.__getitem__, (item.args, item.kwargs))
        value: Any = item.meta.get("val")
        if target is operator.getitem:
            return self._part(args[0], args[1], value)
        args = with_defaults(target, args, kwargs)
        if target is aten.copy.default and args[0].shape == args[1].shape and args[0].dtype == args[1].dtype:
            return args[1]
        if target in _SAME_SHAPE and tuple(value.shape) == args[0].shape and value.dtype == args[0].dtype:
            return args[0]
        if target is aten.slice.Tensor and tuple(value.shape) == args[0].shape:
            return args[0]
        if target is aten.cat.default and len(args[0]) == 1:
            return args[0][0]
        if target in _FILLED:
            return _filled(target, args, value)
        if target in _EMPTY:
            return Node("empty", shape=tuple(value.shape), dtype=value.dtype)
        if target in _NORMS and args[0].is_image and all(user.args[1] == 0 for user in item.users):
            return _norm(target, args)
        if target is aten.slice_scatter.default:
            return _assembled(args)
        first = target in FIRST and all(user.args[1] == 0 for user in item.users)
        value = value[0] if first else value
        if not isinstance(value, Tensor):
            return Node(target, args, kwargs)
        return Node(target, args, kwargs, tuple(value.shape), value.dtype)

    def _part(self, source: Node, index: int, value: Tensor) -> Node:
        if source.shape is not None:
            # Only its first result is used.
            return source
        shape = tuple(value.shape)
        if source.op in (aten.split.Tensor, aten.split_with_sizes.default):
            whole, sizes, dim = source.args
            if whole.shape == shape:
                return whole
            dim %= len(whole.shape)
            start = index * sizes if isinstance(sizes, int) else sum(sizes[:index])
            return Node(aten.slice.Tensor, (whole, dim, start, start + shape[dim], 1), {}, shape, value.dtype)
        if source.op is aten.unbind.int:
            return Node(aten.select.int, (*source.args, index), {}, shape, value.dtype)
        return Node(operator.getitem, (source, index), {}, shape, value.dtype)


def _filled(target: Any, args: tuple[Any, ...], value: Tensor) -> Node:
    """Return a plane of one value: a constant of one element, spread over its shape."""
    place, known = _FILLED[target]
    one = torch.tensor(args[place] if known is None else known, dtype=value.dtype)
    return Node("constant", (one.expand(value.shape),), shape=tuple(value.shape), dtype=value.dtype)


def _norm(target: Any, args: tuple[Any, ...]) -> Node:
    """Split a batch norm (an instance norm is one over a single image) into statistics and their application."""
    x, weight, bias, mean, var = args[:5]
    own_statistics = target is aten.native_batch_norm.default and args[5]
    eps = args[7] if target is aten.native_batch_norm.default else args[6]
    if own_statistics:
        moments = Node("moments", (x,))
        channels = (x.shape[1],)
        mean = Node(operator.getitem, (moments, 0), {}, channels)
        var = Node(operator.getitem, (moments, 1), {}, channels)
    return Node("norm", (x, weight, bias, mean, var, eps), {}, x.shape, x.dtype)


def _span(node: Node, dim: int, start: int | None, stop: int | None, step: int) -> tuple[int, int, int, int]:
    start, stop, step = slice(start, stop, step).indices(node.size(dim))
    return dim % len(node.shape or ()), start, stop, step


def slice_of(node: Node) -> tuple[int, int, int, int]:
    """Return dimension, start, stop and step of a slice node."""
    return _span(*node.args)


def _assembled(args: tuple[Any, ...]) -> Node:
    """Return the tensor ``base`` with a part replaced; earlier replacements of parts are joined with this one."""
    base, source, *part = args
    region: Region = (_span(base, *part),)
    if source.op == "assemble" and len(source.args[1]) == 1:
        inner, writes = source.args
        # x[a][b] = v: a part of a slice is replaced, and the slice is written back. Two slices of one dimension stay
        # nested.
        joins = isinstance(inner, Node) and inner.op is aten.slice.Tensor and slice_of(inner) == region[0]
        if joins and inner.args[0] is base and all(dim != region[0][0] for dim, *_ in writes[0][1]):
            region, source = region + writes[0][1], writes[0][0]
    origin: Node | None = base
    earlier: tuple[Any, ...] = ()
    if base.op == "assemble":
        origin, earlier = base.args
    elif base.op == "empty":
        origin = None
    writes = (*earlier, (source, region))
    if origin is None and len(base.shape or ()) > 1 and _are_channels(writes, base.size(1)):
        return Node(aten.cat.default, ([part for part, _ in writes], 1), {}, base.shape, base.dtype)
    return Node("assemble", (origin, writes), {}, base.shape, base.dtype)


def _are_channels(writes: Iterable[tuple[Node, Region]], channels: int) -> bool:
    reached = 0
    for _, region in writes:
        if len(region) != 1 or region[0][0] != 1 or region[0][1] != reached or region[0][3] != 1:
            return False
        reached = region[0][2]
    return reached == channels


def _needed(output: Node) -> list[Node]:
    """Return the nodes that the output needs, in the order in which the network computes them."""
    seen: set[Node] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return sorted(seen, key=lambda node: node.serial)
