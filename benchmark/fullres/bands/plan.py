"""Decide which tensors are stored, where, and for how long; count the peak memory beforehand.

A node is **stored** (computed once, band by band, into a buffer), **inlined** (computed for each band of the steps that
read it, never as a whole) or, without a rule, run **whole**. Convolutions are computed once: stored, or inlined
into the single pointwise step that follows. Operators that only move rows (paddings, slices, concatenations), and cheap
ones with one reader, are inlined, but cheap ones not if a step would compute them more than a few times.

A stored node may lie **inside** another that reads it: its last reader overwrites it in place, or it is a part of a
concatenation, which then needs no copy. Such nodes share one buffer, in use from its first write to its last read.
Concatenations are tried one by one and stored if that needs no copy and no more memory.

Where torch can, convolutions are joined with the frozen norm and the activation that follow them, and tensors are
channels last. A sum stays an operator of its own: as one it overwrites an image that it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from benchmark.fullres.rows import joined
from benchmark.fullres.rows.fusing import fused
from benchmark.fullres.rows.graph import Node, OperatorGraph, aten, operators_of
from benchmark.fullres.rows.operators import rule_of
from benchmark.fullres.rows.rule import RowRule
from benchmark.fullres.rows.statistics import gathers

# The bytes of all strips of a step; more rows save little time.
STRIP_BYTES = 32 << 20
# Tensors up to this size run whole.
SMALL_BYTES = 64 << 10
# A stored concatenation may raise the peak by this factor.
_TOLERANCE = 1.02
# A cheap operator is computed at most this often for a step. Without a limit, sums of 2, 4, 8 ... neighbours, each made
# of slices of the one before, would double the time with each of them.
_MOST_ASKED = 4


@dataclass(frozen=True)
class BandSizes:
    """How much of an image is handled at once; tests make it small."""

    strip_bytes: int = STRIP_BYTES
    small_bytes: int = SMALL_BYTES


USUAL_SIZES = BandSizes()


@dataclass(eq=False)
class BandStep:
    """One entry of the plan: what is run and which tensors are freed afterwards.

    ``kind``: "bands" computes ``node`` in strips of ``rows``; "gather" reads strips of its image; "whole" runs the
    operator. ``gathered``: nodes that read each strip of this node when it is made. ``kept``: parts of a concatenation
    that already lie in it. ``held_bytes``: images in use before it, without the network's input. ``new_bytes``:
    what it takes, ``strip_bytes`` of them for strips.
    """

    node: Node
    kind: str
    rows: int = 0
    gathered: list[Node] = field(default_factory=list)
    kept: frozenset[int] = frozenset()
    frees: list[Node] = field(default_factory=list)
    strip_bytes: int = 0
    held_bytes: int = 0
    new_bytes: int = 0


@dataclass(eq=False)
class BandPlan:
    """Steps in order, and the rules of nodes that run by rows; ``place``: buffer and first channel of stored nodes.

    ``memory_format``: of all images but the output.
    """

    graph: OperatorGraph
    steps: list[BandStep]
    rules: dict[Node, RowRule]
    place: dict[Node, tuple[Node, int]]
    # Nodes with several readers within a step, which remembers their strips.
    shared: frozenset[Node]
    peak_bytes: int
    memory_format: torch.memory_format


def plan_bands(
    module: nn.Module, shape: Sequence[int], sizes: BandSizes = USUAL_SIZES, *, exact_kernels: bool = False
) -> BandPlan:
    """Return the plan with the lowest peak that these rules find, for one image (1, C, H, W) of ``shape``.

    ``exact_kernels`` keeps the network's own operators. Raises InexactError if they cannot be listed beforehand.
    """
    graph = _with_flat_cats(operators_of(module, shape))
    memory_format = torch.contiguous_format
    if not exact_kernels and joined.available():
        graph, memory_format = fused(graph, sums=False), torch.channels_last
    facts = _BandFacts(graph, sizes, memory_format)
    kept: frozenset[Node] = frozenset()
    best = _BandPlanner(facts, kept).plan()
    limit = best.peak_bytes * _TOLERANCE
    for node in graph.nodes:
        if node.op is aten.cat.default and node in facts.rules and node is not graph.output:
            tried = _BandPlanner(facts, kept | {node})
            if tried.takes_no_copy(node):
                plan = tried.plan()
                if plan.peak_bytes <= limit:
                    best, kept = plan, kept | {node}
    return best


def _with_flat_cats(graph: OperatorGraph) -> OperatorGraph:
    """Return the graph with the parts of a concatenation's concatenations as its own: each is copied once."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        copy = node.reading(new)
        if _is_cat(copy):
            nested = [part.args[0] if _is_cat(part) else [part] for part in copy.args[0]]
            args = ([part for parts in nested for part in parts], *copy.args[1:])
            copy = Node(copy.op, args, copy.kwargs, copy.shape, copy.dtype)
        new[node] = copy
    return OperatorGraph.of(new[graph.output], new[graph.input])


def _is_cat(node: Node) -> bool:
    return node.op is aten.cat.default and node.is_image and node.args[1] in (1, -3)


class _BandFacts:
    """The facts that do not depend on the decisions."""

    def __init__(self, graph: OperatorGraph, sizes: BandSizes, memory_format: torch.memory_format) -> None:
        self.graph, self.sizes, self.memory_format = graph, sizes, memory_format
        self.rules: dict[Node, RowRule] = {}
        self.images: dict[Node, list[Node]] = {}
        self.gathers = {node for node in graph.nodes if gathers(node)}
        # The readers of each node, and whether they read it by rows.
        self.readers: dict[Node, list[tuple[Node, bool]]] = defaultdict(list)
        for node in graph.nodes:
            rule = None if node in self.gathers or node.is_source else rule_of(node)
            if rule is not None:
                images = list(dict.fromkeys(rule.images(node)))
                if node.nbytes + sum(image.nbytes for image in images) > sizes.small_bytes:
                    self.rules[node], self.images[node] = rule, images
            if node in self.gathers:
                self.images[node] = [node.args[0]]
            by_rows = set(self.images.get(node, []))
            for source in dict.fromkeys(node.inputs):
                self.readers[source].append((node, source in by_rows))


class _BandPlanner:
    def __init__(self, facts: _BandFacts, cats: frozenset[Node]) -> None:
        self.facts, self.graph, self.cats = facts, facts.graph, cats
        self.owners: dict[Node, set[Node]] = {}
        self.at_place: dict[Node, bool] = {}
        # How often a step asks for rows of a node that it computes, through slices at other rows each time.
        self.asked: dict[Node, int] = {}
        self.stored = self._decide()
        self.reads = {node: self._reads(node) for node in self._step_nodes()}
        self.attached = {
            node: node.args[0] for node in facts.gathers if node.args[0] in self.stored and node.args[0] in facts.rules
        }
        # The last step that reads a view of each node that an operator returned.
        self.last_viewed: dict[Node, int] = defaultdict(int)
        self.last_read = self._last_reads()
        self.inside: dict[Node, tuple[Node, int, bool]] = {}
        self._place_all()

    # --- stored or inlined

    def _decide(self) -> set[Node]:
        stored: set[Node] = set()
        for node in reversed(self.graph.nodes):
            if node.is_source or node in self.facts.gathers or node not in self.facts.rules:
                continue
            readers = self.facts.readers[node]
            owners: set[Node] = set()
            asked = 0
            for reader, _ in readers:
                inlined = reader in self.facts.rules and reader not in stored
                owners |= self.owners[reader] if inlined else {reader}
                asked += self.asked[reader] if inlined else 0
            self.owners[node] = owners
            self.at_place[node] = all(
                reader in self.facts.rules
                and self.facts.rules[reader].same_rows
                and (reader in stored or self.at_place[reader])
                for reader, _ in readers
            )
            self.asked[node] = 1 if self.at_place[node] else max(1, asked)
            needed_whole = any(
                not by_rows or not (reader in self.facts.rules or reader in self.facts.gathers)
                for reader, by_rows in readers
            )
            if node is self.graph.output or needed_whole or node in self.cats or self._worth_storing(node, owners):
                stored.add(node)
        return stored

    def _worth_storing(self, node: Node, owners: set[Node]) -> bool:
        rule = self.facts.rules[node]
        if rule.cost == "heavy":
            return len(owners) > 1 or not self.at_place[node]
        if rule.cost == "free":
            return False
        if self.asked[node] > _MOST_ASKED:
            return True
        if len(owners) == 1:
            return False
        if self._takes_over(node):
            return True
        computing = len(owners - self.facts.gathers)
        smaller = node.nbytes < sum(image.nbytes for image in self.facts.images[node])
        return computing > 2 or (computing > 1 and smaller and not rule.same_rows)

    def _takes_over(self, node: Node) -> bool:
        """Whether storing a node takes no memory: a convolution before it has no other reader but statistics."""
        if not self.facts.rules[node].same_rows:
            return False
        for image in self.facts.images[node]:
            rule = self.facts.rules.get(image)
            others = {reader for reader, _ in self.facts.readers[image] if reader.op != "moments"} - {node}
            if rule is not None and not others and (rule.cost == "heavy" or self._takes_over(image)):
                return True
        return False

    # --- the readers of each node, and when they read

    def _step_nodes(self) -> list[Node]:
        return [n for n in self.graph.nodes if not n.is_source and (n in self.stored or n not in self.facts.rules)]

    def inlined_in(self, node: Node) -> Iterator[tuple[Node, bool]]:
        """Yield what a step computes by rows: its node and what is inlined; with whether rows stay in place."""
        stack = [(node, True)]
        seen: set[tuple[Node, bool]] = set()
        while stack:
            item, at_place = stack.pop()
            if (item, at_place) in seen:
                continue
            seen.add((item, at_place))
            yield item, at_place
            rule = self.facts.rules.get(item)
            below = at_place and rule is not None and rule.same_rows
            stack += [(image, below) for image in self.facts.images[item] if self._is_inlined(image)]

    def _is_inlined(self, node: Node) -> bool:
        return node in self.facts.rules and node not in self.stored

    def _reads(self, node: Node) -> dict[Node, bool]:
        """Return stored nodes that a step reads, with whether it reads just the rows that it writes."""
        if node not in self.facts.images:
            return dict.fromkeys(node.inputs, False)
        found: dict[Node, bool] = {}
        for item, at_place in self.inlined_in(node):
            rule = self.facts.rules.get(item)
            same = at_place and rule is not None and rule.same_rows
            for source in item.inputs:
                if not self._is_inlined(source):
                    by_rows = source in self.facts.images[item]
                    found[source] = found.get(source, True) and same and by_rows
        return found

    def _time(self, node: Node) -> int:
        return self.attached[node].index if node in self.attached else node.index

    def _is_view(self, node: Node) -> bool:
        """Whether a node shares memory with its input, because its operator runs whole and returns a view."""
        return node.is_view and node not in self.stored

    def _last_reads(self) -> dict[Node, int]:
        last: dict[Node, int] = defaultdict(int)
        for node in reversed(self._step_nodes()):
            when = self._time(node)
            if self._is_view(node):
                # A reader of a view also reads the node behind it.
                when = max(when, last[node])
            for source in self.reads[node]:
                last[source] = max(last[source], when)
                if self._is_view(node):
                    self.last_viewed[source] = max(self.last_viewed[source], last[node])
        last[self.graph.output] = len(self.graph.nodes)
        return last

    # --- nodes inside other nodes

    def _place_all(self) -> None:
        for node in self._step_nodes():
            if node in self.stored:
                taken: list[tuple[int, int]] = []
                self._place_below(node, node, 0, True, taken)

    def _place_below(self, step: Node, item: Node, offset: int, same: bool, taken: list[tuple[int, int]]) -> None:
        rule = self.facts.rules[item]
        if not rule.same_rows:
            return
        is_cat = item.op is aten.cat.default
        channel = offset
        for image in rule.images(item):
            if is_cat or image.shape == item.shape:
                if self._is_inlined(image):
                    self._place_below(step, image, channel, same and is_cat, taken)
                else:
                    self._try_to_place(image, step, channel, same and is_cat, taken)
            channel += image.size(1) if is_cat else 0

    def _try_to_place(self, image: Node, step: Node, channel: int, same: bool, taken: list[tuple[int, int]]) -> None:
        span = (channel, channel + image.size(1))
        if image not in self.stored or image in self.inside or image is self.graph.output or image.dtype != step.dtype:
            return
        if any(span[0] < high and low < span[1] for low, high in taken):
            return
        if not same and not (self.reads[step][image] and self._dies_in(image, step)):
            return
        taken.append(span)
        self.inside[image] = (step, channel, same)

    def _dies_in(self, node: Node, step: Node) -> bool:
        """Whether a step is the last to read a node and what it holds, and reads nothing of it through a view.

        A view would show rows that the step has already written.
        """
        held = [other for other, (owner, _, same) in self.inside.items() if owner is node and same]
        own = self.last_read[node] <= step.index and self.last_viewed[node] < step.index
        return own and all(self._dies_in(other, step) for other in held)

    def takes_no_copy(self, cat: Node) -> bool:
        """Whether all parts of a stored concatenation lie in it."""
        return all(self.inside.get(part, (None,))[0] is cat for part in cat.args[0])

    # --- the plan

    def plan(self) -> BandPlan:
        place = {node: self._root(node) for node in self._step_nodes() if node in self.stored}
        steps = [self._step(node) for node in self._step_nodes() if node not in self.attached]
        by_node = {step.node: step for step in steps}
        for gathered, source in self.attached.items():
            by_node[source].gathered.append(gathered)
        peak = self._count(steps, place)
        readers = self.facts.readers
        shared = frozenset(node for node in self.facts.rules if node not in self.stored and len(readers[node]) > 1)
        return BandPlan(self.graph, steps, self.facts.rules, place, shared, peak, self.facts.memory_format)

    def _root(self, node: Node) -> tuple[Node, int]:
        channel = 0
        while node in self.inside:
            node, offset, _ = self.inside[node]
            channel += offset
        return node, channel

    def _step(self, node: Node) -> BandStep:
        if node not in self.facts.images:
            return BandStep(node, "whole")
        image = node if node in self.stored else node.args[0]
        rows, strip_bytes = self._strips(node, image.size(2))
        kept: frozenset[int] = frozenset()
        if node.op is aten.cat.default:
            parts = enumerate(node.args[0])
            kept = frozenset(i for i, part in parts if self.inside.get(part, (None,))[0] is node)
        kind = "bands" if node in self.stored else "gather"
        return BandStep(node, kind, rows, kept=kept, strip_bytes=strip_bytes)

    def _strips(self, node: Node, height: int) -> tuple[int, int]:
        """Return how many rows a step computes at once, and about how many bytes their strips take."""
        per_row = 0
        for item in {item for item, _ in self.inlined_in(node)}:
            sizes = [image.nbytes for image in self.facts.images[item]]
            per_row += ((item.nbytes if item in self.facts.rules else 0) + max(sizes)) // height
        rows = max(1, min(height, self.facts.sizes.strip_bytes // max(per_row, 1)))
        rows = rows // 8 * 8 if rows > 8 else rows
        return rows, rows * per_row

    def _count(self, steps: list[BandStep], place: dict[Node, tuple[Node, int]]) -> int:
        """Set what each step takes and frees, and return the peak of tensors in use and strips."""
        last: dict[Node, int] = {}
        for step in steps:
            for node in [step.node, *step.gathered]:
                root = place.get(node, (node, 0))[0]
                last[root] = max(last.get(root, 0), node.index, self.last_read[node])
        peak, held = 0, set[Node]()
        order = sorted(last, key=last.__getitem__)
        for step in steps:
            step.held_bytes = self._bytes_of(held)
            held |= {place.get(node, (node, 0))[0] for node in [step.node, *step.gathered]}
            step.new_bytes = self._bytes_of(held) - step.held_bytes + step.strip_bytes
            peak = max(peak, step.held_bytes + step.new_bytes)
            while order and last[order[0]] <= step.node.index:
                root = order.pop(0)
                if root in held:
                    held.remove(root)
                    step.frees.append(root)
        return self.graph.input.nbytes + peak

    def _bytes_of(self, roots: set[Node]) -> int:
        return sum(root.nbytes for root in roots if not self._is_view(root))
