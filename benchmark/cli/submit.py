"""``zoo-bench submit``."""

from __future__ import annotations

import click

from benchmark.cli.options import set_option, weights_option
from benchmark.cli.printing import echo
from benchmark.cli.starting import start


@click.command("submit")
@click.argument("model")
@click.option("--data-root", required=True, metavar="DIR", help="Folder with BenchmarkNoisyBlocksSrgb.mat.")
@weights_option
@click.option("-o", "--out", required=True, metavar="DIR", help="Where SubmitSrgb.mat and SubmitSrgb.csv go.")
@click.option("--method", help="The method's name.  [default: the model's]")
@click.option("--authors", default="", help="Its authors.")
@click.option("--paper", default="", help="The title of its paper.")
@click.option("--venue", default="", help="Where it appeared.")
@set_option
@click.pass_context
def submit_command(
    ctx: click.Context,
    model: str,
    data_root: str,
    weights: str | None,
    out: str,
    method: str | None,
    authors: str,
    paper: str,
    venue: str,
    options: dict[str, str],
) -> None:
    """Run MODEL on SIDD's benchmark blocks; write the files for its two submission sites."""
    reporter = start(ctx)
    from benchmark.running.submission import Method, submit

    described = Method(method or model, authors, paper, venue)
    paths = submit(model, data_root, out, weights=weights, options=options, method=described, reporter=reporter)
    for path in paths:
        echo(str(path))
