"""The gate decides which findings break a build and which only warn."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from benchmark.regression.comparing import compare
from benchmark.regression.sources import ResultSet
from benchmark.regression.thresholds import Action, Thresholds
from benchmark.regression.verdicts import Comparison, Finding
from zoo.errors import UserError


@dataclass(frozen=True)
class Report:
    """The gate's action for every finding: ``fail``, ``warn``, or ``ignore``, which lets it pass."""

    comparison: Comparison
    decisions: list[tuple[Finding, Action]]

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
    names = [_name(finding) for finding in comparison.findings]
    for pattern in thresholds.ignore:
        if not any(fnmatchcase(name, pattern) for name in names):
            example = names[0] if names else "unet/macs"
            raise UserError(f"ignore: '{pattern}' matches no MODEL/MEASUREMENT; expected one such as '{example}'.")
    return Report(comparison, [(finding, _decide(finding, thresholds)) for finding in comparison.findings])


def _name(finding: Finding) -> str:
    return f"{finding.model}/{finding.measurement}"


def _decide(finding: Finding, thresholds: Thresholds) -> Action:
    kind, verdict = finding.kind, finding.verdict
    ignored = any(fnmatchcase(_name(finding), pattern) for pattern in thresholds.ignore)
    if ignored or finding.judged_by or verdict in ("same", "new", "fixed now"):
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
