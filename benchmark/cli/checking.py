"""Audit a dataset's folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from benchmark.cli.arguments import echo, json_option, partial_option, print_json, start, white_option

_SHOWN = 20


@click.command("check")
@click.argument("name")
@click.option("--data-root", metavar="DIR", help="The dataset's folder.  [default: $ZOO_BENCH_DATA/NAME, stand-in]")
@click.option("--pairs", metavar="RULE", help="For pairs: partners by name, e.g. '*_real.* -> *_mean.*'.")
@white_option
@partial_option
@click.option("--manifest", metavar="FILE", help="Write a sha256 per file here, as `sha256sum -c` reads it.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Threads.  [default: one per core]")
@json_option
@click.pass_context
def data_check(
    ctx: click.Context,
    name: str,
    data_root: str | None,
    pairs: str | None,
    white: float | None,
    partial: bool,
    manifest: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Check the files of dataset NAME: complete, undamaged, of the right kind; exit 1 with a list otherwise."""
    reporter = start(ctx)
    from benchmark.datacheck.checking import check_dataset

    path = Path(manifest) if manifest else None
    document = check_dataset(
        name, data_root, pairs=pairs, white=white, partial=partial, manifest=path, workers=workers, reporter=reporter
    )
    if as_json:
        print_json(ctx, document)
    else:
        _print_text(document)
    if not document["ok"]:
        ctx.exit(1)


def _print_text(document: dict[str, Any]) -> None:
    shown = _print_list(document["problems"], "")
    _print_list(document["remarks"], "remark: ")
    if "cfa" in document and "cfa" not in shown:
        for other in document["cfa"]["others"]:
            echo(f"{other['file']}: looks like {other['phase']}; no problem by itself, but look at it")
    files = f"{document['files']:,} files, {document['bytes'] / 1e6:,.1f} MB"
    if "cfa" in document:
        votes = ", ".join(f"{name} {count}" for name, count in sorted(document["cfa"]["votes"].items())) or "none"
        files += f", colour filter by votes: {votes}"
    files += "".join(f", {part} {split} images" for split, part in document.get("parts", {}).items())
    problems = len(document["problems"])
    verdict = "no problems" if not problems else f"{problems} problem{'s' if problems > 1 else ''}"
    echo(f"{document['dataset']}: {verdict} in {files}; manifest {document['manifest_digest'][:16]}")


def _print_list(problems: list[dict[str, str]], lead: str) -> Counter[str]:
    """Print the first problems of each kind, a line each; return how many there are of each."""
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
