"""Comparisons and gate reports for people and for programs: text, Markdown, JSON, and what CI systems read."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmark.cleaning import annotation, annotation_property, markdown, markdown_code, one_line, visible
from benchmark.fitting import hanging, wrapped
from benchmark.leaderboard.tables import grouped
from benchmark.regression.gate import Report
from benchmark.regression.summary import ORDER, Summary, folded, summaries, summary_lines
from benchmark.regression.trainings import ONE_EACH
from benchmark.regression.verdicts import VERDICTS, Comparison, Finding
from benchmark.replacing import replace_text
from benchmark.units import counted

_STATUS = {"fail": "FAILED", "warn": "warning", "ignore": "ok"}
_SIGNS = {"better": "▲ better", "worse": "▼ worse", "failed now": "✗ failed now", "fixed now": "✓ fixed now"}


def comparison_text(
    comparison: Comparison, *, changes_only: bool = False, summary_only: bool = False, room: int | None = None
) -> str:
    """Return a table per model, a line per model and the number of findings by verdict, in lines that fit ``room``."""
    parts = [f"before  {visible(comparison.before)}\nafter   {visible(comparison.after)}"]
    if not summary_only:
        parts += _details(_shown(comparison.findings, changes_only), room)
    found = _summaries(comparison)
    lines = summary_lines(found, [_SIGNS.get(one.verdict, one.verdict) for one in found], room)
    if reasons := _incomparable(comparison):
        lines += wrapped(reasons, room, "  ")
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else []), _summary(comparison)])


def _details(findings: Sequence[Finding], room: int | None, prefix: str = "") -> list[str]:
    """Return a table of measurement, verdict and evidence for each model."""
    parts = []
    for where, some in _by_model(findings):
        first = max(len(one_line(finding.measurement)) for finding in some)
        second = max(len(finding.verdict) for finding in some)
        lines = hanging(prefix, f"{where}{_context(some)}", room, least=16)
        for finding in some:
            head = f"{one_line(finding.measurement):{first}}  {finding.verdict:{second}}  "
            lines += hanging(f"{prefix and '  '}{head}", finding.reported, room)
        parts.append("\n".join(lines))
    return parts


def comparison_markdown(comparison: Comparison, *, changes_only: bool, summary_only: bool = False) -> str:
    """Return Markdown for a comment on a pull request: the changes are shown, the rest is folded."""
    changed = _sorted(_shown(comparison.findings, True))
    same = [finding for finding in comparison.findings if not finding.changed and not finding.judged_by]
    parts = [
        "### zoo-bench compare",
        f"{markdown_code(comparison.before)} → {markdown_code(comparison.after)}: {_summary(comparison)}",
    ]
    found = [one for one in _summaries(comparison) if one.changes]
    if len(found) > 1 or (found and summary_only):
        parts.append(_markdown_summary(found, [_SIGNS.get(one.verdict, one.verdict) for one in found]))
    if summary_only:
        return "\n\n".join(parts) + "\n"
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
    """Return a gate's report as Markdown for a comment on a pull request: a line per model, the rest folded."""
    comparison, failures, warnings = report.comparison, report.failures, report.warnings
    head = "passes ✓" if report.passes else f"fails: {counted(len(failures), 'measurement')} broke"
    parts = [f"### zoo-bench check {head}", f"compared with {markdown_code(comparison.before)}: {_summary(comparison)}"]
    found = [one for one in summaries(report.decisions) if one.action != "ignore"]
    if found:
        parts.append(_markdown_summary(found, [_STATUS[one.action] for one in found]))
    for findings, what in ((failures, "failure"), (warnings, "warning")):
        if findings:
            parts.append(_folded(counted(len(findings), what), _markdown_table(_sorted(findings))))
    if failures:
        parts.append(f"If this is meant, accept it: {markdown_code(command)}")
    parts += [markdown(note) for note in _notes(report)]
    return "\n\n".join(parts) + "\n"


def report_text(report: Report, command: str, *, details: bool = False, room: int | None = None) -> str:
    """Return a gate's report as lines: one per model, the worst first, and how to accept what broke.

    ``details``: first every measurement that broke or needs a look, with its evidence.
    """
    failures, warnings = report.failures, report.warnings
    blocks = []
    if details:
        blocks = [*_details(_sorted(failures), room, "FAILED  "), *_details(_sorted(warnings), room, "warning ")]
    found = summaries(report.decisions)
    lines = [*summary_lines(found, [_status(one) for one in found], room), *_notes(report)]
    verdict = "ok" if report.passes else "broken"
    end = f"{verdict}: {_summary(report.comparison)}, compared with {visible(report.comparison.before)}"
    more = [] if details or not failures + warnings else ["every measurement, also FLOPs and other sizes: --details"]
    lines += [line for note in (end, *more) for line in wrapped(note, room, "  ")]
    if any(finding.verdict == "better" for finding in failures):
        why = "a better value fails too where values must not change: a network that lost a layer is cheaper"
        lines += wrapped(why, room, "  ")
    if failures:
        lines += ["", "If this is meant, accept the results as the new baseline:", f"  {visible(command)}"]
    return "\n".join([line for block in blocks for line in (block, "")] + lines)


def _status(one: Summary) -> str:
    is_let_pass = one.action == "ignore" and one.verdict in ("failed now", "missing", "worse")
    return "ignored" if is_let_pass else _STATUS[one.action]


def _notes(report: Report) -> list[str]:
    """Return what a reader of the lines must know beside them."""
    alone = list(dict.fromkeys(one.where for one in report.failures + report.warnings if ONE_EACH in one.context))
    notes = [f"{ONE_EACH} ({', '.join(alone)})"] if alone else []
    if report.num_ignored:
        notes.append(f"{counted(report.num_ignored, 'change')} ignored")
    return [*notes, *([reasons] if (reasons := _incomparable(report.comparison)) else [])]


def _summaries(comparison: Comparison) -> list[Summary]:
    return summaries([(finding, "ignore") for finding in comparison.findings])


def _markdown_summary(found: Sequence[Summary], names: Sequence[str]) -> str:
    rows = ["| | model | what changed |", "|---|---|---|"]
    rows += [f"| {name} | {markdown(one.where)} | {markdown(one.text())} |" for one, name in zip(found, names)]
    return "\n".join(rows)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON-ready values."""
    return {
        "before": comparison.before,
        "after": comparison.after,
        "verdicts": {verdict: comparison.count(verdict) for verdict in VERDICTS},
        "models": [_model_json(one) for one in _summaries(comparison)],
        "findings": [dataclasses.asdict(finding) for finding in comparison.findings],
    }


def report_json(report: Report) -> dict[str, Any]:
    """Return a gate's report as JSON-ready values: the comparison, with an ``action`` for each finding."""
    document = comparison_json(report.comparison)
    document["models"] = [_model_json(one) | {"action": one.action} for one in summaries(report.decisions)]
    for finding, (_, action) in zip(document["findings"], report.decisions):
        finding["action"] = action
    return {"ok": report.passes, "failures": len(report.failures), "warnings": len(report.warnings)} | document


def _model_json(one: Summary) -> dict[str, Any]:
    own = {name: getattr(one, name) for name in ("model", "places", "verdict", "num_same")}
    return own | {"changes": [change._asdict() for change in one.changes]}


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
    """Return a workflow command per failure and warning, and one that tells how to accept the results.

    What follows from another one is only counted.
    """
    lines = [_annotation("error", *one) for one in folded(report.failures)]
    lines += [_annotation("warning", *one) for one in folded(report.warnings)]
    if report.failures:
        lines.append(f"::notice title=zoo-bench check::{annotation(f'If this is meant: {command}')}")
    return lines


def _shown(findings: Iterable[Finding], changes_only: bool) -> list[Finding]:
    """Return the findings to list; those that share another's verdict are listed only if everything is shown."""
    return [one for one in findings if (one.changed and not one.judged_by) or not changes_only]


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.dataset, finding.model, ORDER.index(finding.verdict)))


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
    return "; ".join(f"{counted(count, 'timing')} not compared: {reason}" for reason, count in reasons.most_common(3))


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


def _annotation(level: str, finding: Finding, num_derived: int) -> str:
    title = f"{finding.model}: {finding.measurement} {finding.verdict}"
    text = f"{finding.where}: {finding.reported}" + (f" (+{num_derived} derived)" if num_derived else "")
    return f"::{level} title={annotation_property(title)}::{annotation(text)}"
