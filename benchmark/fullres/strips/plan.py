"""Plan the strips in which a network runs down an image: which layer computes which rows when, and what each keeps.

Planned backwards from strips of the output: before a layer computes rows, the layers that it reads are brought as far
as it needs. What rows a layer reads is asked of its rule (``rows.operators``) on tensors without data. Layers that are
read once, row for row, are computed where they are read; all others keep a **window** of rows, as large as it ever
gets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.rows.graph import Node, OperatorGraph, aten, operators_of
from benchmark.fullres.rows.listing import name_of
from benchmark.fullres.rows.operators import rule_of
from benchmark.fullres.rows.rule import RowRule

# Rows of the input that strips of the output come from, the best first: larger ones are hardly faster, and small ones
# are many calls of each kernel.
ROWS = (64, 48, 32, 24, 16, 8)
# What strips take where memory is plenty: this, or a part of what a pass over the whole image holds at most. One tensor
# stays below what glibc's heap takes from the system every time.
LITTLE_BYTES, USUAL_PART, LARGEST_BYTES = 64 << 20, 1 / 12, 32 << 20


@dataclass(eq=False)
class StripStep:
    """Rows [first, last) of a node; its rows below ``lowest`` are not needed any more when they are computed."""

    node: Node
    first: int
    last: int
    lowest: int = 0


@dataclass(frozen=True)
class StripPlan:
    """Steps in order; each node's rule and ``rows`` of its window; nodes computed where they are read, and just moved.

    ``peak_bytes``: all windows and the largest strips of one step, without input, output and weights.
    """

    graph: OperatorGraph
    steps: Sequence[StripStep]
    rules: dict[Node, RowRule]
    rows: dict[Node, int]
    inlined: frozenset[Node]
    moved: frozenset[Node]
    peak_bytes: int
    # Of the largest tensor that is made and freed again.
    largest_bytes: int

    @property
    def strips(self) -> int:
        """How many strips the output is made of."""
        return sum(step.node is self.graph.output for step in self.steps)

    @property
    def text(self) -> str:
        """What a user reads about them."""
        rows = max(step.last - step.first for step in self.steps if step.node is self.graph.output)
        return f"{self.strips} of {rows} output rows, nothing computed twice"


def graph_of(module: nn.Module, shape: Sequence[int]) -> OperatorGraph:
    """Return the operators of ``module`` for one image (1, C, H, W).

    Raises InexactError with an operator's name unless all that comes from the image is computed row by row.
    """
    graph = operators_of(module, shape)
    for node in _after_input(graph):
        rule = None if node.op == "assemble" else rule_of(node)
        if rule is None or not set(rule.images(node)).issuperset(source for source in node.inputs if source.from_input):
            raise InexactError(f"{name_of(node.op)} needs the whole image")
    if not graph.output.from_input or graph.output.op == "input":
        raise InexactError("the network returns its input, or what does not depend on it")
    return graph


def _after_input(graph: OperatorGraph) -> list[Node]:
    """Return the nodes that depend on the image, in order; all others are weights, or made of weights and constants."""
    return [node for node in graph.nodes if node.from_input and node.op != "input"]


def plan_strips(graph: OperatorGraph, rows: int) -> StripPlan:
    """Plan strips of ``rows`` rows of the output."""
    return _StripPlanner(graph).plan(rows)


def choose_strips(
    module: nn.Module, shape: Sequence[int], budget: int, whole_bytes: float, rows: Sequence[int] = ROWS
) -> StripPlan:
    """Return the strips of the most rows within the usual memory and ``budget`` bytes, or else those of the fewest.

    ``whole_bytes``: the peak of live activations of a pass over the whole image (1, C, H, W) of ``shape``. ``rows`` of
    the input that a strip may come from, the best first. Raises InexactError, with its name, for an operator that needs
    the whole image.
    """
    graph = graph_of(module, shape)
    most = min(budget, max(LITTLE_BYTES, USUAL_PART * whole_bytes))
    for number in rows:
        plan = plan_strips(graph, _output_rows(graph, number))
        if plan.peak_bytes <= most and plan.largest_bytes <= LARGEST_BYTES:
            break
    return plan


def _output_rows(graph: OperatorGraph, rows: int) -> int:
    return max(1, rows * graph.output.size(2) // graph.input.size(2))


class _StripPlanner:
    def __init__(self, graph: OperatorGraph) -> None:
        self.graph = graph
        self.rules: dict[Node, RowRule] = {}
        readers: dict[Node, list[Node]] = defaultdict(list)
        for node in _after_input(graph):
            rule = rule_of(node)
            assert rule is not None
            self.rules[node] = rule
            for image in dict.fromkeys(rule.images(node)):
                if image.from_input:
                    readers[image].append(node)
        self.moved = frozenset(node for node, rule in self.rules.items() if _moves(node, rule))
        self.inlined = frozenset(self._inlined(readers))
        # Rows of the output in a strip.
        self.height = 1
        self.reached: dict[Node, int] = defaultdict(int)
        self.steps: list[StripStep] = []
        # What each step reads: node, first and last row.
        self.reads: list[dict[Node, tuple[int, int]]] = []

    def _inlined(self, readers: dict[Node, list[Node]]) -> set[Node]:
        """Return the nodes that are computed where they are read."""
        # Whether a node's rows are asked for once each.
        once: dict[Node, bool] = {}
        inlined: set[Node] = set()
        for node in reversed(self.graph.nodes):
            if node not in self.rules or node is self.graph.output:
                once[node] = True
                continue
            (reader, *others) = readers[node]
            in_place = not others and self.rules[reader].same_rows and once[reader]
            if in_place or node in self.moved:
                inlined.add(node)
            once[node] = node not in inlined or in_place
        return inlined

    def plan(self, rows: int) -> StripPlan:
        self.height = rows
        self._bring(self.graph.output, self.graph.output.size(2))
        windows = self._windows()
        kept = sum(_bytes(node, count) for node, count in windows.items())
        strips = max(self._strip_bytes(step, reads) for step, reads in zip(self.steps, self.reads))
        largest = max(_bytes(step.node, step.last - step.first) for step in self.steps)
        # Weights are there in any case; what is made of them and of constants is kept as a whole.
        made = sum(node.nbytes for node in self.graph.nodes if not node.from_input and not node.is_source)
        peak = kept + strips + made
        return StripPlan(self.graph, self.steps, self.rules, windows, self.inlined, self.moved, peak, largest)

    def _bring(self, node: Node, last: int) -> None:
        # At the top of the image the layers of a UNet are far ahead of its output: not in one strip.
        part = max(1, -(-self.height * node.size(2) // self.graph.output.size(2)))
        for first in range(self.reached[node], last, part):
            self._step(node, first, min(first + part, last))

    def _step(self, node: Node, first: int, last: int) -> None:
        asked = _Asked(self.rules, self.inlined)
        self.rules[node].run(node, first, last, asked)
        for source, (_, high) in asked.reads.items():
            if source.op != "input":
                self._bring(source, high)
        self.reached[node] = last
        self.steps.append(StripStep(node, first, last))
        self.reads.append(asked.reads)

    def _windows(self) -> dict[Node, int]:
        """Set what each step may forget, from what later ones read; return the windows' rows."""
        lowest: dict[Node, int] = {}
        windows: dict[Node, int] = defaultdict(int)
        for step, reads in zip(reversed(self.steps), reversed(self.reads)):
            if step.node is not self.graph.output:
                step.lowest = min(lowest.get(step.node, step.first), step.first)
                windows[step.node] = max(windows[step.node], step.last - step.lowest)
            for source, (low, _) in reads.items():
                lowest[source] = min(lowest.get(source, low), low)
        return dict(windows)

    def _strip_bytes(self, step: StripStep, reads: dict[Node, tuple[int, int]]) -> int:
        """Return about what a step's own tensors take: its strip, another on the way, and a copy of what it reads."""
        read = sum(_bytes(node, high - low) for node, (low, high) in reads.items())
        return 2 * _bytes(step.node, step.last - step.first) + read


def _bytes(node: Node, rows: int) -> int:
    return node.nbytes // node.size(2) * rows


def _moves(node: Node, rule: RowRule) -> bool:
    return rule.cost == "free" and node.op is not aten.cat.default


class _Asked:
    """A ``Reader`` of tensors without data that notes which rows are read."""

    def __init__(self, rules: dict[Node, RowRule], inlined: frozenset[Node]) -> None:
        self.rules, self.inlined = rules, inlined
        self.reads: dict[Node, tuple[int, int]] = {}

    def read(self, node: Node, first: int, last: int) -> Tensor:
        if not node.from_input:
            return self.whole(node)[:, :, first:last]
        if node in self.inlined:
            # Rows of padding come from nowhere.
            return self.rules[node].run(node, first, last, self).to("meta")
        low, high = self.reads.get(node, (first, last))
        self.reads[node] = min(low, first), max(high, last)
        return torch.empty(1, node.size(1), last - first, node.size(3), device="meta", dtype=node.dtype)

    def whole(self, value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        return torch.empty(value.shape or (), device="meta", dtype=value.dtype)

    def owned(self, node: Node) -> bool:
        return False
