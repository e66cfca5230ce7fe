"""``zoo-bench sweep``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.errors import EXIT_INTERRUPTED
from benchmark.cli.options import address_option, json_option, mapping_option, partial_option
from benchmark.cli.printing import echo, echo_clean, given_seed, print_result, start
from benchmark.cli.tables import room
from benchmark.fitting import Cell, Field, fitted


@click.command("sweep")
@click.argument("sweep", metavar="SWEEP.yaml")
@mapping_option(
    "--set",
    "settings",
    "Replace a key of the sweep; recipe.KEY replaces one of its recipe (repeatable).",
    expected="KEY=VALUE, a key of the sweep, or recipe.KEY=VALUE",
)
@click.option(
    "-o", "--out", metavar="DIR", help="Folder for the records, figures and checkpoints.  [default: runs/SWEEP]"
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Train in processes of this machine, or with Ray. The results are the same.",
)
@address_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of points trained at the same time.  [default: as many as the cores allow]",
)
@click.option("--family", "families", multiple=True, metavar="NAME", help="Train only this family now (repeatable).")
@click.option("--dry-run", is_flag=True, help="Print what the sweep would take, and train nothing.")
@partial_option
@json_option
def sweep_command(
    sweep: str,
    settings: dict[str, str],
    out: str | None,
    workers: int | None,
    families: tuple[str, ...],
    dry_run: bool,
    partial: bool,
    **flags: Any,
) -> None:
    """Train and test a grid of networks.

    SWEEP.yaml is a file, or the name of a sweep in configs/sweeps. The same command continues an interrupted sweep;
    points that failed are tried again.
    """
    reporter = start()
    from benchmark.config import parse_value
    from benchmark.sweeping import session as sweeps
    from benchmark.sweeping.budget import budget_lines

    overrides: dict[str, Any] = {key: parse_value(value) for key, value in settings.items()}
    if partial:
        overrides["recipe.partial"] = True
    if (seed := given_seed()) is not None:
        overrides["seeds"] = [seed]
    if dry_run:
        document = sweeps.budget(sweep, out, overrides=overrides, workers=workers, families=families, reporter=reporter)
        print_result(document, "\n".join(budget_lines(document)))
        return
    try:
        flags |= {"families": families, "workers": workers, "reporter": reporter}
        document = sweeps.sweep(sweep, out, overrides=overrides, **flags)
    except KeyboardInterrupt:
        reporter.note("interrupted; the same command continues the sweep.")
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    print_result(document, _print_summary)
    if document["failed"]:
        echo(f"zoo-bench: {len(document['failed'])} point(s) failed: {', '.join(document['failed'])}", err=True)
        raise click.exceptions.Exit(1)


def _print_summary(document: Mapping[str, Any]) -> None:
    parts = [f"{document[side]} {side[:-5]} images" for side in ("train_part", "test_part") if document[side]]
    on = f"{document['dataset']} ({', '.join(parts)})" if parts else document["dataset"]
    echo(f"{document['title']} on {on}: {document['error']}, mean over seeds")
    members = document["members"]
    varies = any(_value(member) for member in members)
    columns = {
        "value": [_value(member) for member in members] if varies else [],
        "params": [f"{member['params']:,}" for member in members],
        "FLOPs [G]": [f"{member['flops'] / 1e9:.3f}" for member in members],
        "seeds": [str(member["seeds"]) for member in members],
        "test": [f"{member['test_error']:.4f}" for member in members],
        "train": [f"{member['train_error']:.4f}" for member in members],
    }
    fields = [Field((title,), tuple(map(Cell, texts))) for title, texts in columns.items() if texts]
    families = Field(("family",), tuple(Cell(member["family"]) for member in members), is_name=True)
    echo_clean(fitted([families, *fields], room()).lines)
    for member in members:
        if "incomplete" in member:
            echo(f"{' '.join(filter(None, [member['family'], _value(member)]))}: {member['incomplete']}")
    for family, threshold in document["thresholds"].items() if varies else ():
        where = "not reached" if threshold is None else f"{threshold['option']} {threshold['value']}"
        echo(f"training error under {document['vanished']:g}, {family}: {where}")
    for file in document["files"]:
        echo(file)


def _value(member: Mapping[str, Any]) -> str:
    """Return the value of a member's option; empty for a family of one network."""
    return "" if member["value"] is None else str(member["value"])
