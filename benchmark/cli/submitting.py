"""Write what a benchmark's site takes: submit."""

from __future__ import annotations

import click

from benchmark.cli.arguments import echo, key_values, set_option, start


@click.command()
@click.argument("model")
@click.option("--data-root", required=True, metavar="DIR", help="Folder with BenchmarkNoisyBlocksSrgb.mat.")
@click.option("--weights", metavar="FILE", help="Weights of the model.")
@click.option("-o", "--out", required=True, metavar="DIR", help="Where SubmitSrgb.mat and SubmitSrgb.csv go.")
@click.option("--method", help="The method's name.  [default: the model's]")
@click.option("--authors", default="", help="Its authors.")
@click.option("--paper", default="", help="The title of its paper.")
@click.option("--venue", default="", help="Where it appeared.")
@set_option
@click.pass_context
def submit(
    ctx: click.Context,
    model: str,
    data_root: str,
    weights: str | None,
    out: str,
    method: str | None,
    authors: str,
    paper: str,
    venue: str,
    settings: tuple[str, ...],
) -> None:
    """Run MODEL on SIDD's benchmark blocks; write the files for its two submission sites."""
    reporter = start(ctx)
    from benchmark.running.submission import Method
    from benchmark.running.submission import submit as run_on

    options = key_values("--set", settings, "KEY=VALUE")
    described = Method(method or model, authors, paper, venue)
    paths = run_on(model, data_root, out, weights=weights, options=options, method=described, reporter=reporter)
    for path in paths:
        echo(str(path))
