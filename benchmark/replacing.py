"""Write files so that a name never stands for half a file, and never replace a file that was read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.errors import UserError


def partial_of(path: Path) -> Path:
    """Return where this process writes ``path`` until it is whole: beside it, under a name of its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, which takes its place when the block ends well and goes when it fails.

    The folder must exist. Two processes may write the same file at once: each has its own, the last one stays.
    """
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def replace_text(path: Path, text: str) -> None:
    """Write UTF-8 text with the line ends that it has, atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def refuse_inputs(flag: str, outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise UserError, naming ``flag``, where one of ``outputs`` is one of ``inputs``, by whatever name or link.

    Every command that takes a path to write to asks this before any work. What is None or does not exist is skipped.
    """
    there = {identity: path for path in outputs if (identity := _identity(path)) is not None}
    # A data set has many files, and most commands write to a new place.
    for path in inputs if there else ():
        if (identity := _identity(path)) in there:
            output = there[identity]
            same = "" if os.fspath(output or "") == os.fspath(path or "") else f" ({output} is the same file)"
            raise UserError(f"{flag} would replace the input {path}{same}; name another one to write to.")


def _identity(path: str | Path | None) -> tuple[int, int] | None:
    """Return what all names of one file have in common; None where there is no file."""
    try:
        found = os.stat(path) if path is not None else None
    except (OSError, ValueError):
        return None
    return found and (found.st_dev, found.st_ino)
