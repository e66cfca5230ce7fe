"""Find records that cannot both be right, and records that were edited by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmark.results.records import is_ahead, newest, without_gc
from benchmark.results.store import scores_warnings
from benchmark.types import Result

# Two runs of one key have equal counts, and scores that agree as closely as float32 results of two machines.
SCORE_TOLERANCE = 1e-4


@without_gc()
def conflicts(results: Iterable[Result]) -> dict[str, str]:
    """Return by key what differs between the newest record and an older one that measured the same thing.

    Records of one key have the same code, data, weights and conditions: their counts must be equal, and their scores
    must agree within a ten-thousandth of their value. Timings always differ, so they are never a conflict.
    """
    known, found = list(results), {}
    by_key: dict[str, list[Result]] = defaultdict(list)
    for result in known:
        by_key[result.key].append(result)
    for last in newest(known):
        others = (other for other in by_key[last.key] if other is not last and not other.is_edited)
        if texts := list(filter(None, (_difference(last, other) for other in others))):
            found[last.key] = min(texts)
    return found


def _difference(last: Result, other: Result) -> str:
    for id, mine in last.measurements.items():
        theirs = other.measurements.get(id)
        if theirs is None or mine.kind == "timing" or mine.version != theirs.version:
            continue
        if not _agree(mine.value, theirs.value, exactly=mine.kind == "count"):
            where = f" ({other.source})" if other.source else ""
            return f"{id} is {_text(mine.value)}, and {_text(theirs.value)} in an older record of the same key{where}"
    return ""


def _agree(a: float | None, b: float | None, *, exactly: bool) -> bool:
    if a is None or b is None or exactly:
        return a == b
    return math.isclose(a, b, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)


def _text(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"


@without_gc()
def warnings(results: Sequence[Result]) -> list[str]:
    """Return a line of advice for each record or scores edited by hand, each date in the future and each conflict."""
    lines = [
        f"{record.source.file}, record {record.source.number}: {record.name} on {record.dataset} was edited by hand"
        " (its digest does not match); it is marked and not ranked. Run it again, or `zoo-bench results drop` it."
        for record in results
        if record.is_edited and record.source
    ]
    lines += [
        f"{record.source.file}, record {record.source.number}: {record.name} on {record.dataset} is dated"
        f" {record.created}, in the future; its date counts for nothing beside other files. Measure it again."
        for record in newest(results)
        if record.source and is_ahead(record)
    ]
    lines += scores_warnings(results)
    names = {record.key: f"{record.name} on {record.dataset}" for record in results}
    return lines + [
        f"{names[key]} ({key}): {text}; the newest is shown, marked and not ranked. Run it with --rerun always,"
        " drop the rest."
        for key, text in sorted(conflicts(results).items())
    ]
