"""What can be said about one measurement in two sets of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from benchmark.cleaning import one_line
from benchmark.leaderboard.rows import row_name
from benchmark.types import Result

Verdict = Literal["better", "worse", "same", "missing", "new", "failed now", "fixed now", "not comparable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# "shape": of a network's input and output; "fingerprint": what it computes; "memory": measured, not predicted.
FindingKind = Literal["record", "count", "shape", "fingerprint", "score", "timing", "memory"]


@dataclass(frozen=True)
class Change:
    """How much a number changed: a ratio after / before or a difference after - before, with its 95 % interval."""

    value: float
    of: Literal["ratio", "difference"]
    low: float | None = None
    high: float | None = None
    # Images or pairs of samples behind the interval.
    n: int | None = None


@dataclass(frozen=True)
class Judgement:
    """A verdict and the reason for it; ``warnings``: what to keep in mind, e.g. that a timing was disturbed."""

    verdict: Verdict
    evidence: str
    change: Change | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One measurement of one model in two sets. For shapes and fingerprints there is no better or worse:
    what is not the same is not comparable.
    """

    model: str
    dataset: str
    split: str
    measurement: str
    kind: FindingKind
    verdict: Verdict
    evidence: str
    before: Any = None
    after: Any = None
    unit: str = ""
    change: Change | None = None
    warnings: tuple[str, ...] = ()
    # The measurement whose verdict this one shares: one fact is not counted twice.
    judged_by: str | None = None
    # Why a pair that is not the same may have become so: other weights, another torch.
    context: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is something to report; a disturbed timing that did not change is nothing."""
        return self.verdict != "same"

    @property
    def where(self) -> str:
        """Return model, dataset and split, in one line."""
        return one_line(f"{self.model} on {self.dataset} {self.split}")

    @property
    def reported(self) -> str:
        """Return the evidence and the warnings, in one line: texts of records are among them."""
        return one_line("; ".join([self.evidence, *self.warnings]))


def finding_of(result: Result, measurement: str, kind: FindingKind, judged: Judgement, **beside: Any) -> Finding:
    """Return a finding about a measurement of the model, with its unusual conditions, that ``result`` is about."""
    return Finding(row_name(result), result.dataset, result.split, measurement, kind, **vars(judged), **beside)


@dataclass(frozen=True)
class Comparison:
    """All findings about two sets, by model; ``before`` and ``after`` are what they were called."""

    before: str
    after: str
    findings: list[Finding]

    def count(self, verdict: Verdict) -> int:
        """Return how many measurements have a verdict; those that share another's are not counted."""
        return sum(finding.verdict == verdict and not finding.judged_by for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of measurements by verdict, without zeros."""
        counted = {verdict: self.count(verdict) for verdict in VERDICTS}
        return {verdict: number for verdict, number in counted.items() if number}
