"""Run a network down an image in strips of rows; each layer keeps the rows that its next strip still needs.

Unlike with tiles nothing is computed twice, and no tensor exists as a whole: every layer holds a window of its rows,
which moves down with the strips (line buffers; Alwani et al., "Fused-Layer CNN Accelerators", MICRO 2016). The
network's operators are listed beforehand (``rows.listing``) and the strips planned (``strips.plan``). Kernels are
torch's own, channels last, in which its convolutions are fastest on processors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.rule import RowRule
from benchmark.fullres.strips.plan import StripPlan, StripStep


def run_strips(
    module: nn.Module, planes: Tensor, plan: StripPlan, take: Callable[[Tensor, int], None], out: Tensor | None = None
) -> None:
    """Run ``module`` in evaluation mode on one image (1, C, H, W) on the CPU, which may be a mapped file.

    ``take`` gets each strip of the output (1, C', rows, W') in order, with the number of its first row. With ``out``
    (1, C', H', W') the strips are its rows.
    """
    with torch.inference_mode():
        plan.weights.use(module)
        run = _StripRun(plan, planes, out)
        for step in plan.steps:
            strip = run.take(step)
            if strip is not None:
                take(strip, step.first)


class Window:
    """Rows of one node that are still needed: (1, C, rows, W) from row ``base`` of the image on."""

    def __init__(self, node: Node, rows: int) -> None:
        shape = (1, node.size(1), rows, node.size(3))
        self.tensor = torch.empty(shape, dtype=node.dtype, memory_format=torch.channels_last)
        self.base = self.end = 0

    def rows(self, first: int, last: int) -> Tensor:
        """Return rows [first, last), which must be in the window."""
        return self.tensor[:, :, first - self.base : last - self.base]

    def make_room(self, lowest: int, last: int) -> None:
        """Drop rows below ``lowest`` if the rows up to ``last`` do not fit otherwise."""
        if last - self.base <= self.tensor.shape[2]:
            return
        shift = lowest - self.base
        kept = max(0, self.end - lowest)
        for start in range(0, kept, shift):
            # Source and target of a copy must not overlap.
            part = min(shift, kept - start)
            self.tensor[:, :, start : start + part] = self.tensor[:, :, start + shift : start + shift + part]
        self.base = lowest


class _StripRun:
    """The run of one image through the plan; it is the ``Reader`` for the rules."""

    def __init__(self, plan: StripPlan, planes: Tensor, out: Tensor | None) -> None:
        self.plan, self.planes, self.out = plan, planes, out
        self.windows: dict[Node, Window] = {}

    def take(self, step: StripStep) -> Tensor | None:
        """Compute a strip; return it if it is a strip of the output."""
        node = step.node
        rule = self.plan.rules[node]
        if node is self.plan.graph.output:
            if self.out is None:
                return rule.run(node, step.first, step.last, self)
            target = self.out[:, :, step.first : step.last]
            self._write(step, rule, target)
            return target
        window = self.windows.get(node)
        if window is None:
            window = self.windows[node] = Window(node, self.plan.rows[node])
        window.make_room(step.lowest, step.last)
        target = window.rows(step.first, step.last)
        self._write(step, rule, target)
        window.end = step.last
        return None

    def _write(self, step: StripStep, rule: RowRule, target: Tensor) -> None:
        if not rule.write(step.node, step.first, step.last, self, target):
            target.copy_(rule.run(step.node, step.first, step.last, self))

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows of a node: from its window, or computed."""
        if node.op == "input":
            return self.planes[:, :, first:last].contiguous(memory_format=torch.channels_last)
        if not node.from_input:
            return self.whole(node)[:, :, first:last]
        if node in self.windows:
            return self.windows[node].rows(first, last)
        return self.plan.rules[node].run(node, first, last, self)

    def whole(self, value: Any) -> Any:
        """Return a weight, or a tensor made of weights."""
        return self.plan.weights.whole(value)

    def owned(self, node: Node) -> bool:
        """Return whether a strip of the node is newly made and read only once."""
        return node in self.plan.inlined and node not in self.plan.moved
