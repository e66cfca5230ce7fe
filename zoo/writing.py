"""Write files so that a name never stands for half a file; ``benchmark.replacing`` adds the messages for users."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Return where this process writes ``path`` until it is whole: beside it, under a name of its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
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


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk: after a power cut a name must not outlive its content."""
    if os.name == "posix":  # elsewhere a folder cannot be opened, and a rename is durable by itself
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
