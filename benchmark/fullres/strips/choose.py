"""How high strips are: as many rows as memory allows, up to what makes them no faster."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from benchmark.fullres.rows.graph import OperatorGraph
from benchmark.fullres.strips.plan import StripPlan, graph_of, plan_strips

# Rows of the input that strips of the output come from, the best first: larger ones are hardly faster, and small ones
# are many calls of each kernel.
ROWS = (64, 48, 32, 24, 16, 8)
# What strips take where memory is plenty: this, or a part of what lives during a pass over the whole image. One tensor
# stays below what glibc's heap takes from the system every time.
LITTLE_BYTES, USUAL_PART, LARGEST_BYTES = 64 << 20, 1 / 12, 32 << 20


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
