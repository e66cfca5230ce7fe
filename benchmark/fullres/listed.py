"""Run a network on a whole small image by its list of operators, with convolutions joined to what follows them.

Images of the size of a dataset's patches need no pieces, but they gain from the same kernels: channels last, weights in
oneDNN's layout, which are made once and kept for the next images, and results that are activated as they are made.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.rows import joined
from benchmark.fullres.rows.fusing import fused
from benchmark.fullres.rows.graph import Node, OperatorGraph, aten, operators_of
from benchmark.fullres.rows.listing import is_pointwise
from benchmark.fullres.rows.operators import rule_of
from benchmark.fullres.rows.rule import RowRule
from benchmark.fullres.rows.whole import evaluate
from benchmark.fullres.weights import Weights, laid_out

# The products of a row are distributed over the threads in up to this many blocks.
_MOST_BLOCKS = 64


@dataclass(frozen=True)
class ListedPlan:
    """The operators that depend on the image, in order, and the values that each of them is the last to read.

    ``rules`` of the operators that are run by them; ``owned``: values that nothing else reads or shares memory with.
    """

    graph: OperatorGraph
    steps: Sequence[tuple[Node, tuple[Node, ...]]]
    rules: dict[Node, RowRule]
    owned: frozenset[Node]
    weights: Weights = field(default_factory=Weights)


def plan_listed(module: nn.Module, shape: Sequence[int]) -> ListedPlan:
    """Return the plan of ``module`` for one image (1, C, H, W).

    Raises InexactError if its operators cannot be listed beforehand, or torch has no joined operators here.
    """
    if not joined.available():
        raise InexactError("torch has no joined operators here")
    graph = fused(operators_of(module, shape))
    if not graph.output.from_input or graph.output.op == "input":
        raise InexactError("the network returns its input, or what does not depend on it")
    nodes = [node for node in graph.nodes if node.from_input and node.op != "input" and not _of_moments(node)]
    sources = {node: _sources(node) for node in nodes}
    reads = Counter(source for node in nodes for source in sources[node])
    last = {source: node for node in nodes for source in sources[node]}
    steps = [
        (node, tuple(source for source in dict.fromkeys(sources[node]) if last[source] is node and source.from_input))
        for node in nodes
    ]
    rules = {node: rule for node in nodes if (rule := rule_of(node)) is not None}
    owned = frozenset(node for node in nodes if reads[node] == 1 and _is_new(node))
    return ListedPlan(graph, steps, rules, owned)


def _of_moments(node: Node) -> bool:
    """Return whether a node is a part of a norm's statistics, which the norm itself finds again on the whole image."""
    return node.op == "moments" or (node.op is operator.getitem and node.args[0].op == "moments")


def _sources(node: Node) -> list[Node]:
    """Return the nodes that a node reads; instead of its statistics, a norm reads their image, which is its own."""
    return [source for source in node.inputs if not _of_moments(source)]


def _is_new(node: Node) -> bool:
    """Return whether the value of a node is a tensor of its own."""
    return node.op in (joined.JOINED, "norm") or (is_pointwise(node.op) and not node.is_view)


def run_listed(module: nn.Module, planes: Tensor, plan: ListedPlan, out: Tensor) -> None:
    """Write what ``module`` in evaluation mode returns for one image (1, C, H, W) on the CPU into ``out``."""
    with torch.inference_mode():
        plan.weights.use(module)
        run = _ListedRun(plan, planes, out)
        for node, frees in plan.steps:
            run.take(node)
            for source in frees:
                del run.values[source]
        if run.values[plan.graph.output] is not out:
            out.copy_(run.values[plan.graph.output])


class _ListedRun:
    """The run of one image through the plan; it is the ``Reader`` for the rules."""

    def __init__(self, plan: ListedPlan, planes: Tensor, out: Tensor) -> None:
        self.plan, self.out = plan, out
        self.values: dict[Node, Any] = {plan.graph.input: laid_out(planes)}

    def take(self, node: Node) -> None:
        """Compute the value of a node."""
        self.values[node] = self._value(node)

    def _value(self, node: Node) -> Any:
        rule = self.plan.rules.get(node)
        if rule is not None and (node.op == joined.JOINED or is_pointwise(node.op)):
            return rule.run(node, 0, node.size(2), self)
        if rule is not None:
            empty = torch.empty(node.shape or (), dtype=node.dtype, memory_format=torch.channels_last)
            target = self.out if node is self.plan.graph.output else empty
            if rule.write(node, 0, node.size(2), self, target):
                return target
        if node.op == "norm" and _of_moments(node.args[3]):
            x, weight, bias = (self.whole(value) for value in node.args[:3])
            return torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, node.args[5])[0]
        if _is_row(node):
            return _row_times(*(self.whole(value) for value in node.args[:3]))
        return evaluate(node, self.whole)

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows of an image."""
        tensor: Tensor = self.whole(node)
        return tensor if last - first == node.size(2) else tensor[:, :, first:last]

    def whole(self, value: Any) -> Any:
        """Return the tensor of a node; any other value is returned unchanged."""
        if isinstance(value, Node) and value.from_input:
            return self.values[value]
        return self.plan.weights.whole(value)

    def owned(self, node: Node) -> bool:
        """Return whether nothing else reads the tensor of a node, or shares its memory."""
        return node in self.plan.owned


def _is_row(node: Node) -> bool:
    """Return whether a node is a linear layer of one row, with one bias for each output."""
    if node.op is not aten.addmm.default or node.kwargs or node.dtype != torch.float32:
        return False
    return node.size(0) == 1 and len(node.args[0].shape) == 1


def _row_times(bias: Tensor, row: Tensor, weight: Tensor) -> Tensor:
    """Return ``row`` (1, C) times ``weight`` (C, O) plus ``bias`` in blocks of outputs, as ``zoo.hyper`` does it."""
    blocks = next(count for count in range(_MOST_BLOCKS, 0, -1) if weight.shape[1] % count == 0)
    split = weight.unflatten(1, (blocks, -1)).movedim(1, 0)
    return torch.baddbmm(bias.expand(weight.shape[1]).view(blocks, 1, -1), row.expand(blocks, 1, -1), split).view(1, -1)
