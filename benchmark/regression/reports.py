"""A gate's report for CI systems: JUnit XML, and annotations as GitHub reads them from a job's output."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from benchmark.cleaning import annotation, annotation_property, visible
from benchmark.regression.gate import Report
from benchmark.regression.verdicts import Finding
from benchmark.replacing import naming, replace_text


def write_junit(report: Report, path: Path) -> None:
    """Write JUnit XML: a test suite per model, a test case per measurement; not comparable ones count as skipped."""
    root = ET.Element("testsuites", name="zoo-bench check")
    suites: dict[str, ET.Element] = {}
    for decision in report.decisions:
        finding = decision.finding
        if finding.judged_by:
            continue
        if finding.where not in suites:
            suites[finding.where] = ET.SubElement(root, "testsuite", name=visible(finding.where))
        case = ET.SubElement(
            suites[finding.where], "testcase", classname=visible(finding.where), name=visible(finding.measurement)
        )
        text = visible(f"{finding.verdict}: {finding.reported}")
        if decision.action == "fail":
            ET.SubElement(case, "failure", message=text, type=finding.verdict)
        elif finding.verdict == "not comparable":
            ET.SubElement(case, "skipped", message=text)
        elif decision.action == "warn":
            ET.SubElement(case, "system-out").text = f"warning, {text}"
    for element in (root, *suites.values()):
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            element.set(name, str(len(element.findall(f".//{tag}"))))
    ET.indent(root)
    write_text(
        path, '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n", "--junit"
    )


def write_text(path: Path, text: str, flag: str) -> None:
    """Write a file, atomically; raises DiskError naming the ``flag`` that asked for it if it cannot be written."""
    with naming(path, flag):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text, flag)


def github_annotations(report: Report, command: str) -> list[str]:
    """Return one workflow command per failure and warning, and one that says how to accept the results."""
    lines = [_annotation("error", finding) for finding in report.failures]
    lines += [_annotation("warning", finding) for finding in report.warnings]
    if report.failures:
        lines.append(f"::notice title=zoo-bench check::{annotation(f'If this is meant: {command}')}")
    return lines


def _annotation(level: str, finding: Finding) -> str:
    title = f"{finding.model}: {finding.measurement} {finding.verdict}"
    return f"::{level} title={annotation_property(title)}::{annotation(f'{finding.where}: {finding.reported}')}"
