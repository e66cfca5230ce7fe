"""Records against records: compare, and check, the gate for CI."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.arguments import echo, echo_commands, echo_lines, json_option, print_json, start
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.regression.gate import Report
    from benchmark.regression.sources import ResultSet
    from benchmark.regression.thresholds import Thresholds


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--changes", is_flag=True, help="Only what is not the same.")
@click.option("--markdown", is_flag=True, help="Markdown for a comment on a pull request.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="Times count as different when their ratio's whole interval lies beyond it.",
)
@json_option
@click.pass_context
def compare(
    ctx: click.Context, before: str, after: str, changes: bool, markdown: bool, tolerance: float, as_json: bool
) -> None:
    """Put two sets of records side by side: a verdict per measurement, with its evidence.

    A and B are folders that `run --out` wrote, files of records, baselines, REVISION:path in git, or a revision (of
    leaderboards/results).
    """
    start(ctx, as_json=as_json)
    if as_json and markdown:
        raise UserError("--json and --markdown: two formats; leave one out.")
    from benchmark.regression import rendering
    from benchmark.regression.comparing import compare as compare_sets
    from benchmark.regression.judging import Tolerances
    from benchmark.regression.sources import open_set

    sets = open_set(before), open_set(after)
    for found in sets:
        _warn_of_scores(found)
    comparison = compare_sets(*sets, Tolerances(timings=tolerance / 100))
    if as_json:
        print_json(ctx, rendering.comparison_json(comparison))
    elif markdown:
        echo_lines(rendering.comparison_markdown(comparison, changes_only=changes).removesuffix("\n"))
    else:
        echo_lines(rendering.comparison_text(comparison, changes_only=changes))


@click.command()
@click.option("--baseline", required=True, metavar="FILE", help="What the results are held against.")
@click.option(
    "--results",
    default="zoo-bench-out",
    show_default=True,
    metavar="DIR",
    help="Folder or file of records, as for compare.",
)
@click.option("--config", metavar="FILE.yaml", help="Thresholds; see the README.  [default: exact counts, 10 % time]")
@click.option("--update", is_flag=True, help="Show the changes and write the results as the new baseline.")
@click.option("--junit", metavar="FILE.xml", help="Write JUnit XML too.")
@click.option("--markdown", metavar="FILE.md", help="Write Markdown for a comment on a pull request too.")
@click.option("--github", is_flag=True, help="Print annotations for GitHub Actions too.")
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    baseline: str,
    results: str,
    config: str | None,
    update: bool,
    junit: str | None,
    markdown: str | None,
    github: bool,
    as_json: bool,
) -> None:
    """Hold results against a baseline; exit 1 with a list if something broke.

    Counts, shapes, output fingerprints, predicted memory and scores break hard; times only on the same machine, when
    their interval excludes the tolerance.
    """
    start(ctx, as_json=as_json)
    from benchmark.config import read_settings
    from benchmark.regression.gate import check as check_sets
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
    _warn_of_scores(found)
    if update:
        _update(ctx, Path(baseline), found, thresholds, as_json)
        return
    report = check_sets(open_baseline(Path(baseline)), found, thresholds)
    command = shlex.join(["zoo-bench", "check", "--baseline", baseline, "--results", results, "--update"])
    _write_reports(report, command, junit, markdown)
    _print_report(ctx, report, command, github=github, as_json=as_json)
    if not report.passes:
        ctx.exit(1)


def _warn_of_scores(found: ResultSet) -> None:
    """Say which scores per image are not as they were written: means alone are compared then."""
    for line in found.warnings:
        echo(f"warning: {line}", err=True)


def _write_reports(report: Report, command: str, junit: str | None, markdown: str | None) -> None:
    from benchmark.regression.rendering import report_markdown
    from benchmark.regression.reports import write_junit, write_text

    if junit:
        write_junit(report, Path(junit))
    if markdown:
        write_text(Path(markdown), report_markdown(report, command), "--markdown")


def _print_report(ctx: click.Context, report: Report, command: str, *, github: bool, as_json: bool) -> None:
    from benchmark.regression.rendering import report_json, report_text
    from benchmark.regression.reports import github_annotations

    if as_json:
        print_json(ctx, report_json(report))
    else:
        echo_lines(report_text(report, command))
    if github:
        # Commands on purpose, their texts clean. GitHub reads both streams; with --json stdout has one document alone.
        echo_commands(github_annotations(report, command), err=as_json)


def _update(ctx: click.Context, baseline: Path, found: ResultSet, thresholds: Thresholds, as_json: bool) -> None:
    """Write the results as the new baseline and say what that changes."""
    from benchmark.regression.baseline import refuse_other_files, write_baseline
    from benchmark.regression.comparing import compare as compare_sets
    from benchmark.regression.rendering import comparison_json, comparison_text
    from benchmark.regression.sources import kept, open_baseline

    refuse_other_files(baseline)
    document: dict[str, Any] = {}
    try:
        before = open_baseline(baseline)
    except UserError as error:
        text = f"nothing to compare with: {error}" if baseline.exists() else ""
    else:
        comparison = compare_sets(before, found, thresholds.tolerances())
        text, document = comparison_text(comparison, changes_only=True), comparison_json(comparison)
    number = write_baseline(baseline, kept(found))
    if as_json:
        print_json(ctx, {"written": str(baseline), "records": number} | document)
        return
    if text:
        echo_lines(text)
    echo(f"wrote {baseline}: {number} record{'s' if number != 1 else ''}")
