"""Rewrite files of records: into this version's schema, or without some of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmark.results.journal import Journal
from benchmark.results.jsonl import lock_of, parse, raw_lines, replace_lines, to_json
from benchmark.results.records import digest_of, read_records
from benchmark.results.renewing import missing, renewed
from benchmark.types import SCHEMA, Result
from zoo.errors import UserError


@dataclass(frozen=True)
class Migrated:
    """What a migration did: records rewritten, and those left as they are because they were edited by hand.

    ``gone``: the files that were named and are not there.
    """

    rewritten: int
    total: int
    edited: tuple[int, ...]
    gone: tuple[str, ...] = ()


def migrate(file: Path) -> Migrated:
    """Rewrite the records of earlier versions, atomically, as ``renewed`` says; numbers stay as they are.

    A record gets the digest of what it holds now: it is not known whether a record of schema 1 was edited before.
    Scores per image follow their record's key. Raises UserError, with the file untouched, for a record that this
    version cannot read.
    """
    with lock_of(file):
        records = [record for record, _ in read_records(file)]
        lines, rewritten = [], 0
        moves: dict[str, str] = {}
        gone: list[str] = []
        for record, line in zip(records, raw_lines(file)):
            content = parse(line, file)
            new = content if record.is_edited else renewed(record, content, file.parent)
            gone += [] if record.is_edited else [content[name] for name in missing(content, file.parent)]
            is_new = new != content or (record.source is not None and record.source.is_intact is None)
            lines.append(_sealed(new) if is_new else line.text)
            rewritten += is_new
            if record.per_image and new["per_image"] not in (None, record.per_image):
                moves[record.per_image] = new["per_image"]
        for old, path in moves.items():
            Journal(file.parent / old).copy_to(Journal(file.parent / path))
        if rewritten:
            replace_lines(file, lines)
        for old in moves.keys() - {record.per_image for record, _ in read_records(file)}:
            (file.parent / old).unlink()
    edited = tuple(r.source.number or 0 for r in records if r.source and r.is_edited)
    return Migrated(rewritten, len(records), edited, tuple(gone))


def _sealed(value: dict[str, Any]) -> bytes:
    content = {"record_schema": SCHEMA} | {k: v for k, v in value.items() if k not in ("record_schema", "digest")}
    return to_json({**content, "digest": digest_of(content)})


def drop(file: Path, *, keys: tuple[str, ...] = (), models: tuple[str, ...] = (), status: str = "") -> list[Result]:
    """Take the records out that have one of ``keys``, a model of a pattern in ``models``, or ``status``; return them.

    The file is replaced atomically. The scores per image go with the last record of their key, so that the next run
    measures again; they go after it, so that nothing is lost where the file cannot be written. Raises UserError naming
    scores that cannot be removed.
    """

    def is_meant(record: Result) -> bool:
        named = any(fnmatchcase(record.model, pattern) for pattern in models)
        return record.key in keys or named or record.status == status

    return _drop(file, is_meant)


def _drop(file: Path, is_meant: Callable[[Result], bool]) -> list[Result]:
    with lock_of(file):
        records = [record for record, _ in read_records(file)]
        dropped = [record for record in records if is_meant(record)]
        if not dropped:
            return []
        left = {record.key for record in records if not is_meant(record)}
        replace_lines(file, [line.text for line, record in zip(raw_lines(file), records) if not is_meant(record)])
        for key in sorted({record.key for record in dropped} - left):
            _remove_scores(file.parent, key)
    return dropped


def _remove_scores(folder: Path, key: str) -> None:
    scores = folder / "scores"
    path = scores / f"{key}.jsonl"
    if scores.resolve() != folder.resolve() / "scores":
        raise UserError(f"{path}: a link leads out of {folder}; the records are removed, remove this file by hand.")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be removed ({error.strerror}); the records are removed. Remove this too, or the next run"
            " takes these scores."
        ) from None
