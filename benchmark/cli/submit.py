"""``zoo-bench submit``."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.conditions import sigma_option
from benchmark.cli.options import set_option, weights_given, weights_option
from benchmark.cli.printing import echo, start


@click.command("submit")
@click.argument("model")
@click.option("--data-root", required=True, metavar="DIR", help="Folder that holds BenchmarkNoisyBlocksSrgb.mat.")
@weights_option
@click.option("-o", "--out", required=True, metavar="DIR", help="Folder for SubmitSrgb.mat and SubmitSrgb.csv.")
@click.option("--method", metavar="TEXT", help="Name of the method.  [default: the name of the model]")
@click.option("--authors", default="", help="Authors of the method.")
@click.option("--paper", default="", help="Title of the paper about the method.")
@click.option("--venue", default="", help="Where the paper appeared.")
@sigma_option
@set_option
def submit_command(
    model: str, data_root: str, out: str, method: str | None, authors: str, paper: str, venue: str, **flags: Any
) -> None:
    """Write the submission files of the SIDD benchmark for MODEL.

    MODEL is run on the noisy blocks of the benchmark. The two files are those that its two submission sites take.
    """
    reporter = start()
    from benchmark.running.submission import Method, submit

    flags["weights"] = weights_given(model, flags["weights"], reporter, trust=flags.pop("trust"))
    described = Method(method or model, authors, paper, venue)
    for path in submit(model, data_root, out, method=described, reporter=reporter, **flags):
        echo(str(path))
