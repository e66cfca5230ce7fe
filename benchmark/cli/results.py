"""``zoo-bench results``: export, merge, keep, migrate, drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.printing import JSON, echo, echo_warnings, print_data, start
from zoo.errors import UserError

# The name of a file that means standard output.
_STDOUT = "-"


@click.group("results")
def results_command() -> None:
    """Export records for other programs, merge folders, keep records in a file, migrate or remove some of them."""


@results_command.command("export")
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS...")
@click.option("--csv", is_flag=False, flag_value=_STDOUT, metavar="[FILE]", help="Write CSV, by default to stdout.")
@click.option("--json", is_flag=False, flag_value=_STDOUT, metavar="[FILE]", help="Write JSON, by default to stdout.")
@click.option("--parquet", metavar="FILE", help="Write Parquet, which needs pyarrow (extra `parquet`).")
@click.option(
    "--form",
    type=click.Choice(["tidy", "wide"]),
    default="tidy",
    show_default=True,
    help="One row for each measurement, or one for each record with a column for each measurement.",
)
@click.option(
    "--level",
    type=click.Choice(["record", "image"]),
    default="record",
    show_default=True,
    help="Measurements of records, or the scores of each image.",
)
def results_export(
    paths: tuple[str, ...], csv: str | None, json: str | None, parquet: str | None, form: Any, level: Any
) -> None:
    """Write records as a table for other programs: CSV, JSON or Parquet.

    RESULTS are folders that `run --out` wrote, or files of records. The columns are those of
    `benchmark.load_results`.
    """
    files = {f"--{name}": file for name, file in (("csv", csv), ("json", json), ("parquet", parquet)) if file}
    if not files:
        raise UserError("results export: expected --csv [FILE], --json [FILE] or --parquet FILE.")
    if len({*files.values()}) < len(files) or parquet == _STDOUT:
        raise UserError("results export: name a file for each format; only one can be printed, and Parquet cannot.")
    # Standard output then holds nothing else.
    click.get_current_context().meta[JSON] = _STDOUT in files.values()
    start()
    from benchmark.leaderboard.exporting import as_csv, as_json, write_parquet
    from benchmark.leaderboard.frames import frame_of
    from benchmark.replacing import refuse_inputs, replace_text
    from benchmark.results.conflicts import warnings
    from benchmark.results.store import files_of, read_folders

    folders = [Path(path) for path in paths]
    for flag, file in files.items():
        if Path(file).suffix == ".jsonl" or Path(file).is_dir():
            raise UserError(f"{flag} {file}: expected a file to write, as table.{flag[2:]}; RESULTS stand before it.")
        refuse_inputs(f"{flag} {file}", [file], (one for folder in folders for one in files_of(folder)))
    records = read_folders(folders)
    echo_warnings(warnings(records))
    frame = frame_of(records, form, level=level)
    for flag, file in files.items():
        if flag == "--parquet":
            write_parquet(frame, Path(file), flag)
        else:
            text = as_csv(frame) if flag == "--csv" else as_json(frame)
            if file == _STDOUT:
                print_data(text.removesuffix("\n"))
                continue
            replace_text(Path(file), text, flag)
        echo(f"wrote {file} ({len(frame)} rows, {len(frame.columns)} columns)")


@results_command.command("merge")
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS...")
@click.option(
    "-o", "--out", required=True, metavar="DIR", help="Folder for all of them, which may hold records already."
)
def results_merge(paths: tuple[str, ...], out: str) -> None:
    """Merge folders of records, of several people or machines, into one.

    RESULTS are folders that `run --out` wrote, or files of records; they stay as they are. Scores per image, raw
    timings and pictures come along; where records of one key name the same file, that of the newest record is taken.
    The order of RESULTS does not matter. Records that cannot both be right are reported.
    """
    start()
    from benchmark.results.conflicts import warnings
    from benchmark.results.merging import RECORDS, merge
    from benchmark.results.store import Store

    done = merge([Path(path) for path in paths], Path(out))
    echo_warnings(warnings(Store(out).results()))
    echo(f"{Path(out, RECORDS)}: {done.total} records, {done.added} of them new; {done.files} files written")


@results_command.command("keep")
@click.argument("paths", nargs=-1, required=True, metavar="RESULTS...")
@click.option("-o", "--out", required=True, metavar="FILE.jsonl", help="File of records, which may hold some already.")
def results_keep(paths: tuple[str, ...], out: str) -> None:
    """Put records into a file that is committed, as those in leaderboards/results.

    RESULTS are folders that `run --out` wrote, or files of records. Of each key the newest record is taken, and takes
    the place of that in FILE. Scores per image come along, below the folder `scores` beside FILE; raw timings and
    pictures stay behind.
    """
    start()
    from benchmark.results.keeping import keep

    done = keep([Path(path) for path in paths], Path(out))
    echo(f"{out}: {done.total} records, {done.added} of them new; {done.replaced} replaced")


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
