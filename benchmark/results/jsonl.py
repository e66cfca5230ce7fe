"""Append-only files of JSON lines that stay intact under kill -9 and with several writers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.replacing import naming, replacing
from zoo.errors import UserError, printable
from zoo.inputs import regular_file

# References are kept here because a model's code may replace json's functions.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def append_line(path: Path, *values: Any) -> None:
    """Append each of ``values`` as one JSON line; they are on disk when this returns.

    An incomplete last line is removed. Writers in several processes take turns. Raises ValueError for NaN and
    infinities, DiskError if the file cannot be written.
    """
    lines = b"".join(to_json(value) + b"\n" for value in values)
    with naming(path), lock_of(path), path.open("a+b") as file:
        _mend_tail(file)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace the lines of a file, atomically; they are on disk when this returns."""
    with replacing(path) as partial, partial.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def to_json(value: Any) -> bytes:
    """Return strict JSON in UTF-8; lone surrogates, which UTF-8 cannot encode, become JSON escapes.

    Raises ValueError for NaN and infinities.
    """
    return _encode(value).encode(errors="backslashreplace")


def lock_of(path: Path) -> FileLock:
    """Return the lock that guards ``path``; a killed process releases it."""
    return FileLock(path.with_name(f".{path.name}.lock"))


@contextlib.contextmanager
def alone(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of ``path`` for the block; raises UserError with ``refusal`` while another process holds it."""
    try:
        lock = lock_of(path).acquire(timeout=0)
    except Timeout:
        raise UserError(refusal) from None
    with lock:
        yield


def read_lines(path: Path) -> list[Any]:
    """Return the values in ``path``; an incomplete last line is left out, a missing file counts as empty.

    Raises UserError naming file and line if an earlier line is not JSON, because a crash cannot cause that.
    """
    return [parse(line, path) for line in raw_lines(path)]


@dataclass(frozen=True)
class RawLine:
    """One line of a file, not parsed yet: its number (from 1), and the position where the next line begins."""

    text: bytes
    number: int
    end: int


def raw_lines(path: Path, start: int = 0) -> Iterator[RawLine]:
    """Yield the non-empty lines of ``path`` from byte ``start`` on; an incomplete last line is left out."""
    if not os.path.lexists(path):
        return
    with regular_file(path, "lines of JSON").open("rb") as file:
        file.seek(start)
        end = start
        for number, piece in enumerate(file, start=1):
            end += len(piece)
            text = piece.strip()
            if text and (piece.endswith(b"\n") or _is_json(text)):
                yield RawLine(text, number, end)


def parse(line: RawLine, path: Path) -> Any:
    """Return the value of a line; raises UserError naming file and line if it is not JSON."""
    try:
        return json.loads(line.text.decode())  # text, because json would first detect the encoding of bytes
    except (ValueError, RecursionError):
        raise UserError(
            f"{printable(path)}, line {line.number}: not JSON; was it edited? Remove the line or restore it."
        ) from None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _mend_tail(file: Any) -> None:
    """Complete or remove a last line without a line end, which a killed writer has left."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    content = file.read()
    start = content.rfind(b"\n") + 1
    if _is_json(content[start:]):
        file.write(b"\n")
    else:
        file.truncate(start)
    file.seek(0, os.SEEK_END)
