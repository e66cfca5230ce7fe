"""``zoo-bench profile``."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.conditions import condition_options, given_conditions
from benchmark.cli.options import json_option, set_option, size_option
from benchmark.cli.printing import given_seed, print_result, start
from zoo.errors import UserError


@click.command("profile")
@click.argument("model")
@size_option
@click.option("--layers", is_flag=True, help="Also show the MACs of each layer.")
@click.option(
    "--audit",
    is_flag=True,
    help="Also show what other counters report, and why; this runs the network on a small image.",
)
@click.option(
    "--measure",
    "measured",
    is_flag=True,
    help="Also run the network, in processes of its own, and measure its latency and memory.",
)
@condition_options
@set_option
@json_option
def profile_command(
    model: str,
    size: tuple[int, int] | str | None,
    layers: bool,
    audit: bool,
    measured: bool,
    options: dict[str, str],
    **flags: Any,
) -> None:
    """Show the parameters, MACs and memory of MODEL at a size.

    The network is run only with --audit or --measure. Without --measure the options from --threads to --device change
    nothing.
    """
    reporter = start()
    from benchmark.catalogue import profile_text
    from benchmark.costs.profiling import profile

    if not measured and (idle := [name for name in ("tile", "approximate", "exact_kernels") if flags[name]]):
        raise UserError(f"profile: --{idle[0].replace('_', '-')} says how the network runs; add --measure.")
    how = given_conditions(flags)
    document = profile(model, size=size, options=options, layers=layers, audit=audit)
    text = profile_text(document)
    if measured:
        from benchmark.timing.session import measure_profiled
        from benchmark.timing.text import measured_text

        if how["conditions"].precision == "int8":
            from benchmark.running.quantizing.alone import for_time

            shape = document["input_shape"]
            how["conditions"] = for_time(document["model"], document["options"], shape, how["conditions"], reporter)
        found = measure_profiled(document, **how, seed=given_seed() or 0, reporter=reporter)
        text += f"\n{measured_text(found)}"
        document |= found.model_dump(mode="json")
    print_result(document, text)
