"""The possible verdicts on one measurement in two sets of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from benchmark.cleaning import one_line
from benchmark.leaderboard.rows import row_name
from benchmark.types import Result

Verdict = Literal["better", "worse", "same", "missing", "new", "failed now", "fixed now", "not comparable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# "shape": shapes of the network's input and output; "fingerprint": its output; "memory": measured, not predicted.
FindingKind = Literal["record", "count", "shape", "fingerprint", "score", "timing", "memory"]


@dataclass(frozen=True)
class Change:
    """How much a number changed: a ratio after / before or a difference after - before, with its 95 % interval."""

    value: float
    of: Literal["ratio", "difference"]
    low: float | None = None
    high: float | None = None
    # Number of images or pairs of samples used for the interval, and of the scenes of these images.
    n: int | None = None
    num_scenes: int | None = None
    # Numbers of trainings before and after if one of them is above 1, and the standard deviation between them.
    runs: tuple[int, int] | None = None
    run_std: float | None = None


@dataclass(frozen=True)
class Judgement:
    """A verdict and the reason for it; ``warnings`` say for example that a timing was disturbed."""

    verdict: Verdict
    evidence: str
    change: Change | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One measurement of one model in two sets. Shapes and fingerprints cannot become better or worse:
    they are the same or not comparable.
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
    # The measurement whose verdict this one shares, so that one fact is not counted twice.
    judged_by: str | None = None
    # Possible reasons why the two are not the same: other weights, another torch version.
    context: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is something to report; a disturbed timing that did not change is not reported."""
        return self.verdict != "same"

    @property
    def where(self) -> str:
        """Return model, dataset and split, in one line."""
        return one_line(f"{self.model} on {self.dataset} {self.split}")

    @property
    def reported(self) -> str:
        """Return the evidence and the warnings in one line; they may contain texts from records."""
        return one_line("; ".join([self.evidence, *self.warnings]))


def finding_of(result: Result, measurement: str, kind: FindingKind, judged: Judgement, **beside: Any) -> Finding:
    """Return a finding about a measurement of the model in ``result``, named with its unusual conditions."""
    return Finding(row_name(result), result.dataset, result.split, measurement, kind, **vars(judged), **beside)


@dataclass(frozen=True)
class Comparison:
    """All findings about two sets, by model; ``before`` and ``after`` are the names of the sets."""

    before: str
    after: str
    findings: list[Finding]

    def count(self, verdict: Verdict) -> int:
        """Return the number of measurements with a verdict; those that share another's verdict are not counted."""
        return sum(finding.verdict == verdict and not finding.judged_by for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of measurements by verdict; verdicts with zero are left out."""
        counted = {verdict: self.count(verdict) for verdict in VERDICTS}
        return {verdict: number for verdict, number in counted.items() if number}
