"""Compare two sets of records, measurement by measurement, and the inputs and outputs of their networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmark.regression.baseline import Kept
from benchmark.regression.judging import judge, kind_of
from benchmark.regression.matching import Pair, pair_up
from benchmark.regression.sources import ResultSet
from benchmark.regression.thresholds import Thresholds, Timings
from benchmark.regression.trainings import ONE_EACH, are_several, is_one_each, kept_of, seedless
from benchmark.regression.verdicts import Change, Comparison, Finding, Judgement, finding_of
from benchmark.types import Fingerprint, Result
from benchmark.units import shape_text

_RELATIVE = "relative_latency"
# The same measured time in other units: these share the verdict of the relative latency.
_SAME_TIME = ("latency_ms", "ms_per_mpix", "ceiling_share", "gemm_share")
# What decides trained weights besides the recipe.
_TRAINED = (("learning rate", "lr"), ("steps", "step"), ("training data", "data_digest"))
_USUAL = Thresholds(timings=Timings(tolerance=0.05))


def compare(before: ResultSet, after: ResultSet, limits: Thresholds = _USUAL) -> Comparison:
    """Return a finding for every measurement in either set, by dataset and model.

    A record that is in only one set gives one finding, ``missing`` or ``new``. A record that fails now also gives one,
    beside those of the measurements it still has. Several trainings of a network by one recipe are judged once. Only
    the tolerances in ``limits`` are used here.
    """
    findings: list[Finding] = []
    for pair in pair_up(before.results, after.results):
        if pair.before is None or pair.after is None:
            findings.append(_unpaired(pair))
            continue
        if edited := _edited(pair.before.result, pair.after.result):
            findings.append(edited)
            continue
        a, b = kept_of(pair, before, after)
        rows = (("before", pair.before), ("after", pair.after))
        doubts = tuple(f"{when}: {doubt}" for when, row in rows for doubt in row.doubts)
        context = (*_context(a, b), *doubts)
        status = _lost(pair, b.result) if pair.lost else _status(a.result, b.result)
        found = (replace(status, warnings=doubts), *_of_pair(a, b, limits))
        findings += [replace(finding, context=context) if finding.changed else finding for finding in found]
    return Comparison(before.name, after.name, findings)


def _unpaired(pair: Pair) -> Finding:
    row = pair.before or pair.after
    assert row is not None
    result, images = row.result, row.result.part or row.result.n
    has = f"{result.status}, {result.evidence}, {len(result.measurements)} measurements, {images} images"
    if len(row.runs) > 1:
        result, has = seedless(result), f"{has}, {row.runs_text}"
    judged = Judgement("missing", f"no record of it after; before: {has}")
    if pair.before is None:
        judged = Judgement("new", f"no record of it before; after: {has}")
    return finding_of(result, "record", "record", judged)


def _edited(before: Result, after: Result) -> Finding | None:
    """Return the only finding about two records if one was edited by hand, because its numbers were not measured."""
    where = [
        f"{result.source.file}, record {result.source.number} ({when})"
        for result, when in ((before, "before"), (after, "after"))
        if result.is_edited and result.source
    ]
    if not where:
        return None
    evidence = f"edited by hand: {' and '.join(where)}; measure again or restore it"
    return finding_of(after, "record", "record", Judgement("not comparable", evidence))


def _lost(pair: Pair, after: Result) -> Finding:
    assert pair.before is not None
    assert pair.after is not None
    return finding_of(
        after, "record", "record", Judgement("missing", f"{pair.before.runs_text} before, {len(pair.after.runs)} after")
    )


def _context(before: Kept, after: Kept) -> Iterator[str]:
    """Yield the differences between two runs that may explain why their numbers differ."""
    a, b, several = before.result, after.result, are_several(before, after)
    if is_one_each(before, after):
        yield ONE_EACH
    if a.spec.code != b.spec.code:
        yield "other code"
    if a.spec.weights_digest != b.spec.weights_digest and not several:
        digests = [(one.spec.weights_digest or "none")[:8] for one in (a, b)]
        yield f"other weights ({' -> '.join(digests)})"
    trained = [one.weights or {} for one in (a, b)]
    recipes = [f"{one.get('recipe')} ({one['recipe_digest'][:8]})" for one in trained if "recipe_digest" in one]
    for what, x, y in (
        ("evidence", a.evidence, b.evidence),
        # What else is known of trainings, if both are by a known recipe.
        *([("recipe", *recipes)] if len(recipes) == 2 else []),
        *((what, *(one.get(key, "?") for one in trained)) for what, key in _TRAINED if len(recipes) == 2),
        ("seed", *(("", "") if several else (a.spec.seed, b.spec.seed))),
        ("threads", a.spec.conditions.threads, b.spec.conditions.threads),
        ("torch", a.environment.torch, b.environment.torch),
        ("machine", a.environment.machine, b.environment.machine),
    ):
        if x != y:
            yield f"{what} {x} -> {y}"


def _of_pair(before: Kept, after: Kept, limits: Thresholds) -> Iterator[Finding]:
    yield from _shapes(before.result, after.result)
    if before.result.fingerprint or after.result.fingerprint:
        yield _fingerprint(before, after, limits.fingerprints.tolerance)
    a, b = before.result.measurements, after.result.measurements
    failed = before.result.status != after.result.status
    for id in dict.fromkeys([*a, *b]):
        if id in a and id in b:
            yield _measurement(id, before, after, limits)
        # Measurements that are missing because a run failed are reported once, by the status of the record.
        elif not failed and not _is_reported(id, b if id in a else a):
            yield _one_sided(id, before.result, after.result)


def _one_sided(id: str, before: Result, after: Result) -> Finding:
    """Return the finding about a measurement of one record alone; a size that the other never timed is no loss."""
    a, b = before.measurements, after.measurements
    own, others, when = (a, b, "after") if id in a else (b, a, "before")
    judged, judged_by = Judgement("missing", "only before") if id in a else Judgement("new", "only after"), None
    name, at, size = id.partition("@")
    if own[id].kind == "timing" and not any(
        m.kind == "timing" and i.partition("@")[2] == size for i, m in others.items()
    ):
        judged = Judgement("not comparable", f"never timed at {size or 'the size of the dataset'} {when}")
        judged_by = _RELATIVE + at + size if name in _SAME_TIME and _RELATIVE + at + size in own else None
    return finding_of(after, id, kind_of(own[id]), judged, unit=own[id].unit, judged_by=judged_by)


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


def _measurement(id: str, before: Kept, after: Kept, limits: Thresholds) -> Finding:
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


def _shapes(a: Result, b: Result) -> Iterator[Finding]:
    """Compare the shapes of input and output at each size that both records have."""
    for suffix in a.output_shapes:
        if suffix in b.output_shapes:
            yield _shape(b, "output_shape" + suffix, a.output_shapes[suffix], b.output_shapes[suffix])
    for suffix in ("", *(f"@{id.partition('@')[2]}" for id in a.measurements if id.startswith("macs@"))):
        inputs = [result.measurements.get("macs" + suffix) for result in (a, b)]
        shapes = [one.input_shape for one in inputs if one is not None]
        if len(shapes) == 2 and shapes[0] and shapes[1]:
            yield _shape(b, "input_shape" + suffix, shapes[0], shapes[1])


def _shape(result: Result, name: str, before: list[int], after: list[int]) -> Finding:
    judged = Judgement("same", shape_text(before))
    if before != after:
        judged = Judgement("not comparable", f"{shape_text(before)} -> {shape_text(after)}")
    return finding_of(result, name, "shape", judged, before=before, after=after)


def _fingerprint(before: Kept, after: Kept, tolerance: float) -> Finding:
    """Compare what the networks of two records compute; at least one record has a fingerprint."""
    a, b = before.result, after.result
    judged = _judge_fingerprint(a, b, tolerance)
    if judged.change and are_several(before, after) and a.spec.weights_digest != b.spec.weights_digest:
        judged = replace(judged, warnings=("trained anew, which alone changes the output",))
    hashes = {}
    if a.fingerprint and b.fingerprint:
        hashes = {"before": a.fingerprint.sha256[:16], "after": b.fingerprint.sha256[:16]}
    return finding_of(b, "output_fingerprint", "fingerprint", judged, **hashes)


def _judge_fingerprint(a: Result, b: Result, tolerance: float) -> Judgement:
    first, second = a.fingerprint, b.fingerprint
    if first is None or second is None:
        text = "none before" if first is None else "none after"
        if a.status != b.status:
            return Judgement("not comparable", f"{text}, one of the two runs failed")
        return Judgement("new" if first is None else "missing", text)
    if first.version != second.version:
        return Judgement("not comparable", f"fingerprint of version {first.version} before, {second.version} after")
    if first.sha256 == second.sha256:
        return Judgement("same", "the output for the fixed input is the same to the last bit")
    if (first.input_shape, first.output_shape) != (second.input_shape, second.output_shape):
        shapes = f"{shape_text(first.output_shape)} -> {shape_text(second.output_shape)}"
        return Judgement("not comparable", f"output for the fixed input: {shapes}")
    share = deviation(first, second)
    change = Change(share, "difference")
    text = f"the output for the fixed input differs by {share:.1e} of its spread"
    if share <= tolerance:
        return Judgement("same", f"{text}: rounding", change)
    text += f" (limit {tolerance:.0e})"
    if b.evidence == "untrained" and a.environment.torch != b.environment.torch:
        text += "; initial weights may differ between versions of torch"
    return Judgement("not comparable", f"{text}: the network computes something else", change)


def deviation(a: Fingerprint, b: Fingerprint) -> float:
    """Return the largest difference between two fingerprints' numbers, as a fraction of the first output's spread.

    The spread is the standard deviation plus a hundredth of the root mean square, because the variation in an almost
    constant output is only float32 rounding. The result is infinite if one output is all zero and the other is not.
    """
    largest = max(abs(b.values[name] - value) for name, value in a.values.items())
    if largest == 0:
        return 0.0
    spread = a.values["std"] + 0.01 * a.values["rms"]
    return largest / spread if spread else math.inf
