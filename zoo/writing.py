"""Write files so that an incomplete file never has its final name; ``benchmark.replacing`` adds error messages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Return the temporary path, beside ``path``, where this process writes the file until it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; the file replaces ``path`` if the block succeeds, else it is removed.

    The folder must exist. Two processes may write the same file at once: each has its own file, and the last one stays.
    """
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Write a folder's names to disk, so that after a power failure no name exists without its content."""
    if os.name == "posix":  # on other systems a folder cannot be opened, and a rename is durable without this
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
