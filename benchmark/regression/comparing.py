"""Two sets of records, measurement by measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmark.regression.baseline import Kept
from benchmark.regression.judging import Tolerances, judge, kind_of
from benchmark.regression.matching import Pair, pair_up
from benchmark.regression.outputs import fingerprint_finding, shape_findings
from benchmark.regression.sources import ResultSet
from benchmark.regression.verdicts import Comparison, Finding, Judgement, finding_of
from benchmark.types import Result

_RELATIVE = "relative_latency"
# One measured time in other units: they share the verdict of the relative latency.
_SAME_TIME = ("latency_ms", "ms_per_mpix", "ceiling_share", "gemm_share")


def compare(before: ResultSet, after: ResultSet, limits: Tolerances | None = None) -> Comparison:
    """Return a finding for every measurement in either set, by dataset and model.

    A record that is in one set only is one finding, ``missing`` or ``new``; so is one that fails now, beside what it
    still has.
    """
    limits = limits or Tolerances()
    findings: list[Finding] = []
    for pair in pair_up(before.results, after.results):
        if pair.before is None or pair.after is None:
            findings.append(_unpaired(pair))
            continue
        a, b = pair.before.result, pair.after.result
        if edited := _edited(a, b):
            findings.append(edited)
            continue
        rows = (("before", pair.before), ("after", pair.after))
        doubts = tuple(f"{when}: {doubt}" for when, row in rows for doubt in row.doubts)
        context = (*_context(a, b), *doubts)
        found = (replace(_status(a, b), warnings=doubts), *_of_pair(before.kept(a), after.kept(b), limits))
        findings += [replace(finding, context=context) if finding.changed else finding for finding in found]
    return Comparison(before.name, after.name, findings)


def _unpaired(pair: Pair) -> Finding:
    row = pair.before or pair.after
    assert row is not None
    result, images = row.result, row.result.part or row.result.n
    has = f"{result.status}, {result.evidence}, {len(result.measurements)} measurements, {images} images"
    judged = Judgement("missing", f"no record of it after; before: {has}")
    if pair.before is None:
        judged = Judgement("new", f"no record of it before; after: {has}")
    return finding_of(result, "record", "record", judged)


def _edited(before: Result, after: Result) -> Finding | None:
    """Return the only finding about two records if one was edited by hand: its numbers were not measured."""
    where = [
        f"{result.source.file}, record {result.source.number} ({when})"
        for result, when in ((before, "before"), (after, "after"))
        if result.is_edited and result.source
    ]
    if not where:
        return None
    evidence = f"edited by hand: {' and '.join(where)}; measure again or restore it"
    return finding_of(after, "record", "record", Judgement("not comparable", evidence))


def _context(a: Result, b: Result) -> Iterator[str]:
    """Yield what differs between two runs and may be why their numbers differ."""
    if a.spec.code != b.spec.code:
        yield "other code"
    if a.spec.weights_digest != b.spec.weights_digest:
        digests = [(one.spec.weights_digest or "none")[:8] for one in (a, b)]
        yield f"other weights ({' -> '.join(digests)})"
    for what, x, y in (
        ("evidence", a.evidence, b.evidence),
        ("seed", a.spec.seed, b.spec.seed),
        ("threads", a.spec.conditions.threads, b.spec.conditions.threads),
        ("torch", a.environment.torch, b.environment.torch),
        ("machine", a.environment.machine, b.environment.machine),
    ):
        if x != y:
            yield f"{what} {x} -> {y}"


def _of_pair(before: Kept, after: Kept, limits: Tolerances) -> Iterator[Finding]:
    yield from shape_findings(before.result, after.result)
    if before.result.fingerprint or after.result.fingerprint:
        yield fingerprint_finding(before.result, after.result, limits.fingerprints)
    a, b = before.result.measurements, after.result.measurements
    failed = before.result.status != after.result.status
    for id in dict.fromkeys([*a, *b]):
        if id in a and id in b:
            yield _measurement(id, before, after, limits)
        # What is missing because a run failed is reported once, by the status of the record.
        elif not failed and not _is_reported(id, b if id in a else a):
            judged = Judgement("missing", "only before") if id in a else Judgement("new", "only after")
            only = a[id] if id in a else b[id]
            yield finding_of(after.result, id, kind_of(only), judged, unit=only.unit)


def _is_reported(id: str, others: Any) -> bool:
    """Whether a timing is absent because its ``latency_ms`` says that nothing was measured at that size."""
    name, at, size = id.partition("@")
    latency = others.get("latency_ms" + at + size)
    return name in (_RELATIVE, *_SAME_TIME) and latency is not None and latency.value is None


def _status(a: Result, b: Result) -> Finding:
    if (a.status == "ok") == (b.status == "ok"):
        judged = Judgement("same", f"{a.status} before, {b.status} after" + (f": {b.error}" if b.error else ""))
    elif b.status == "ok":
        judged = Judgement("fixed now", f"before {a.status}: {a.error}")
    else:
        judged = Judgement("failed now", f"{b.status}: {b.error}")
    return finding_of(b, "record", "record", judged, before=a.status, after=b.status)


def _measurement(id: str, before: Kept, after: Kept, limits: Tolerances) -> Finding:
    a, b = before.result.measurements, after.result.measurements
    name, at, size = id.partition("@")
    relative, judged_by = _RELATIVE + at + size, None
    if name in _SAME_TIME and relative in a and relative in b:
        judged_by = relative
        judged = replace(judge(relative, before, after, limits), evidence=f"judged by {relative}")
    else:
        judged = judge(id, before, after, limits)
    beside = {"before": a[id].value, "after": b[id].value, "unit": b[id].unit, "judged_by": judged_by}
    return finding_of(after.result, id, kind_of(a[id]), judged, **beside)
