"""Keep records in a committed file: the newest of each key with its scores per image, and no other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.replacing import naming
from benchmark.results.journal import Journal
from benchmark.results.jsonl import lock_of, parse, raw_lines, replace_lines
from benchmark.results.records import newest, read_records
from benchmark.results.store import beside, make_writable, record_files, scores_problem
from benchmark.results.upkeep import FILES, sealed
from benchmark.types import Result
from zoo.errors import UserError


@dataclass(frozen=True)
class Kept:
    """What was kept: the records that the file has now, how many of them are new there, and how many were replaced."""

    total: int
    added: int
    replaced: int


def keep(paths: Sequence[Path], file: Path) -> Kept:
    """Put the newest record of each key in ``paths``, folders or files of records, into ``file``.

    A record takes the place of that with its key. Scores per image come along; raw timings and pictures stay behind,
    and the records no longer name them. The records' file is replaced last. Raises UserError, and changes nothing, for
    a record that was edited or is of an earlier version, or whose scores per image are missing or not its own.
    """
    if file.suffix != ".jsonl":
        raise UserError(f"-o {file}: expected a file of records, as leaderboards/results/NAME.jsonl.")
    found = [pair for source in record_files(paths) for pair in _read(source)]
    contents = {id(record): content for record, content in found}
    new = newest(record for record, _ in found)
    scores = {record.key: _scores_of(record) for record in new}
    make_writable(file.parent, "-o")
    with naming(file), lock_of(file):
        before = {record.key: line.text for (record, _), line in zip(read_records(file), raw_lines(file))}
        for record in new:
            if (journal := scores[record.key]) is not None and record.per_image is not None:
                target = Journal(file.parent / record.per_image)
                target.path.parent.mkdir(exist_ok=True)
                journal.copy_to(target)
        left_behind = dict.fromkeys(name for name in FILES if name != "per_image")
        lines = before | {record.key: sealed(contents[id(record)] | left_behind) for record in new}
        replace_lines(file, lines.values())
    added = len(lines) - len(before)
    return Kept(len(lines), added, len(new) - added)


def _read(file: Path) -> list[tuple[Result, dict[str, Any]]]:
    return [(record, parse(line, file)) for (record, _), line in zip(read_records(file), raw_lines(file))]


def _scores_of(record: Result) -> Journal | None:
    if record.is_edited:
        raise UserError(f"{record.source}: was edited by hand; nothing was kept. Measure again.")
    if record.source is None or not record.source.is_intact:
        # The line has no digest.
        raise UserError(f"{record.source}: is of an earlier version; nothing was kept. Use `results migrate` first.")
    if record.per_image is None or record.status != "ok":
        return None
    path, problem = beside(record, record.per_image), scores_problem(record)
    if path is None or problem or not path.is_file():
        why = problem or f"{record.source}: the scores per image {record.per_image} are missing"
        raise UserError(f"{why}; nothing was kept. Measure again with --rerun always.")
    return Journal(path)
