"""``zoo-bench check``: the gate for CI."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cleaning import visible
from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_commands, echo_lines, echo_warnings, print_result, wants_json
from benchmark.cli.starting import start
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.regression.gate import Report
    from benchmark.regression.sources import ResultSet
    from benchmark.regression.thresholds import Thresholds


@click.command("check")
@click.option("--baseline", required=True, metavar="FILE", help="Baseline that the results are compared with.")
@click.option(
    "--results",
    default="zoo-bench-out",
    show_default=True,
    metavar="DIR",
    help="Folder or file with the records to check.",
)
@click.option(
    "--config",
    metavar="FILE.yaml",
    help="YAML file with thresholds (see the README).  [default: equal counts, times within 10 %]",
)
@click.option("--update", is_flag=True, help="Print the changes and write the results as the new baseline.")
@click.option("--junit", metavar="FILE.xml", help="Also write a report as JUnit XML.")
@click.option("--markdown", metavar="FILE.md", help="Also write a report as Markdown, for a comment on a pull request.")
@click.option("--github", is_flag=True, help="Also print annotations for GitHub Actions.")
@json_option
@click.pass_context
def check_command(
    ctx: click.Context,
    baseline: str,
    results: str,
    config: str | None,
    update: bool,
    junit: str | None,
    markdown: str | None,
    github: bool,
) -> None:
    """Compare results with a baseline: the gate for CI.

    The exit status is 1 if something got worse, and a list says what. Counts, shapes, output fingerprints and predicted
    memory must stay equal, and scores must not get worse. Times are compared only on the same machine; they fail when
    their whole interval lies beyond the tolerance.
    """
    start(ctx)
    from benchmark.config import read_settings
    from benchmark.regression.gate import check
    from benchmark.regression.sources import open_baseline, open_set
    from benchmark.regression.thresholds import Thresholds
    from benchmark.replacing import refuse_inputs
    from benchmark.results.store import files_of

    held_against = [config, *files_of(Path(results))]
    if update:
        refuse_inputs(f"--update: --baseline {baseline}", [baseline], held_against)
    for flag, file in (("--junit", junit), ("--markdown", markdown)):
        refuse_inputs(f"{flag} {file}", [file], [baseline, *held_against])
    thresholds = read_settings(config, Thresholds) if config else Thresholds()
    found = open_set(results)
    # Where scores per image are not as they were written, only means are compared.
    echo_warnings(found.warnings)
    if update:
        _update(ctx, Path(baseline), found, thresholds)
        return
    report = check(open_baseline(Path(baseline)), found, thresholds)
    command = shlex.join(["zoo-bench", "check", "--baseline", baseline, "--results", results, "--update"])
    _write_reports(report, command, junit, markdown)
    _print_report(ctx, report, command, github=github)
    if not report.passes:
        ctx.exit(1)


def _write_reports(report: Report, command: str, junit: str | None, markdown: str | None) -> None:
    from benchmark.regression.rendering import report_markdown, write_junit
    from benchmark.replacing import replace_text

    if junit:
        write_junit(report, Path(junit))
    if markdown:
        replace_text(Path(markdown), report_markdown(report, command), "--markdown")


def _print_report(ctx: click.Context, report: Report, command: str, *, github: bool) -> None:
    from benchmark.regression.rendering import github_annotations, report_json, report_text

    print_result(ctx, report_json(report), lambda document: echo_lines(report_text(report, command)))
    if github:
        # Commands on purpose, their texts clean. GitHub reads both streams; with --json stdout has only one document.
        echo_commands(github_annotations(report, command), err=wants_json(ctx))


def _update(ctx: click.Context, baseline: Path, found: ResultSet, thresholds: Thresholds) -> None:
    """Write the results as the new baseline and say what that changes."""
    from benchmark.regression.baseline import refuse_other_files, write_baseline
    from benchmark.regression.comparing import compare
    from benchmark.regression.rendering import comparison_json, comparison_text
    from benchmark.regression.sources import open_baseline

    refuse_other_files(baseline)
    changes: dict[str, Any] = {}
    try:
        before = open_baseline(baseline)
    except UserError as error:
        text = f"nothing to compare with: {error}" if baseline.exists() else ""
    else:
        comparison = compare(before, found, thresholds)
        text, changes = comparison_text(comparison, changes_only=True), comparison_json(comparison)
    number = write_baseline(baseline, map(found.kept, found.results))
    written = f"wrote {visible(str(baseline))}: {number} record{'s' if number != 1 else ''}"
    document = {"written": str(baseline), "records": number} | changes
    print_result(ctx, document, lambda document: echo_lines(f"{text}\n{written}" if text else written))
