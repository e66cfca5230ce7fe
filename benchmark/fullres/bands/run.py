"""Run a network exactly on a whole image in bands of rows, with little more memory than the tensors still in use.

This is for networks that cannot run in tiles because some layers see the whole image: instance norm, channel attention,
global context, pyramid pooling. The network's operators are listed beforehand (``rows.listing``), planned
(``bands.plan``) and run here one after another, each over strips of rows. Statistics are gathered while their strips
are made, so all values are those of the whole image. With joined kernels tensors are channels last, in which
convolutions are fastest. With the network's own operators they have torch's plain format: convolutions and frozen norms
give the same bits as on the whole image, statistics of an image the same values up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from benchmark.fullres.bands.plan import BandPlan, BandStep
from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.joined import PACKED
from benchmark.fullres.rows.listing import tensors_of
from benchmark.fullres.rows.statistics import gathering
from benchmark.fullres.rows.whole import evaluate
from benchmark.fullres.subject import Call, nothing
from benchmark.host import machine

# Less freed memory than this part of what is planned is not worth a walk through the heap.
_FREE_PART = 1 / 32


def run_bands(
    module: nn.Module,
    x: Tensor,
    plan: BandPlan,
    out: Tensor | None = None,
    *,
    advance: Call = nothing,
) -> Tensor:
    """Return ``module(x)`` in evaluation mode for x (N, C, H, W) on the CPU, sample by sample, computed in bands.

    ``plan`` is for one sample. The result is written to ``out``. ``advance`` is called after each step of each sample.
    """
    shape = (x.shape[0], *(plan.graph.output.shape or ())[1:])
    if out is None:
        out = torch.empty(shape, dtype=plan.graph.output.dtype)
    elif tuple(out.shape) != shape:
        raise ValueError(f"out has shape {tuple(out.shape)}; the network returns {shape}")
    weights = tensors_of(module)
    with torch.no_grad():
        for sample in range(x.shape[0]):
            run = _BandRun(plan, weights, x[sample : sample + 1], out[sample : sample + 1])
            if plan.graph.output.is_source:
                run.out.copy_(run.whole(plan.graph.output))
            heap = _Heap(plan.peak_bytes)
            for step in plan.steps:
                heap.make_room(step)
                run.take(step)
                advance()
    return out


class _Heap:
    """Gives freed memory back to the system where the process would else take more than the ``planned`` bytes.

    The steps of a network free blocks of many sizes, and the C library's heap keeps many of them for the next ones.
    """

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.resting = machine.anonymous_bytes()

    def make_room(self, step: BandStep) -> None:
        """Give freed memory back if what ``step`` takes does not fit otherwise."""
        grown = machine.growth(self.resting, machine.anonymous_bytes()) or 0
        if grown + step.new_bytes > self.planned and grown - step.held_bytes > _FREE_PART * self.planned:
            machine.return_free_memory()


class _BandRun:
    """The run of one sample through the plan; it is the ``Reader`` for the rules."""

    def __init__(self, plan: BandPlan, weights: dict[str, Tensor], x: Tensor, out: Tensor) -> None:
        self.plan, self.weights, self.out = plan, weights, out
        self.buffers: dict[Node, Tensor] = {}
        self.values: dict[Node, Any] = {plan.graph.input: x}
        self.strips: dict[tuple[Node, int, int], Tensor] = {}
        # The nodes in each owner's buffer, which are freed with it.
        self.members: dict[Node, list[Node]] = {}
        for node, (root, _) in plan.place.items():
            self.members.setdefault(root, []).append(node)

    def take(self, step: BandStep) -> None:
        """Run one step and free the tensors that no later step reads."""
        if step.kind == "bands":
            self._bands(step)
        elif step.kind == "gather":
            self._gather(step.node, step.rows)
        else:
            self.values[step.node] = self._call(step.node)
        if step.node is self.plan.graph.output and step.kind != "bands":
            self.out.copy_(self.values[step.node])
        for root in step.frees:
            self.buffers.pop(root, None)
            for node in [root, *self.members.get(root, [])]:
                self.values.pop(node, None)

    # --- reading

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows of a stored node, or compute them."""
        if node.op == "input":
            return self.values[node][:, :, first:last].contiguous(memory_format=self.plan.memory_format)
        if node in self.values or node.is_source:
            return self.whole(node)[:, :, first:last]
        key = (node, first, last)
        if key in self.strips:
            return self.strips[key]
        strip = self.plan.rules[node].run(node, first, last, self)
        if node in self.plan.shared:
            self.strips[key] = strip
        return strip

    def whole(self, value: Any) -> Any:
        """Return a node's tensor."""
        if not isinstance(value, Node):
            return value
        if value.op == "weight":
            return self.weights[value.args[0]]
        return value.args[0] if value.op == "constant" else self.values[value]

    def owned(self, node: Node) -> bool:
        """Return whether a strip of the node is newly made and read only once."""
        if node in self.values or node.is_source or node in self.plan.shared:
            return False
        rule = self.plan.rules.get(node)
        return rule is not None and rule.cost != "free"

    # --- steps

    def _bands(self, step: BandStep) -> None:
        node = step.node
        target = self._slot(node)
        gathered = [(other, gathering(other)) for other in step.gathered]
        if step.kept:
            self._fill(step, target)
        for first, last in _bands(node.size(2), step.rows):
            if not step.kept:
                self._write(node, first, last, target[:, :, first:last])
                self.strips.clear()
            strip = target[:, :, first:last]
            for _, gatherer in gathered:
                gatherer.update(strip, first)
        self.values[node] = target
        for other, gatherer in gathered:
            self.values[other] = gatherer.result()

    def _write(self, node: Node, first: int, last: int, target: Tensor) -> None:
        rule = self.plan.rules[node]
        if not rule.write(node, first, last, self, target):
            target.copy_(rule.run(node, first, last, self))

    def _fill(self, step: BandStep, target: Tensor) -> None:
        """Write the parts of a concatenation that do not already lie in it."""
        channel = 0
        for index, part in enumerate(step.node.args[0]):
            if index not in step.kept:
                for first, last in _bands(part.size(2), step.rows):
                    target[:, channel : channel + part.size(1), first:last].copy_(self.read(part, first, last))
                    self.strips.clear()
            channel += part.size(1)

    def _gather(self, node: Node, rows: int) -> None:
        gatherer = gathering(node)
        source = node.args[0]
        for first, last in _bands(source.size(2), rows):
            gatherer.update(self.read(source, first, last), first)
            self.strips.clear()
        self.values[node] = gatherer.result()

    def _call(self, node: Node) -> Any:
        result = evaluate(node, self.whole)
        if node.is_view or node.op == PACKED:
            return result
        # A view that the plan does not know as one could be overwritten while it is read.
        return tree_map_only(Tensor, self._own, result)

    def _own(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        shared = any(storage == buffer.untyped_storage()._cdata for buffer in self.buffers.values())
        return tensor.clone() if shared else tensor

    def _slot(self, node: Node) -> Tensor:
        root, channel = self.plan.place[node]
        if root not in self.buffers:
            is_output = root is self.plan.graph.output
            self.buffers[root] = self.out if is_output else self._empty(root)
        return self.buffers[root][:, channel : channel + node.size(1)]

    def _empty(self, node: Node) -> Tensor:
        return torch.empty(node.shape or (), dtype=node.dtype, memory_format=self.plan.memory_format)


def _bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, height, rows):
        yield first, min(first + rows, height)
