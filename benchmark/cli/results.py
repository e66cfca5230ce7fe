"""``zoo-bench results``: migrate, drop."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.cli.printing import echo, start
from zoo.errors import UserError


@click.group("results")
def results_command() -> None:
    """Migrate the records in a file, or remove some of them."""


@results_command.command("migrate")
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def results_migrate(paths: tuple[str, ...]) -> None:
    """Rewrite records of earlier versions as records of this version.

    A FILE holds records or is a baseline; a folder stands for the files of records in it. The numbers stay as they are.
    The record of a built-in network gets the digest of the network's code, and so a new key, if its version is the one
    that the network's card has now. Records no longer name files that do not exist.
    """
    start()
    from benchmark.regression.baseline import is_baseline, migrate_baseline
    from benchmark.results.store import record_files
    from benchmark.results.upkeep import migrate

    for file in record_files([Path(path) for path in paths]):
        done = migrate_baseline(file) if is_baseline(file) else migrate(file)
        echo(f"{file}: {done.rewritten} of {done.total} records rewritten")
        if done.gone:
            echo(f"{file}: {len(done.gone)} files that do not exist are no longer named, the first one {done.gone[0]}")
        for number in done.edited:
            echo(f"{file}, record {number}: was edited by hand and is left as it is", err=True)


@results_command.command("drop")
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Remove the records with this key (repeatable).")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="GLOB",
    help="Remove the records of models that match this pattern, or whose NAME (LABEL) does (repeatable).",
)
@click.option(
    "--status", type=click.Choice(["ok", "oom", "error", "timeout"]), help="Remove the records with this status."
)
def results_drop(paths: tuple[str, ...], keys: tuple[str, ...], models: tuple[str, ...], status: str | None) -> None:
    """Remove records and their scores per image, and print which.

    A FILE holds records; a folder stands for the files of records in it. A record that one of the options describes is
    removed.
    """
    start()
    from benchmark.results.store import record_files
    from benchmark.results.upkeep import drop

    if not keys and not models and not status:
        raise UserError("results drop: no records are named; expected --key KEY, --model GLOB or --status STATUS.")
    count = 0
    for file in record_files([Path(path) for path in paths]):
        for record in drop(file, keys=keys, models=models, status=status or ""):
            echo(f"dropped {record.key} {record.name} on {record.dataset} ({record.status})")
            count += 1
    if not count:
        raise UserError(f"results drop: no record in {', '.join(paths)} fits; expected a key or model that is there.")
