"""Write files so that a name never refers to half a file, and never replace a file that was read."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.errors import DiskError, UserError
from zoo.writing import whole_file

# The errors of a disk or a folder, and what a user can do about them.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_ADVICE = {
    **dict.fromkeys(_FULL, "Free some space, then give the same command again."),
    **dict.fromkeys(_REFUSED, "Name a place that you may write to."),
}


@contextlib.contextmanager
def naming(path: Path, flag: str = "") -> Iterator[None]:
    """Turn an error in writing ``path`` into a DiskError that names it (and the ``flag`` that asked for it).

    Errors about other files, and errors that do not come from the system, are not changed.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        if error.errno is None or not _is_about(error, path):
            raise
        where = f"{flag} {path}".strip()
        advice = _ADVICE.get(error.errno, "Name a file in a folder that you may write to.")
        raise DiskError(f"{where}: cannot be written ({error.strerror or error}). {advice}") from error


@contextlib.contextmanager
def replacing(path: Path, flag: str = "") -> Iterator[Path]:
    """Yield a temporary path for ``path``, as ``whole_file`` does; for a device such as /dev/stdout, ``path`` itself.

    Raises DiskError with ``path``, and ``flag`` if given, if it cannot be written, so that a full disk is never taken
    for a failure of the data.
    """
    with naming(path, flag):
        if _is_device(path):
            yield path
            return
        with whole_file(path) as partial:
            yield partial


def replace_text(path: Path, text: str, flag: str = "") -> None:
    """Write UTF-8 text atomically with its own line ends, and make its folder if there is none.

    Raises DiskError as ``replacing`` does.
    """
    with naming(path, flag):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, flag) as partial:
        partial.write_bytes(text.encode(errors="backslashreplace"))


def _is_about(error: OSError, path: Path) -> bool:
    """Return whether an error names no file, ``path``, its temporary file, or a folder above it."""
    if error.filename is None or isinstance(error.filename, int):
        return True
    found = Path(os.fsdecode(error.filename))
    beside = found.parent == path.parent and found.name.startswith(f".{path.name}.")
    return found == path or found in path.parents or beside


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_inputs(flag: str, outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise UserError with ``flag`` if one of ``outputs`` is also one of ``inputs``, under any name or link.

    Every command that writes to a given path checks this before any work. Paths that are None or missing are skipped.
    """
    there = {identity: path for path in outputs if (identity := _identity(path)) is not None}
    # A dataset has many files, and most commands write to a new path.
    for path in inputs if there else ():
        if (identity := _identity(path)) in there:
            output = there[identity]
            same = "" if os.fspath(output or "") == os.fspath(path or "") else f" ({output} is the same file)"
            raise UserError(f"{flag} would replace the input {path}{same}; name another one to write to.")


def _identity(path: str | Path | None) -> tuple[int, int] | None:
    """Return an identity that is the same for all names of one file; None if there is no file."""
    try:
        found = os.stat(path) if path is not None else None
    except (OSError, ValueError):
        return None
    return found and (found.st_dev, found.st_ino)
