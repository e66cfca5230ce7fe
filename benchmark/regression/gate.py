"""The gate decides which findings break a build and which only warn."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from benchmark.regression.comparing import compare
from benchmark.regression.sources import ResultSet
from benchmark.regression.thresholds import Action, Thresholds
from benchmark.regression.verdicts import Comparison, Finding
from zoo.errors import UserError, nearest, shortened


@dataclass(frozen=True)
class Report:
    """The gate's action for every finding: ``fail``, ``warn``, or ``ignore``, which lets it pass."""

    comparison: Comparison
    decisions: list[tuple[Finding, Action]]
    # How many changes pass because a pattern says so.
    num_ignored: int = 0

    @property
    def failures(self) -> list[Finding]:
        """Return the findings that break the build."""
        return [finding for finding, action in self.decisions if action == "fail"]

    @property
    def warnings(self) -> list[Finding]:
        """Return the findings that people should look at."""
        return [finding for finding, action in self.decisions if action == "warn"]

    @property
    def passes(self) -> bool:
        """Whether no finding breaks the build."""
        return not self.failures


def check(baseline: ResultSet, results: ResultSet, thresholds: Thresholds | None = None) -> Report:
    """Compare results with a baseline and decide on every measurement.

    Raises UserError for an ``ignore`` pattern that matches nothing, because it probably has a typing error.
    """
    thresholds = thresholds or Thresholds()
    comparison = compare(baseline, results, thresholds)
    for pattern in thresholds.ignore:
        _refuse_idle(pattern, comparison.findings)
    decisions = [(finding, _decide(finding, thresholds)) for finding in comparison.findings]
    ignored = [one for one in comparison.findings if one.changed and not one.judged_by and _is_ignored(one, thresholds)]
    return Report(comparison, decisions, len(ignored))


def _refuse_idle(pattern: str, findings: list[Finding]) -> None:
    """Raise UserError for an ``ignore`` pattern that matches nothing, or only what another measurement decides."""
    matched = [finding for finding in findings if _matches(finding, pattern)]
    if any(not finding.judged_by for finding in matched):
        return
    if matched:
        raise UserError(f"ignore: '{shortened(pattern)}' decides nothing; name {matched[0].judged_by}, which does.")
    known = {name for finding in findings for name in _names(finding)}
    raise UserError(
        f"ignore: '{shortened(pattern)}' matches no MODEL/MEASUREMENT, measurement or model{nearest(pattern, known)}"
    )


def _names(finding: Finding) -> tuple[str, ...]:
    return (f"{finding.model}/{finding.measurement}", finding.measurement, finding.model)


def _matches(finding: Finding, pattern: str) -> bool:
    # Ids hold brackets, which are a set of characters in a pattern.
    patterns = (pattern, pattern.replace("[", "[[]"))
    return any(fnmatchcase(name, one) for name in _names(finding) for one in patterns)


def _is_ignored(finding: Finding, thresholds: Thresholds) -> bool:
    return any(_matches(finding, pattern) for pattern in thresholds.ignore)


def _decide(finding: Finding, thresholds: Thresholds) -> Action:
    kind, verdict = finding.kind, finding.verdict
    if _is_ignored(finding, thresholds) or finding.judged_by or verdict in ("same", "new", "fixed now"):
        return "ignore"
    if kind == "record":
        return thresholds.records.missing if verdict == "missing" else "fail"
    if kind in ("count", "score"):
        rule = thresholds.counts if kind == "count" else thresholds.scores
        if verdict == "not comparable":
            return _mildest(rule.action, thresholds.not_comparable)
        return "ignore" if verdict == "better" and rule.breaks_on == "worse" else rule.action
    if kind in ("timing", "memory"):
        # The value depends on the machine: another machine or a better value is not a fault, and a value that was not
        # measured this time, or was disturbed, proves nothing.
        action = (thresholds.timings if kind == "timing" else thresholds.memory).action
        if verdict in ("not comparable", "better"):
            return "ignore"
        return _mildest(action, "warn") if verdict == "missing" or finding.warnings else action
    action = (thresholds.shapes if kind == "shape" else thresholds.fingerprints).action
    # The output of other weights proves nothing: the warning of a fingerprint says that these were trained anew.
    return _mildest(action, "warn") if finding.warnings else action


def _mildest(first: Action, second: Action) -> Action:
    by_mildness: tuple[Action, ...] = get_args(Action)[::-1]
    return min(first, second, key=by_mildness.index)
