"""``zoo-bench compare``."""

from __future__ import annotations

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo_lines, echo_warnings, print_result, start, wants_json
from zoo.errors import UserError


@click.command("compare")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--changes", is_flag=True, help="Leave out what is the same.")
@click.option("--summary", is_flag=True, help="Print only a line per model, the worst first.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="Times count as different when the whole interval of their ratio lies beyond this tolerance.",
)
@json_option
def compare_command(before: str, after: str, changes: bool, summary: bool, markdown: bool, tolerance: float) -> None:
    """Compare two sets of records, measurement by measurement.

    Each of A and B is a folder that `run --out` wrote, a file of records, a baseline, REVISION:PATH in git, or a git
    REVISION, of which leaderboards/results is read. Each measurement gets a verdict with its evidence, and each model a
    line at the end.
    """
    start()
    if wants_json() and markdown:
        raise UserError("--json and --markdown cannot be combined; leave one of them out.")
    from benchmark.cli.tables import room
    from benchmark.regression import rendering
    from benchmark.regression.comparing import compare
    from benchmark.regression.sources import open_set
    from benchmark.regression.thresholds import Thresholds, Timings

    sets = open_set(before), open_set(after)
    for found in sets:
        echo_warnings(found.warnings)
    # The flag may be infinite, unlike the value in a file of thresholds.
    timings = Timings().model_copy(update={"tolerance": tolerance / 100})
    comparison = compare(*sets, Thresholds(timings=timings))
    shown = {"changes_only": changes, "summary_only": summary}

    def text() -> str:
        if markdown:
            return rendering.comparison_markdown(comparison, **shown).removesuffix("\n")
        return rendering.comparison_text(comparison, **shown, room=room())

    print_result(lambda: rendering.comparison_json(comparison), lambda _: echo_lines(text()))
