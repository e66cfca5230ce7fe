"""What networks take and return: shapes and fingerprints of two records."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmark.regression.verdicts import Change, Finding, Judgement, finding_of
from benchmark.types import Fingerprint, Result
from benchmark.units import shape_text


def shape_findings(a: Result, b: Result) -> Iterator[Finding]:
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


def fingerprint_finding(a: Result, b: Result, tolerance: float) -> Finding:
    """Compare what the networks of two records compute, of which at least one has a fingerprint."""
    judged = _judge_fingerprint(a, b, tolerance)
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
    """Return the largest difference of two fingerprints' numbers as a share of the first output's spread.

    The spread is its standard deviation and a hundredth of its root mean square: an output that is all but constant
    has float32's rounding for a pattern. Infinite where one output is all zero and the other is not.
    """
    largest = max(abs(b.values[name] - value) for name, value in a.values.items())
    if largest == 0:
        return 0.0
    spread = a.values["std"] + 0.01 * a.values["rms"]
    return largest / spread if spread else math.inf
