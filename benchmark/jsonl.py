"""Append-only files of JSON lines that survive kill -9 and several writers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from zoo.errors import UserError


def append_line(path: Path, value: Any) -> None:
    """Append ``value`` as one JSON line, on disk when this returns; a torn line before it is removed.

    Writers in several processes take turns. Raises ValueError for NaN and infinities.
    """
    line = json.dumps(value, allow_nan=False, ensure_ascii=False).encode() + b"\n"
    with lock_of(path), path.open("a+b") as file:
        _mend_tail(file)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def lock_of(path: Path) -> FileLock:
    """Return the lock that guards ``path``; a killed process releases it."""
    return FileLock(path.with_name(f".{path.name}.lock"))


def read_lines(path: Path) -> list[Any]:
    """Return the values in ``path``; a torn last line is left out, a missing file is empty.

    Raises UserError naming file and line if a line in the middle is not JSON: no crash of ours does that.
    """
    if not path.exists():
        return []
    values = []
    pieces = path.read_bytes().split(b"\n")
    for number, piece in enumerate(pieces, start=1):
        if not piece.strip():
            continue
        try:
            values.append(json.loads(piece))
        except ValueError:
            if number == len(pieces):
                continue
            raise UserError(f"{path}, line {number}: not JSON; was it edited? Remove the line or restore it.") from None
    return values


def _mend_tail(file: Any) -> None:
    """Complete or cut off a last line that has no end: a writer was killed there."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    start = _last_line_start(file, end)
    file.seek(start)
    try:
        json.loads(file.read())
        file.write(b"\n")
    except ValueError:
        file.truncate(start)
    file.seek(0, os.SEEK_END)


def _last_line_start(file: Any, end: int, block: int = 1 << 16) -> int:
    position = end
    while position > 0:
        step = min(block, position)
        position -= step
        file.seek(position)
        found = file.read(step).rfind(b"\n")
        if found >= 0:
            return int(position + found + 1)
    return 0
