"""Write files so that a name never stands for half a file: beside it first, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, which takes its place when the block ends well and goes when it fails.

    The folder must exist. Two processes may write the same file at once: each has its own, the last one stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def replace_text(path: Path, text: str) -> None:
    """Write UTF-8 text with the line ends that it has, atomically; names of files that are none become ``\\udcff``."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
