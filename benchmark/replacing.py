"""Write files so that a name never stands for half a file: beside it first, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import DiskError

# What the disk or the folder says, and what a user can do about it.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_ADVICE = {
    **dict.fromkeys(_FULL, "Free some space, then give the same command again."),
    **dict.fromkeys(_REFUSED, "Name a place that you may write to."),
}


@contextlib.contextmanager
def naming(path: Path, flag: str = "") -> Iterator[None]:
    """Turn an error of writing ``path`` into a DiskError that names it (and the ``flag`` that asked for it).

    An error about a file elsewhere, and one that the system knows nothing of, are left as they are.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone
    except OSError as error:
        if error.errno is None or not _is_about(error, path):
            raise
        where = f"{flag} {path}".strip()
        advice = _ADVICE.get(error.errno, "Name a file in a folder that you may write to.")
        raise DiskError(f"{where}: cannot be written ({error.strerror or error}). {advice}") from error


@contextlib.contextmanager
def replacing(path: Path, flag: str = "") -> Iterator[Path]:
    """Give a path beside ``path`` to write to, which takes its place when the block ends well and goes when it fails.

    The folder must exist. Two processes may write the same file at once: each has its own, the last one stays. What is
    no file, such as /dev/stdout, is written to as it is. Raises DiskError naming ``path``, and ``flag`` if there is
    one, where it cannot be written: a full disk is never a failure of what is being written.
    """
    with naming(path, flag):
        if _is_device(path):
            yield path
            return
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def replace_text(path: Path, text: str, flag: str = "") -> None:
    """Write UTF-8 text with the line ends that it has, atomically; raises DiskError as ``replacing`` does."""
    with replacing(path, flag) as partial:
        partial.write_bytes(text.encode(errors="backslashreplace"))


def _is_about(error: OSError, path: Path) -> bool:
    """Whether an error names no file, ``path``, what stands for it while it is written, or a folder above it."""
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
