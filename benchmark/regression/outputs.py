"""What networks take and return: shapes and fingerprints of two records."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmark.regression.verdicts import Change, Finding, Verdict, finding_of
from benchmark.types import Fingerprint, Result


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
    texts = ["x".join(map(str, shape)) for shape in (before, after)]
    same = before == after
    evidence = texts[0] if same else f"{texts[0]} -> {texts[1]}"
    verdict: Verdict = "same" if same else "not comparable"
    return finding_of(result, name, "shape", verdict=verdict, evidence=evidence, before=before, after=after)


def fingerprint_finding(a: Result, b: Result, tolerance: float) -> Finding:
    first, second = a.fingerprint, b.fingerprint
    if first is None or second is None:
        verdict: Verdict = "new" if first is None else "missing"
        text = "none before" if first is None else "none after"
        if a.status != b.status:
            verdict, text = "not comparable", f"{text}, one of the two runs failed"
        return finding_of(b, "output_fingerprint", "fingerprint", verdict=verdict, evidence=text)
    decided, evidence, change = _judge_fingerprint(a, b, first, second, tolerance)
    hashes = {"before": first.sha256[:16], "after": second.sha256[:16]}
    return finding_of(
        b, "output_fingerprint", "fingerprint", verdict=decided, evidence=evidence, change=change, **hashes
    )


def _judge_fingerprint(
    a: Result, b: Result, first: Fingerprint, second: Fingerprint, tolerance: float
) -> tuple[Verdict, str, Change | None]:
    if first.version != second.version:
        return "not comparable", f"fingerprint of version {first.version} before, {second.version} after", None
    if first.sha256 == second.sha256:
        return "same", "the output for the fixed input is the same to the last bit", None
    if (first.input_shape, first.output_shape) != (second.input_shape, second.output_shape):
        shapes = ("x".join(map(str, shape)) for shape in (first.output_shape, second.output_shape))
        return "not comparable", f"output for the fixed input: {' -> '.join(shapes)}", None
    share = deviation(first, second)
    change = Change(share, "difference")
    if share <= tolerance:
        return "same", f"the output for the fixed input differs by {share:.1e} of its spread: rounding", change
    text = f"the output for the fixed input differs by {share:.1e} of its spread (limit {tolerance:.0e})"
    if b.evidence == "untrained" and a.environment.torch != b.environment.torch:
        text += "; initial weights may differ between versions of torch"
    return "not comparable", f"{text}: the network computes something else", change


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
