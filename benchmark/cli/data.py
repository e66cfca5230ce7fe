"""``zoo-bench data``: make, check."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import (
    data_root_option,
    json_option,
    own_data_options,
    partial_option,
)
from benchmark.cli.printing import echo, given_seed, print_result, start
from benchmark.units import counted

# At most this many problems of one kind are printed.
_SHOWN = 20


@click.group("data")
def data_command() -> None:
    """Make a stand-in dataset, or check the files of a dataset."""


@data_command.command("make")
@click.argument("name")
@click.option("--out", required=True, metavar="DIR", help="Folder to write: a new or an empty one.")
@click.option("--seed", type=int, metavar="N", help="Seed of the random draws.  [default: 0]")
@click.option(
    "--photos",
    metavar="DIR",
    help="Make the stand-in from the pictures in this folder; folders train and test (or val) in it say what is held"
    " out. The same command continues an interrupted one.",
)
@click.option(
    "--count",
    type=click.IntRange(min=2),
    metavar="N",
    help="With --photos: number of pairs or scenes.  [default: one per picture]",
)
@click.option("--name", "label", metavar="LABEL", help="Label in the dataset's name: zrr-standin (LABEL).")
def data_make(name: str, out: str, seed: int | None, photos: str | None, count: int | None, label: str | None) -> None:
    """Write a stand-in for dataset NAME, in the layout of the real one."""
    reporter = start()
    from benchmark.opening import make_standin

    seed = given_seed() or 0 if seed is None else seed
    pictures = Path(photos) if photos else None
    if make_standin(name, Path(out), seed=seed, photos=pictures, count=count, label=label, reporter=reporter):
        echo(f"wrote {out}")


@data_command.command("check")
@click.argument("name")
@data_root_option
@own_data_options
@partial_option
@click.option(
    "--manifest", metavar="FILE", help="Also write the sha256 of each file to FILE, as `sha256sum -c` reads it."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Number of threads.  [default: one per core]")
@json_option
def data_check(name: str, data_root: str | None, manifest: str | None, **flags: Any) -> None:
    """Check that the files of dataset NAME are complete and undamaged.

    The exit status is 1 if there are problems, and a list names them.
    """
    reporter = start()
    from benchmark.datacheck.checking import check_dataset

    path = Path(manifest) if manifest else None
    document = check_dataset(name, data_root, manifest=path, reporter=reporter, **flags)
    print_result(document, _print_text)
    if not document["ok"]:
        raise click.exceptions.Exit(1)


def _print_text(document: dict[str, Any]) -> None:
    shown = _print_list(document["problems"], "")
    _print_list(document["remarks"], "remark: ")
    if "cfa" in document and "cfa" not in shown:
        for other in document["cfa"]["others"]:
            echo(f"{other['file']}: looks like {other['phase']}; this is no problem by itself, but look at the file")
    files = f"{document['files']:,} files, {document['bytes'] / 1e6:,.1f} MB"
    if "cfa" in document:
        votes = ", ".join(f"{name} {count}" for name, count in sorted(document["cfa"]["votes"].items())) or "none"
        files += f", colour filter by votes: {votes}"
    files += "".join(f", {part} {split} images" for split, part in document.get("parts", {}).items())
    for split, scenes in document["scenes"].items():
        files += f", {counted(scenes, 'scene')} in {split}"
    problems = len(document["problems"])
    verdict = "no problems" if not problems else counted(problems, "problem")
    echo(f"{document['dataset']}: {verdict} in {files}; manifest {document['manifest_digest'][:16]}")


def _print_list(problems: list[dict[str, str]], lead: str) -> Counter[str]:
    """Print the first problems of each kind, a line each; return how many problems each kind has."""
    shown: Counter[str] = Counter()
    for problem in problems:
        kind = problem["kind"]
        shown[kind] += 1
        if shown[kind] <= _SHOWN:
            expected = f"; expected {problem['expected']}" if problem["expected"] else ""
            echo(f"{lead}{problem['file']}: {problem['what']}{expected}")
    for kind, count in shown.items():
        if count > _SHOWN:
            echo(f"... and {count - _SHOWN} more of this kind ({kind}); --json lists all")
    return shown
