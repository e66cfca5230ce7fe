"""Comparisons and gate reports for people and for programs: text, Markdown, JSON, and what CI systems read."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.cleaning import annotation, annotation_property, markdown, markdown_code, one_line, visible
from benchmark.leaderboard.tables import grouped
from benchmark.regression.gate import Report
from benchmark.regression.verdicts import VERDICTS, Comparison, Finding
from benchmark.replacing import replace_text

_SIGNS = {"better": "▲ better", "worse": "▼ worse", "failed now": "✗ failed now", "fixed now": "✓ fixed now"}
# In a list of changes, the worst come first.
_ORDER = ("failed now", "missing", "worse", "not comparable", "better", "fixed now", "new", "same")


def comparison_text(comparison: Comparison, *, changes_only: bool) -> str:
    """Return a table per model, and the number of findings by verdict."""
    parts = [f"before  {visible(comparison.before)}\nafter   {visible(comparison.after)}"]
    for where, findings in _by_model(_shown(comparison.findings, changes_only)):
        rows = [[one_line(finding.measurement), finding.verdict, finding.reported] for finding in findings]
        parts.append(f"{where}{_context(findings)}\n{tabulate(rows, tablefmt='plain', disable_numparse=True)}")
    return "\n\n".join([*parts, _summary(comparison)])


def comparison_markdown(comparison: Comparison, *, changes_only: bool) -> str:
    """Return Markdown for a comment on a pull request: the changes are shown, the rest is folded."""
    changed = _sorted(_shown(comparison.findings, True))
    same = [finding for finding in comparison.findings if not finding.changed and not finding.judged_by]
    parts = [
        "### zoo-bench compare",
        f"{markdown_code(comparison.before)} → {markdown_code(comparison.after)}: {_summary(comparison)}",
    ]
    incomparable = [finding for finding in changed if finding.verdict == "not comparable"]
    comparable = [finding for finding in changed if finding.verdict != "not comparable"]
    if comparable:
        parts.append(_markdown_table(comparable))
    if incomparable:
        parts.append(_folded(f"{len(incomparable)} not comparable", _markdown_table(incomparable)))
    if same and not changes_only:
        parts.append(_folded(f"{len(same)} the same", _markdown_table(same)))
    return "\n\n".join(parts) + "\n"


def report_markdown(report: Report, command: str) -> str:
    """Return a gate's report as Markdown for a comment on a pull request."""
    comparison, failures, warnings = report.comparison, report.failures, report.warnings
    head = "passes ✓" if report.passes else f"fails: {_number(len(failures), 'measurement')} broke"
    parts = [f"### zoo-bench check {head}", f"compared with {markdown_code(comparison.before)}: {_summary(comparison)}"]
    if failures:
        parts += [_markdown_table(_sorted(failures)), f"If this is meant, accept it: {markdown_code(command)}"]
    if warnings:
        parts.append(_folded(f"{_number(len(warnings), 'warning')}", _markdown_table(_sorted(warnings))))
    if reasons := _incomparable(comparison):
        parts.append(markdown(reasons))
    return "\n\n".join(parts) + "\n"


def report_text(report: Report, command: str) -> str:
    """Return a gate's report as lines: what broke, by how much, and how to accept it."""
    comparison, failures, warnings = report.comparison, report.failures, report.warnings
    lines = []
    for name, findings in (("FAILED", failures), ("warning", warnings)):
        for where, some in _by_model(_sorted(findings)):
            lines.append(f"{name}  {where}{_context(some)}")
            rows = [["  ", one_line(finding.measurement), finding.verdict, finding.reported] for finding in some]
            lines.append(tabulate(rows, tablefmt="plain", disable_numparse=True))
    lines += [reasons] if (reasons := _incomparable(comparison)) else []
    verdict = "ok" if report.passes else "broken"
    lines.append(f"{verdict}: {_summary(comparison)}, compared with {visible(comparison.before)}")
    if any(finding.verdict == "better" for finding in failures):
        lines.append("a better value fails too where values must not change: a network that lost a layer is cheaper")
    if failures:
        lines += ["", "If this is meant, accept the results as the new baseline:", f"  {visible(command)}"]
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON-ready values."""
    return {
        "before": comparison.before,
        "after": comparison.after,
        "verdicts": {verdict: comparison.count(verdict) for verdict in VERDICTS},
        "findings": [dataclasses.asdict(finding) for finding in comparison.findings],
    }


def report_json(report: Report) -> dict[str, Any]:
    """Return a gate's report as JSON-ready values: the comparison, with an ``action`` for each finding."""
    document = comparison_json(report.comparison)
    for finding, (_, action) in zip(document["findings"], report.decisions):
        finding["action"] = action
    return {"ok": report.passes, "failures": len(report.failures), "warnings": len(report.warnings)} | document


def write_junit(report: Report, path: Path) -> None:
    """Write JUnit XML: a test suite per model, a test case per measurement; incomparable ones are skipped tests."""
    root = ET.Element("testsuites", name="zoo-bench check")
    own = [decision for decision in report.decisions if not decision[0].judged_by]
    for where, decisions in grouped(own, lambda decision: visible(decision[0].where)).items():
        suite = ET.SubElement(root, "testsuite", name=where)
        for finding, action in decisions:
            case = ET.SubElement(suite, "testcase", classname=where, name=visible(finding.measurement))
            text = visible(f"{finding.verdict}: {finding.reported}")
            if action == "fail":
                ET.SubElement(case, "failure", message=text, type=finding.verdict)
            elif finding.verdict == "not comparable":
                ET.SubElement(case, "skipped", message=text)
            elif action == "warn":
                ET.SubElement(case, "system-out").text = f"warning, {text}"
    for element in (root, *root):
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            element.set(name, str(len(element.findall(f".//{tag}"))))
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    replace_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', "--junit")


def github_annotations(report: Report, command: str) -> list[str]:
    """Return a workflow command per failure and warning, and one that tells how to accept the results."""
    lines = [_annotation("error", finding) for finding in report.failures]
    lines += [_annotation("warning", finding) for finding in report.warnings]
    if report.failures:
        lines.append(f"::notice title=zoo-bench check::{annotation(f'If this is meant: {command}')}")
    return lines


def _shown(findings: Iterable[Finding], changes_only: bool) -> list[Finding]:
    """Return the findings to list; those that share another's verdict are listed only if everything is shown."""
    return [one for one in findings if (one.changed and not one.judged_by) or not changes_only]


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.dataset, finding.model, _ORDER.index(finding.verdict)))


def _by_model(findings: Sequence[Finding]) -> Iterable[tuple[str, list[Finding]]]:
    return grouped(findings, lambda finding: finding.where).items()


def _context(findings: Sequence[Finding]) -> str:
    context = next((finding.context for finding in findings if finding.context), ())
    return f" ({one_line(', '.join(context))})" if context else ""


def _summary(comparison: Comparison) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in comparison.counts.items()) or "nothing to compare"


def _incomparable(comparison: Comparison) -> str:
    """Say in one line why timings were not compared."""
    reasons = Counter(
        one_line(finding.evidence)
        for finding in comparison.findings
        if finding.verdict == "not comparable" and finding.kind in ("timing", "memory") and not finding.judged_by
    )
    return "; ".join(f"{_number(count, 'timing')} not compared: {reason}" for reason, count in reasons.most_common(3))


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _markdown_table(findings: Sequence[Finding]) -> str:
    rows = ["| model | measurement | verdict | evidence |", "|---|---|---|---|"]
    for one in findings:
        context = f" ({', '.join(one.context)})" if one.context else ""
        cells = (
            markdown(one.where),
            markdown_code(one.measurement),
            _SIGNS.get(one.verdict, one.verdict),
            markdown(one.reported + context),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _annotation(level: str, finding: Finding) -> str:
    title = f"{finding.model}: {finding.measurement} {finding.verdict}"
    return f"::{level} title={annotation_property(title)}::{annotation(f'{finding.where}: {finding.reported}')}"
