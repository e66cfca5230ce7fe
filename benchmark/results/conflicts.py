"""Records that cannot both be right, and those that were edited by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmark.results.records import is_ahead, newest, without_gc
from benchmark.results.store import scores_warnings
from benchmark.types import Result

# Of two runs of one key: counts are equal, scores agree as float32 on two machines does.
SCORE_TOLERANCE = 1e-4


@without_gc()
def conflicts(results: Iterable[Result]) -> dict[str, str]:
    """Return by key what differs between the newest record and an older one that measured the same thing.

    One key means one code, data, weights and conditions: counts must be equal, scores within a ten-thousandth of
    their value. Timings differ always and are no conflict.
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
    """Return a line for every record or scores edited by hand, every date in the future and conflict: what to do."""
    lines = [
        f"{record.source.file}, record {record.source.number}: {record.model} on {record.dataset} was edited by hand"
        " (its digest does not match); it is marked and not ranked. Run it again, or `zoo-bench results drop` it."
        for record in results
        if record.is_edited and record.source
    ]
    lines += [
        f"{record.source.file}, record {record.source.number}: {record.model} on {record.dataset} is dated"
        f" {record.created}, in the future; its date counts for nothing beside other files. Measure it again."
        for record in newest(results)
        if record.source and is_ahead(record)
    ]
    lines += scores_warnings(results)
    names = {record.key: f"{record.model} on {record.dataset}" for record in results}
    return lines + [
        f"{names[key]} ({key}): {text}; the newest is shown, marked and not ranked. Run it with --rerun always,"
        " drop the rest."
        for key, text in sorted(conflicts(results).items())
    ]
