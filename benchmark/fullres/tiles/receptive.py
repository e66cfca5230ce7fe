"""What a network sees: receptive field, alignment and global operations, found from the operations that it runs.

One pass on meta tensors of the image's size follows every tensor that comes from the image, and finds the input pixels
that one of its elements depends on (``spans``, ``rules``). Nothing is computed, so an image of 100 MPix takes
milliseconds. Weights stay on their device: an operation with a meta input runs on meta copies of its other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from benchmark.counting.trace import LayerNames, is_composite
from benchmark.fullres.rows.listing import is_pointwise, name_of, with_defaults
from benchmark.fullres.tiles.calls import Executed, executed
from benchmark.fullres.tiles.rules import RULES, Call, LostError, aten
from benchmark.fullres.tiles.spans import Reach, Span
from benchmark.fullres.untouched import evaluating
from zoo.outputs import check_output


@dataclass(frozen=True)
class Cause:
    """An operation after which the image cannot be followed: it sees the whole image, or the rules do not know it."""

    kind: str
    op: str
    layer: str
    why: str = ""

    @property
    def text(self) -> str:
        """``op in layer (why)``."""
        return f"{self.op}{f' in {self.layer}' if self.layer else ''}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class Resize:
    """A bilinear resizing with aligned corners, whose positions depend on the whole tensor's size.

    It has the ``strides`` of its input, and the sizes before and after for the tensor of the whole image.
    """

    strides: Reach
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True)
class Reception:
    """What a network sees of an image (1, C, *size): how its output (1, C', *output_size) depends on it.

    In pieces of the image that begin at multiples of ``multiple``, strides and poolings have the same phases as in the
    whole. ``reach`` is None if the output cannot be followed; ``causes`` then tell why. ``calls`` are the operations of
    the pass.
    """

    size: tuple[int, int]
    output_size: tuple[int, int]
    output_channels: int
    reach: Reach | None
    multiple: tuple[int, int]
    resizes: tuple[Resize, ...]
    causes: tuple[Cause, ...]
    calls: tuple[Executed, ...] = ()


class OnMeta(TorchDispatchMode):
    """Runs every operation that has a meta tensor among its inputs on meta tensors, the others as they are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = to_meta(args, kwargs or {})
        return func(*args, **kwargs)


def to_meta(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of an operation, all on meta if one of them is."""
    if not any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_flatten((args, kwargs))[0]):
        return args, kwargs
    return tree_map_only(Tensor, _meta_of, (args, kwargs))


def _meta_of(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")


class Follower(TorchDispatchMode):
    """Follows tensors that come from the image through every operation that runs while it is active."""

    def __init__(self, network: nn.Module, planes: Tensor) -> None:
        super().__init__()
        self.layers = LayerNames(network)
        self.causes: list[Cause] = []
        self.resizes: list[Resize] = []
        self.multiple = [1, 1]
        self.calls: list[Executed] = []
        # Memory that was written only in part, or through a tensor that is not followed.
        self._written: set[int] = set()
        self._kept: list[Tensor] = []
        # The number of HyperConvs, one after another, that a tensor has passed; absent: none.
        self._level: WeakIdKeyDictionary = WeakIdKeyDictionary()
        # None: the tensor comes from the image but cannot be followed.
        self._reach: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._reach[planes] = (Span(), Span())

    def reach_of(self, tensor: Tensor) -> Reach | None:
        """Return the reach of a tensor that comes from the image; None if it cannot be followed."""
        return self._reach.get(tensor)

    def level_of(self, tensor: Tensor) -> int:
        """Return the highest level that ``raise_level`` gave to a tensor behind ``tensor``, 0 if none."""
        return self._level.get(tensor, 0)

    def raise_level(self, tensor: Tensor, level: int) -> None:
        """Give ``tensor``, and all that will be computed from it, at least ``level``."""
        self._level[tensor] = max(level, self.level_of(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        tracked = [tensor for tensor in inputs if tensor in self._reach]
        if func._overloadpacket not in RULES and is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        meta_args, meta_kwargs = to_meta(args, kwargs)
        output = func(*meta_args, **meta_kwargs)
        self.calls.append(executed(func, args, kwargs, _tensors(output), self._reach.__contains__))
        if func._schema.is_mutable and tracked:
            self._note_write(func, args)
        if tracked or (self._written and any(_memory_of(tensor) in self._written for tensor in inputs)):
            reach = self._reach_behind(func, args, inputs, tracked, output)
            level = max(map(self.level_of, tracked), default=0)
            for tensor in _tensors(output):
                self._reach[tensor] = reach
                if level:
                    self.raise_level(tensor, level)
        return output

    def _note_write(self, func: Any, args: Any) -> None:
        """Stop following memory that is written through a view: other tensors that share it are not updated."""
        known = (argument.alias_info for argument in func._schema.arguments)
        written = [arg for arg, info in zip(args, known) if info and info.is_write and isinstance(arg, Tensor)]
        for tensor in written:
            if tensor._is_view() or tensor.untyped_storage().nbytes() != tensor.nbytes or tensor not in self._reach:
                self._written.add(_memory_of(tensor))
                # Its address must not be given to another tensor.
                self._kept.append(tensor)

    def _reach_behind(
        self, func: Any, args: Any, inputs: list[Tensor], tracked: list[Tensor], output: Any
    ) -> Reach | None:
        if any(self._reach[tensor] is None for tensor in tracked):
            return None
        try:
            if any(_memory_of(tensor) in self._written for tensor in inputs):
                raise LostError("unknown", "parts of a tensor are written in place")
            reach = self._joined(tracked)
            first = _tensors(output)[0]
            rule = RULES.get(func._overloadpacket)
            if rule is not None:
                if func._overloadpacket is aten.upsample_bilinear2d and args[2]:
                    self.resizes.append(Resize(reach, _size(args[0]), _size(first)))
                reach = rule(Call(reach, with_defaults(func, args), first))
            else:
                _check_pointwise(func, inputs, tracked, first)
        except LostError as lost:
            self.causes.append(Cause(lost.kind, name_of(func), self.layers.current, str(lost)))
            return None
        for axis, span in enumerate(reach):
            self.multiple[axis] = math.lcm(self.multiple[axis], span.stride.numerator)
        return reach

    def _joined(self, tracked: list[Tensor]) -> Reach:
        rows, columns = self._reach[tracked[0]]
        for tensor in tracked[1:]:
            try:
                rows, columns = (a.joined(b) for a, b in zip((rows, columns), self._reach[tensor]))
            except ValueError as error:
                raise LostError("unknown", str(error)) from None
        return rows, columns


def _check_pointwise(func: Any, inputs: list[Tensor], tracked: list[Tensor], output: Tensor) -> None:
    """Raise LostError unless an operation without a rule works element by element."""
    if not is_pointwise(func):
        raise LostError("unknown")
    for tensor in inputs:
        # Followed tensors come from the image's pixels; other tensors with rows or columns have values by position.
        foreign = not any(tensor is other for other in tracked)
        if foreign and tensor.shape[-2:].numel() > 1 and output.shape[-2:].numel() > 1:
            raise LostError("unknown", "mixed with values that depend on the place in the image")
    if any(tensor.shape[-2:] != output.shape[-2:] for tensor in tracked):
        raise LostError("unknown", "spread over rows or columns")


@contextmanager
def following(network: nn.Module, planes: Tensor) -> Iterator[Follower]:
    """Follow what comes from ``planes`` (on meta) while the block runs ``network`` in evaluation mode."""
    follower = Follower(network, planes)
    with evaluating(network), torch.no_grad(), follower.layers.following(), follower:
        yield follower


def reception_of(follower: Follower, size: tuple[int, int], output: Any) -> Reception:
    """Return the findings for ``output``, which the pass that ``follower`` followed has returned.

    Raises OutputError unless it is one image.
    """
    check_output(output)
    return Reception(
        size=size,
        output_size=_size(output),
        output_channels=output.shape[1],
        reach=follower.reach_of(output),
        multiple=(follower.multiple[0], follower.multiple[1]),
        resizes=tuple(follower.resizes),
        causes=tuple(dict.fromkeys(follower.causes)),
        calls=tuple(follower.calls),
    )


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _size(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[-2], tensor.shape[-1]


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor)]
