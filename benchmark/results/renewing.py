"""Convert a record of an earlier version: its digest of code and key, names of files, and texts that changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.types import Result
from zoo.card import MODELS

# The fields that name a file or folder beside the records.
_FILES = ("per_image", "pictures", "gallery", "timings", "shift_plot")
# The memory that a timing needs is more than that of one pass; earlier versions called it predicted.
_NEEDS = re.compile(r"(?<=not run: )(input \S+ needs )([\d.]+)( GiB)(?= \(predicted\), [\d.]+ GiB are)")
_HEAP_FACTOR, _PROCESS_GIB = 1.4, 0.6


def renewed(record: Result, content: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return the ``content`` of a record's line as this version would have written it; its digest is the caller's.

    A built-in network of the version that its card still has gets the digest of its code, and a key with it. Names of
    files that are not in ``folder`` (None: this is not checked) become null.
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
    """Return the fields of a record's line that name a file which is not in ``folder``."""
    return [name for name in _FILES if content.get(name) and not (folder / content[name]).exists()]


def scores_path(key: str) -> str:
    """Return where the scores per image of the record with ``key`` lie, seen from the records' folder."""
    return f"scores/{key}.jsonl"


def _code_of(record: Result) -> str:
    # Other keys (of a sweep's points) depend on more than the spec and cannot be computed here.
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
    """Say what a time needs beside what is predicted for a pass, in GiB."""
    return (
        f": {process:.2f} GiB for libraries and, for a heap that keeps freed memory, {factor:g} times the pass with its"
        f" input and weights, {predicted:.2f} GiB"
    )
