"""The gate: which findings break a build, which only warn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmark.regression.comparing import compare
from benchmark.regression.sources import ResultSet
from benchmark.regression.thresholds import Action, Thresholds
from benchmark.regression.verdicts import Comparison, Finding
from zoo.errors import UserError


@dataclass(frozen=True)
class Decision:
    """What the gate makes of a finding: ``fail``, ``warn``, or ``ignore``, which lets it pass."""

    finding: Finding
    action: Action


@dataclass(frozen=True)
class Report:
    """What the gate decided about every measurement."""

    comparison: Comparison
    decisions: list[Decision]

    @property
    def failures(self) -> list[Finding]:
        """Return what breaks the build."""
        return [decision.finding for decision in self.decisions if decision.action == "fail"]

    @property
    def warnings(self) -> list[Finding]:
        """Return what is worth a look."""
        return [decision.finding for decision in self.decisions if decision.action == "warn"]

    @property
    def passes(self) -> bool:
        """Whether nothing breaks."""
        return not self.failures


def check(baseline: ResultSet, results: ResultSet, thresholds: Thresholds | None = None) -> Report:
    """Compare results with a baseline and decide on every measurement.

    Raises UserError for an ``ignore`` pattern that fits nothing: it guards against a typing error, not against a
    regression.
    """
    thresholds = thresholds or Thresholds()
    comparison = compare(baseline, results, thresholds.tolerances())
    names = [_name(finding) for finding in comparison.findings]
    for pattern in thresholds.ignore:
        if not any(fnmatchcase(name, pattern) for name in names):
            example = names[0] if names else "unet/macs"
            raise UserError(f"ignore: '{pattern}' matches no MODEL/MEASUREMENT; expected one such as '{example}'.")
    return Report(comparison, [Decision(finding, _decide(finding, thresholds)) for finding in comparison.findings])


def _name(finding: Finding) -> str:
    return f"{finding.model}/{finding.measurement}"


def _decide(finding: Finding, thresholds: Thresholds) -> Action:
    ignored = any(fnmatchcase(_name(finding), pattern) for pattern in thresholds.ignore)
    if ignored or finding.judged_by or finding.verdict in ("same", "new", "fixed now"):
        return "ignore"
    return _RULES[finding.kind](finding, thresholds)


def _record(finding: Finding, thresholds: Thresholds) -> Action:
    return thresholds.records.missing if finding.verdict == "missing" else "fail"


def _count(finding: Finding, thresholds: Thresholds) -> Action:
    return _hard(finding, thresholds.counts.action, thresholds.counts.breaks_on, thresholds)


def _score(finding: Finding, thresholds: Thresholds) -> Action:
    return _hard(finding, thresholds.scores.action, thresholds.scores.breaks_on, thresholds)


def _hard(finding: Finding, action: Action, breaks_on: str, thresholds: Thresholds) -> Action:
    if finding.verdict == "not comparable":
        return _mildest(action, thresholds.not_comparable)
    if finding.verdict == "better" and breaks_on == "worse":
        return "ignore"
    return action


def _timing(finding: Finding, thresholds: Thresholds) -> Action:
    return _soft(finding, thresholds.timings.action)


def _memory(finding: Finding, thresholds: Thresholds) -> Action:
    return _soft(finding, thresholds.memory.action)


def _soft(finding: Finding, action: Action) -> Action:
    """Decide on what depends on the machine: another one, or a better value, is no fault."""
    if finding.verdict in ("not comparable", "better"):
        return "ignore"
    # What was not measured this time, or was disturbed, proves nothing.
    return _mildest(action, "warn") if finding.verdict == "missing" or finding.warnings else action


def _mildest(*actions: Action) -> Action:
    return next(action for action in _BY_MILDNESS if action in actions)


_BY_MILDNESS: tuple[Action, ...] = ("ignore", "warn", "fail")
_RULES: dict[str, Callable[[Finding, Thresholds], Action]] = {
    "record": _record,
    "count": _count,
    "shape": lambda finding, thresholds: thresholds.shapes.action,
    "fingerprint": lambda finding, thresholds: thresholds.fingerprints.action,
    "score": _score,
    "timing": _timing,
    "memory": _memory,
}
