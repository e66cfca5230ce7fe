"""Which rows nobody beats in both: as good and as cheap, and better in one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.leaderboard.cells import machines_of
from benchmark.leaderboard.columns import Column
from benchmark.leaderboard.rows import Row

# A letter per cost that is set against the main score, and what it is called in the explanation.
PAIRS = {
    "params": ("P", "params"),
    "macs": ("M", "MACs"),
    "latency_ms": ("T", "median time"),
    "peak_rss_bytes@12mp": ("R", "memory added"),
}
_NOT = "·"


def front(scores: Sequence[float | None], costs: Sequence[float | None]) -> set[int]:
    """Return the indices on the front of higher ``scores`` and lower ``costs``; None is never on it.

    A row is on it if no other is at least as good and at least as cheap, and better or cheaper. Equals are on it
    together.
    """
    pairs = enumerate(zip(scores, costs))
    points = sorted((cost, -score, i) for i, (score, cost) in pairs if score is not None and cost is not None)
    found: set[int] = set()
    best = (math.inf, math.inf)
    for cost, negative, index in points:
        if negative < best[1] or (cost, negative) == best:
            found.add(index)
            best = (cost, negative)
    return found


def pareto_cells(rows: Sequence[Row], main: Column, columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
    """Return a cell per row, the letters of the costs at which it is on the front, and the explanation.

    Values that may not be compared take no part. A cost is left out if its inputs differ in size or, where it is
    measured and not counted, if the rows come from several machines. Both are empty where nothing is left.
    """
    scores = [_signed(row.fair_value(main.id), main.higher_is_better) for row in rows]
    one_machine = len(machines_of(rows)) < 2
    fronts = {}
    for column in columns:
        several = len(column.sizes) > 1 or (column.kind == "timing" and not one_machine)
        costs = [row.fair_value(column.id) for row in rows]
        if column.id in PAIRS and not several and sum(cost is not None for cost in costs) > 1:
            fronts[column.id] = front(scores, costs)
    if not fronts:
        return (), ""
    cells = tuple("".join(PAIRS[id][0] if i in on else _NOT for id, on in fronts.items()) for i in range(len(rows)))
    named = ", ".join(f"{PAIRS[id][0]} {PAIRS[id][1]}" for id in fronts)
    return cells, (
        f"Pareto: costs ({named}) at which the row is optimal: no other is at least as good by `{main.id}` and at least"
        " as cheap, and better in one of the two."
    )


def _signed(value: float | None, higher: bool | None) -> float | None:
    return value if value is None or higher else -value
