"""Ranks that claim no more than the images support, and Pareto fronts.

Rows whose difference is not significant share a rank; with few or unknown scenes no row has one. A row is on a Pareto
front if no other row is at least as good and at least as cheap, and better or cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.leaderboard.cells import machines_of
from benchmark.leaderboard.columns import Column, deciding
from benchmark.leaderboard.differences import differ, is_testable, run_spread
from benchmark.leaderboard.rows import Row
from benchmark.leaderboard.runs import Spread
from benchmark.results.paired import LEVEL
from benchmark.results.store import scores_problem

RULE = (
    "Rank: rows that share one (=) are not significantly worse than the first of them by {main}: the"
    f" {LEVEL:.0%} interval of the mean difference per image, over the {{scenes}} scenes, holds 0. Rows of neighbouring"
    " ranks may not differ significantly either."
)
RUNS = (
    "sd: the standard deviation between trainings that differ only in their seed. Every comparison includes those of"
    " its two rows (Welch's test); for a row with one run that pooled over the rows, {deviation} ({freedom} degrees of"
    " freedom)."
)
ONE_RUN = "Each network was trained once, so ranks compare these weights: another seed may change the order."
UNTESTED = (
    "Rank: by {main} alone. No difference was tested and no tie is shown: that takes the scores of two or more images"
    " beside the records."
)
DISTRUSTED = "the scores per image beside the record are not as they were written, so they are not used."
_UNTESTED = "?"
# A letter for each cost that is weighed against the main score, and the name of the cost in the explanation.
PAIRS = {
    "params": ("P", "params"),
    "macs": ("M", "MACs"),
    "latency_ms": ("T", "median time"),
    "peak_rss_bytes@12mp": ("R", "memory added"),
}
_NOT = "·"


def ranked(rows: Sequence[Row], main: str) -> tuple[list[str], list[str]]:
    """Return the rank of each row as text, and the notes on them; ``rows`` are sorted by ``main``, best first.

    Each group is led by its best row; the first row that is significantly worse than the leader leads the next group,
    and its rank is its position. A row that may not be compared has no rank, and no row has one if the scenes are too
    few or unknown. A row without scores per image cannot be tested against the leader, so it leads a group of its own,
    with a question mark. Each test is of two rows alone at 5 %; nothing is corrected for the number of rows
    (docs/statistics.md).
    """
    if not rows[0].has_enough_scenes:
        return [], _distrusted(rows)
    testable = [is_testable(row, main) for row in rows]
    ranks = ["-"] * len(rows)
    fair = [index for index, row in enumerate(rows) if row.is_fair]
    groups: list[list[int]] = []
    spread = run_spread(rows, main)
    for index in fair:
        if groups and differ(rows[groups[-1][0]], rows[index], main, spread) is False:
            groups[-1].append(index)
        else:
            groups.append([index])
    position = 1
    for group in groups:
        for index in group:
            tested = testable[index] or len(fair) == 1
            ranks[index] = f"{position}{'=' if len(group) > 1 else ''}{'' if tested else _UNTESTED}"
        position += len(group)
    if not any(testable[index] for index in fair):
        return [rank.rstrip(_UNTESTED) for rank in ranks], [UNTESTED.format(main=f"`{main}`"), *_distrusted(rows)]
    notes = [RULE.format(main=f"`{main}`", scenes=rows[0].result.num_scenes), *_about_runs(rows, main, spread)]
    if any(rank.endswith(_UNTESTED) for rank in ranks):
        notes.append(f"{_UNTESTED}: no scores per image beside the record, so the difference was not tested.")
    return ranks, [*notes, *_distrusted(rows)]


def _about_runs(rows: Sequence[Row], main: str, spread: Spread | None) -> list[str]:
    """Return what is known about the spread between trainings of one recipe, if rows were trained by one."""
    if not any(row.training for row in rows):
        return []
    if spread is None:
        return [ONE_RUN]
    unit = next(row.measurements[main].unit for row in rows if main in row.measurements)
    return [RUNS.format(deviation=f"{spread.deviation:.3g} {unit}".strip(), freedom=spread.freedom)]


def _distrusted(rows: Sequence[Row]) -> list[str]:
    names = [row.name for row in rows if scores_problem(row.result)]
    return [f"{', '.join(names)}: {DISTRUSTED}"] if names else []


def front(scores: Sequence[float | None], costs: Sequence[float | None]) -> set[int]:
    """Return the indices on the front of higher ``scores`` and lower ``costs``; a row with None is never on it.

    A row is on it if no other is at least as good and at least as cheap, and better or cheaper. Of equal rows, all
    are on it or none.
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
    """Return one cell per row with the letters of the costs for which it is on the front, and the explanation.

    Values that may not be compared are ignored, such as disturbed times and those of few passes. A cost is left out if
    its images differ in size or if it is measured (not counted) and the rows come from several machines. If no cost
    remains, cells and explanation are empty.
    """
    values, sign = [row.fair_value(main.id) for row in rows], 1 if main.higher_is_better else -1
    scores = [None if value is None else sign * value for value in values]
    one_machine = len(machines_of(rows)) < 2
    fronts, names = {}, {}
    for column in columns:
        several = len(column.images) > 1 or (column.kind == "timing" and not one_machine)
        by = deciding(column.id, rows)
        costs = [row.fair_value(by) for row in rows]
        if column.id in PAIRS and not several and sum(cost is not None for cost in costs) > 1:
            fronts[column.id] = front(scores, costs)
            names[column.id] = PAIRS[column.id][1] + (
                ", relative to the calibration kernel's" if by != column.id else ""
            )
    if not fronts or not any(score is not None for score in scores):
        return (), ""
    cells = tuple("".join(PAIRS[id][0] if i in on else _NOT for id, on in fronts.items()) for i in range(len(rows)))
    named = ", ".join(f"{PAIRS[id][0]} {name}" for id, name in names.items())
    return cells, (
        f"Pareto: costs ({named}) at which the row is optimal: no other is at least as good by `{main.id}` and at least"
        " as cheap, and better in one of the two."
    )
