"""Rewrite files of records in this version's form, or without some of the records.

A record of an earlier version may lack a digest of its content and of its code, have another key, name files that no
longer exist, and contain texts in an older wording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmark.results.journal import Journal
from benchmark.results.jsonl import lock_of, parse, raw_lines, replace_lines, to_json
from benchmark.results.records import digest_of, read_records
from benchmark.types import SCHEMA, Result, label_of
from zoo.card import MODELS
from zoo.errors import UserError

# The fields that name a file or folder beside the records.
FILES = ("per_image", "pictures", "gallery", "timings", "shift_plot")
# A timing needs more memory than one pass; earlier versions called that amount predicted.
_NEEDS = re.compile(r"(?<=not run: )(input \S+ needs )([\d.]+)( GiB)(?= \(predicted\), [\d.]+ GiB are)")
_HEAP_FACTOR, _PROCESS_GIB = 1.4, 0.6


@dataclass(frozen=True)
class Migrated:
    """What a migration did: the rewritten records, and those left unchanged because they were edited by hand.

    ``gone``: the files that records name and that do not exist.
    """

    rewritten: int
    total: int
    edited: tuple[int, ...]
    gone: tuple[str, ...] = ()


def migrate(file: Path) -> Migrated:
    """Rewrite the records of earlier versions with ``renewed``, atomically; numbers are not changed.

    A record gets the digest of its present content: it is not known whether a record of schema 1 was edited before.
    Scores per image are renamed with their record's key. Raises UserError, and leaves the file unchanged, for a record
    that this version cannot read.
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
            lines.append(sealed(new) if is_new else line.text)
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


def sealed(value: Mapping[str, Any]) -> bytes:
    """Return the line of a record with this content: this version's schema, and the digest."""
    content = {"record_schema": SCHEMA} | {k: v for k, v in value.items() if k not in ("record_schema", "digest")}
    return to_json({**content, "digest": digest_of(content)})


def renewed(record: Result, content: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return the ``content`` of a record's line in this version's form; the caller must add the digest.

    A record of a built-in network whose card still has the same version gets the digest of its code, and a new key.
    Names of files that are not in ``folder`` (None: this is not checked) become null.
    """
    new = dict(content)
    code = _code_of(record)
    if code != record.spec.code:
        new["spec"] = {**content["spec"], "code": code}
        new["key"] = record.spec.model_copy(update={"code": code}).key()
        if record.per_image == scores_path(record.key):
            new["per_image"] = scores_path(new["key"])
    new |= dict.fromkeys(missing(content, folder)) if folder else {}
    return {name: _reworded(value) if name in ("notes", "measurements") else value for name, value in new.items()}


def missing(content: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the fields of a record's line that name a file missing in ``folder``."""
    return [name for name in FILES if content.get(name) and not (folder / content[name]).exists()]


def scores_path(key: str) -> str:
    """Return the path of the scores per image of the record with ``key``, relative to the records' folder."""
    return f"scores/{key}.jsonl"


def _code_of(record: Result) -> str:
    # Other keys (those of a sweep's points) depend on more than the spec and cannot be computed here.
    if record.key != record.spec.key() or record.model not in MODELS:
        return record.spec.code
    card = MODELS.get(record.model)
    return card.code_digest if card.is_builtin and record.spec.code == f"builtin-v{card.version}" else record.spec.code


def _reworded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reworded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_reworded(one) for one in value]
    return _NEEDS.sub(_with_its_parts, value) if isinstance(value, str) else value


def _with_its_parts(found: re.Match[str]) -> str:
    need = float(found[2])
    return f"{found[1]}{need:.2f} GiB{parts_of_need((need - _PROCESS_GIB) / _HEAP_FACTOR, _HEAP_FACTOR, _PROCESS_GIB)}"


def parts_of_need(predicted: float, factor: float, process: float) -> str:
    """Say what memory a timing needs besides that predicted for a pass, in GiB."""
    return (
        f": {process:.2f} GiB for libraries and, for a heap that keeps freed memory, {factor:g} times the pass with its"
        f" input and weights, {predicted:.2f} GiB"
    )


def drop(file: Path, *, keys: tuple[str, ...] = (), models: tuple[str, ...] = (), status: str = "") -> list[Result]:
    """Remove and return the records that have one of ``keys``, a model of a pattern in ``models``, or ``status``.

    A pattern is for the name of the model, or "NAME (LABEL)" with the newest label of its weights; former ones go too.
    The file is replaced atomically. The scores per image are removed with the last record of their key, so that the
    next run measures again; they are removed afterwards, so that nothing is lost if the file cannot be written. Raises
    UserError naming scores that cannot be removed.
    """

    def is_meant(record: Result) -> bool:
        names = (record.model, label_of(record.model, {}, labels[record.key]))
        named = any(fnmatchcase(name, pattern) for name in names for pattern in models)
        return record.key in keys or named or record.status == status

    with lock_of(file):
        records = [record for record, _ in read_records(file)]
        labels = {record.key: record.label for record in records}
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
