"""A gate's report for CI systems: JUnit XML, and annotations as GitHub reads them from a job's output."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmark.regression.gate import Report
from benchmark.regression.verdicts import Finding
from zoo.errors import UserError

# What XML 1.0 cannot hold, escaped or not.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_junit(report: Report, path: Path) -> None:
    """Write JUnit XML: a test suite per model, a test case per measurement; not comparable ones count as skipped."""
    root = ET.Element("testsuites", name="zoo-bench check")
    suites: dict[str, ET.Element] = {}
    for decision in report.decisions:
        finding = decision.finding
        if finding.judged_by:
            continue
        if finding.where not in suites:
            suites[finding.where] = ET.SubElement(root, "testsuite", name=_clean(finding.where))
        case = ET.SubElement(
            suites[finding.where], "testcase", classname=_clean(finding.where), name=_clean(finding.measurement)
        )
        text = _clean(f"{finding.verdict}: {_told(finding)}")
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
    """Write a file; raises UserError naming the ``flag`` that asked for it if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot be written ({error.strerror}).") from None


def github_annotations(report: Report, command: str) -> list[str]:
    """Return one workflow command per failure and warning, and one that says how to accept the results."""
    lines = [_annotation("error", finding) for finding in report.failures]
    lines += [_annotation("warning", finding) for finding in report.warnings]
    if report.failures:
        lines.append(f"::notice title=zoo-bench check::{_data(f'If this is meant: {command}')}")
    return lines


def _annotation(level: str, finding: Finding) -> str:
    title = f"{finding.model}: {finding.measurement} {finding.verdict}"
    return f"::{level} title={_property(title)}::{_data(f'{finding.where}: {_told(finding)}')}"


def _told(finding: Finding) -> str:
    return "; ".join([finding.evidence, *finding.warnings])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
