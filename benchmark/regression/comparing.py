"""Two sets of records, measurement by measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmark.regression.judging import Side, Tolerances, judge, kind_of
from benchmark.regression.matching import Pair, pair_up
from benchmark.regression.outputs import fingerprint_finding, shape_findings
from benchmark.regression.sources import ResultSet
from benchmark.regression.verdicts import Comparison, Finding, finding_of
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
            findings.append(_alone(pair))
            continue
        a, b = pair.before.result, pair.after.result
        if edited := _edited(a, b):
            findings.append(edited)
            continue
        sides = (Side(a, before.scores_of(a), before.samples_of(a)), Side(b, after.scores_of(b), after.samples_of(b)))
        doubts = tuple(
            f"{when}: {doubt}" for when, row in (("before", pair.before), ("after", pair.after)) for doubt in row.doubts
        )
        status = replace(_status(a, b), warnings=doubts)
        context = (*_context(a, b), *doubts)
        findings += [
            replace(finding, context=context) if finding.changed else finding
            for finding in (status, *_of_pair(*sides, limits))
        ]
    return Comparison(before.name, after.name, findings)


def _alone(pair: Pair) -> Finding:
    if pair.before is not None:
        evidence = f"no record of it after; before: {_described(pair.before.result)}"
        return finding_of(pair.before.result, "record", "record", verdict="missing", evidence=evidence)
    assert pair.after is not None
    evidence = f"no record of it before; after: {_described(pair.after.result)}"
    return finding_of(pair.after.result, "record", "record", verdict="new", evidence=evidence)


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
    return finding_of(after, "record", "record", verdict="not comparable", evidence=evidence)


def _described(result: Result) -> str:
    return (
        f"{result.status}, {result.evidence}, {len(result.measurements)} measurements, {result.part or result.n} images"
    )


def _context(a: Result, b: Result) -> Iterator[str]:
    """Yield what differs between two runs and may be why their numbers differ."""
    if a.spec.code != b.spec.code:
        yield "other code"
    if a.spec.weights_digest != b.spec.weights_digest:
        yield f"other weights ({_weights(a)} -> {_weights(b)})"
    for what, x, y in (
        ("evidence", a.evidence, b.evidence),
        ("seed", a.spec.seed, b.spec.seed),
        ("threads", a.spec.conditions.threads, b.spec.conditions.threads),
        ("torch", a.environment.torch, b.environment.torch),
        ("machine", a.environment.machine, b.environment.machine),
    ):
        if x != y:
            yield f"{what} {x} -> {y}"


def _weights(result: Result) -> str:
    return (result.spec.weights_digest or "none")[:8]


def _of_pair(before: Side, after: Side, limits: Tolerances) -> Iterator[Finding]:
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
            only, verdict, when = (a[id], "missing", "before") if id in a else (b[id], "new", "after")
            evidence = f"only {when}"
            yield finding_of(after.result, id, kind_of(id, only), verdict=verdict, evidence=evidence, unit=only.unit)


def _is_reported(id: str, others: Any) -> bool:
    """Whether a timing is absent because its ``latency_ms`` says that nothing was measured at that size."""
    name, at, size = id.partition("@")
    latency = others.get("latency_ms" + at + size)
    return name in (_RELATIVE, *_SAME_TIME) and latency is not None and latency.value is None


def _status(a: Result, b: Result) -> Finding:
    failed = [result.status != "ok" for result in (a, b)]
    values = {"before": a.status, "after": b.status}
    if failed == [False, True]:
        return finding_of(b, "record", "record", verdict="failed now", evidence=f"{b.status}: {b.error}", **values)
    if failed == [True, False]:
        return finding_of(
            b, "record", "record", verdict="fixed now", evidence=f"before {a.status}: {a.error}", **values
        )
    text = f"{a.status} before, {b.status} after" + (f": {b.error}" if b.error else "")
    return finding_of(b, "record", "record", verdict="same", evidence=text, **values)


def _measurement(id: str, before: Side, after: Side, limits: Tolerances) -> Finding:
    a, b = before.result.measurements[id], after.result.measurements[id]
    name, at, size = id.partition("@")
    relative = _RELATIVE + at + size
    first, second = before.result.measurements.get(relative), after.result.measurements.get(relative)
    judged_by = None
    values: dict[str, Any] = {"before": a.value, "after": b.value, "unit": b.unit}
    if name in _SAME_TIME and first is not None and second is not None:
        judged_by = relative
        found = judge(relative, first, second, before, after, limits)
        evidence = f"judged by {relative}"
    else:
        found = judge(id, a, b, before, after, limits)
        evidence = found.evidence
    return finding_of(
        after.result,
        id,
        kind_of(id, a),
        verdict=found.verdict,
        evidence=evidence,
        change=found.change,
        warnings=found.warnings,
        judged_by=judged_by,
        **values,
    )
