"""Plan the strips in which a network runs down an image: the rows that each layer computes in each step, and keeps.

The plan starts from strips of the output and goes backwards: before a layer computes rows, the layers that it reads
compute the rows that it needs. The rule of a layer (``rows.operators``) tells which rows it reads, on tensors without
data. Layers whose rows are read only once are computed where they are read; all others keep a **window** of rows of the
largest size that is needed.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.rows import joined
from benchmark.fullres.rows.fusing import fused
from benchmark.fullres.rows.graph import Node, OperatorGraph, aten, operators_of
from benchmark.fullres.rows.listing import name_of
from benchmark.fullres.rows.operators import rule_of
from benchmark.fullres.rows.rule import RowRule
from benchmark.fullres.weights import Weights

# Rows of the input for a strip of the output, the best first: larger strips are hardly faster, and small ones need many
# calls of each kernel.
ROWS = (64, 48, 32, 24, 16, 8)
# The memory of strips if there is plenty: these bytes, or a part of the peak of a pass over the whole image. One tensor
# stays below the size that glibc takes from the system every time.
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
    """Steps; each node's rule and the ``rows`` of its window; nodes computed where they are read or only moved.

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
    weights: Weights = field(default_factory=Weights)

    @property
    def strips(self) -> int:
        """The number of strips that form the output."""
        return sum(step.node is self.graph.output for step in self.steps)

    @property
    def text(self) -> str:
        """The text about the strips for the user."""
        rows = max(step.last - step.first for step in self.steps if step.node is self.graph.output)
        return f"{self.strips} of {rows} output rows, nothing computed twice{joined.kernels_text(self.rules)}"


def graph_of(module: nn.Module, shape: Sequence[int], *, exact_kernels: bool = False) -> OperatorGraph:
    """Return the operators of ``module`` for one image (1, C, H, W), as they are or, where torch can, joined.

    Raises InexactError with an operator's name unless everything that depends on the image is computed row by row.
    """
    graph = operators_of(module, shape)
    if not exact_kernels and joined.available():
        graph = fused(graph)
    for node in _after_input(graph):
        rule = None if node.op == "assemble" else rule_of(node)
        if rule is None or not set(rule.images(node)).issuperset(source for source in node.inputs if source.from_input):
            raise InexactError(f"{name_of(node.op)} needs the whole image")
    if not graph.output.from_input or graph.output.op == "input":
        raise InexactError("the network returns its input, or what does not depend on it")
    return graph


def _after_input(graph: OperatorGraph) -> list[Node]:
    """Return the nodes that depend on the image, in order; all others come from weights and constants."""
    return [node for node in graph.nodes if node.from_input and node.op != "input"]


def plan_strips(graph: OperatorGraph, rows: int) -> StripPlan:
    """Plan strips of ``rows`` rows of the output."""
    return _StripPlanner(graph).plan(rows)


def choose_strips(
    module: nn.Module,
    shape: Sequence[int],
    budget: int,
    whole_bytes: float,
    rows: Sequence[int] = ROWS,
    *,
    exact_kernels: bool = False,
) -> StripPlan:
    """Return the strips with the most rows that fit in the usual memory and ``budget`` bytes, else with the fewest.

    ``whole_bytes``: the peak of live activations of a pass over the whole image (1, C, H, W) of ``shape``. ``rows`` of
    the input that a strip may come from, the best first. Raises InexactError, with its name, for an operator that needs
    the whole image.
    """
    graph = graph_of(module, shape, exact_kernels=exact_kernels)
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
        # The images that each node reads by rows.
        self.images: dict[Node, frozenset[Node]] = {}
        readers: dict[Node, list[Node]] = defaultdict(list)
        for node in _after_input(graph):
            rule = rule_of(node)
            assert rule is not None
            self.rules[node] = rule
            images = [image for image in dict.fromkeys(rule.images(node)) if image.from_input]
            self.images[node] = frozenset(images)
            for image in images:
                readers[image].append(node)
        self.moved = frozenset(node for node, rule in self.rules.items() if _moves(node, rule))
        self.inlined = frozenset(self._inlined(readers))
        # Rows of the output in a strip.
        self.height = 1
        self.reached: dict[Node, int] = defaultdict(int)
        self.steps: list[StripStep] = []
        # The reads of each step: node, first and last row.
        self.reads: list[dict[Node, tuple[int, int]]] = []

    def _inlined(self, readers: dict[Node, list[Node]]) -> set[Node]:
        """Return the nodes that are computed where they are read."""
        # Whether each of a node's rows is read only once.
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
        # Weights exist in any case; tensors made of weights and constants are kept whole.
        made = sum(node.nbytes for node in self.graph.nodes if not node.from_input and not node.is_source)
        peak = kept + strips + made
        return StripPlan(self.graph, self.steps, self.rules, windows, self.inlined, self.moved, peak, largest)

    def _bring(self, node: Node, last: int) -> None:
        # At the top of the image the layers of a UNet must run far ahead of its output, so this is split into strips.
        part = max(1, -(-self.height * node.size(2) // self.graph.output.size(2)))
        for first in range(self.reached[node], last, part):
            self._step(node, first, min(first + part, last))

    def _step(self, node: Node, first: int, last: int) -> None:
        asked = _Asked(self.rules, self.images, self.inlined)
        asked.ask(node, first, last)
        for source, (_, high) in asked.reads.items():
            if source.op != "input":
                self._bring(source, high)
        self.reached[node] = last
        self.steps.append(StripStep(node, first, last))
        self.reads.append(asked.reads)

    def _windows(self) -> dict[Node, int]:
        """Set the rows that each step may drop because no later step reads them; return the windows' rows."""
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
        """Return about the bytes of a step's own tensors: its strip, an intermediate strip, and a copy of its input."""
        read = sum(_bytes(node, high - low) for node, (low, high) in reads.items())
        return 2 * _bytes(step.node, step.last - step.first) + read


def _bytes(node: Node, rows: int) -> int:
    return node.nbytes // node.size(2) * rows


def _moves(node: Node, rule: RowRule) -> bool:
    return rule.cost == "free" and node.op is not aten.cat.default


class _AllReadError(Exception):
    """A rule has read all its images: the rest of it need not run."""


class _Asked:
    """A ``Reader`` of tensors without data that notes which rows are read; nothing is computed of them."""

    def __init__(
        self, rules: dict[Node, RowRule], images: dict[Node, frozenset[Node]], inlined: frozenset[Node]
    ) -> None:
        self.rules, self.images, self.inlined = rules, images, inlined
        self.reads: dict[Node, tuple[int, int]] = {}
        # The images that the rules now running have not read yet, the innermost last.
        self.unread: list[set[Node]] = []

    def ask(self, node: Node, first: int, last: int) -> None:
        """Note what a node reads for rows [first, last)."""
        # A rule that reads other rows of an image later is run to its end.
        self.unread.append(set(self.images[node]) if self.rules[node].reads_once else {node})
        with contextlib.suppress(_AllReadError):
            self.rules[node].run(node, first, last, self)
        self.unread.pop()

    def read(self, node: Node, first: int, last: int) -> Tensor:
        if not node.from_input:
            return self.whole(node)[:, :, first:last]
        unread = self.unread[-1]
        if node in self.inlined:
            self.ask(node, first, last)
        else:
            low, high = self.reads.get(node, (first, last))
            self.reads[node] = min(low, first), max(high, last)
        unread.discard(node)
        if not unread:
            raise _AllReadError
        return torch.empty(1, node.size(1), last - first, node.size(3), device="meta", dtype=node.dtype)

    def whole(self, value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        return torch.empty(value.shape or (), device="meta", dtype=value.dtype)

    def owned(self, node: Node) -> bool:
        return False
