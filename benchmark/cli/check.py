"""``zoo-bench check``: the gate for CI."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cleaning import visible
from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_clean, echo_lines, echo_warnings, print_result, start, wants_json
from benchmark.units import counted
from zoo.errors import UserError

if TYPE_CHECKING:
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
    help="YAML file with thresholds (see docs/howto/gate.md).  [default: equal counts, times within 10 %]",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="GLOB",
    help="Let pass what a pattern matches: a measurement (`psnr[rgb]`, `*latency*`), a model, or MODEL/MEASUREMENT"
    " (repeatable).",
)
@click.option("--details", is_flag=True, help="Print every measurement that broke with its evidence; so does -v.")
@click.option("--update", is_flag=True, help="Print the changes and write the results as the new baseline.")
@click.option("--junit", metavar="FILE.xml", help="Also write a report as JUnit XML.")
@click.option("--markdown", metavar="FILE.md", help="Also write a report as Markdown, for a comment on a pull request.")
@click.option("--github", is_flag=True, help="Also print annotations for GitHub Actions.")
@json_option
def check_command(
    baseline: str,
    results: str,
    config: str | None,
    ignore: tuple[str, ...],
    details: bool,
    update: bool,
    junit: str | None,
    markdown: str | None,
    github: bool,
) -> None:
    """Compare results with a baseline: the gate for CI.

    The exit status is 1 if something got worse. Each model has a line that says what, the worst first. Counts, shapes,
    output fingerprints and predicted memory must stay equal, and scores must not get worse. Times are compared only on
    the same machine; they fail when their whole interval lies beyond the tolerance.
    """
    reporter = start()
    from benchmark.cli.tables import room
    from benchmark.config import read_settings
    from benchmark.regression.gate import check
    from benchmark.regression.rendering import (
        github_annotations,
        report_json,
        report_markdown,
        report_text,
        write_junit,
    )
    from benchmark.regression.sources import open_baseline, open_set
    from benchmark.regression.thresholds import Thresholds
    from benchmark.replacing import refuse_inputs, replace_text
    from benchmark.results.store import files_of

    if update and ignore:
        raise UserError("--update takes all results as the new baseline; leave --ignore out.")
    held_against = [config, *files_of(Path(results))]
    if update:
        refuse_inputs(f"--update: --baseline {baseline}", [baseline], held_against)
    for flag, file in (("--junit", junit), ("--markdown", markdown)):
        refuse_inputs(f"{flag} {file}", [file], [baseline, *held_against])
    thresholds = read_settings(config, Thresholds) if config else Thresholds()
    thresholds = thresholds.model_copy(update={"ignore": [*thresholds.ignore, *ignore]})
    found = open_set(results)
    # If the scores per image have changed since they were written, only means are compared.
    echo_warnings(found.warnings)
    if update:
        _update(Path(baseline), found, thresholds)
        return
    report = check(open_baseline(Path(baseline)), found, thresholds)
    command = shlex.join(["zoo-bench", "check", "--baseline", baseline, "--results", results, "--update"])
    if junit:
        write_junit(report, Path(junit))
    if markdown:
        replace_text(Path(markdown), report_markdown(report, command), "--markdown")
    details = details or reporter.verbosity >= 1
    print_result(
        lambda: report_json(report),
        lambda _: echo_lines(report_text(report, command, details=details, room=room())),
    )
    if github:
        # These are meant as commands, with clean texts. GitHub reads both streams; with --json stdout has one document.
        echo_clean(github_annotations(report, command), err=wants_json())
    if not report.passes:
        raise click.exceptions.Exit(1)


def _update(baseline: Path, found: ResultSet, thresholds: Thresholds) -> None:
    """Write the results as the new baseline and print what this changes."""
    from benchmark.cli.tables import room
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
        text, changes = comparison_text(comparison, changes_only=True, room=room()), comparison_json(comparison)
    number = write_baseline(baseline, map(found.kept, found.results))
    written = f"wrote {visible(str(baseline))}: {counted(number, 'record')}"
    document = {"written": str(baseline), "records": number} | changes
    print_result(document, f"{text}\n{written}" if text else written)
