"""Check files that a user names; pipes and devices are not opened, because reading could block or never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from zoo.errors import UserError, shortened

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: str | Path, expected: str, flag: str = "") -> Path:
    """Return ``path`` if it is a regular file or a link to one.

    Raises UserError, which begins with ``flag`` and says what was ``expected``, if it does not exist or is a folder, a
    pipe, a socket or a device: reading these could block or never end.
    """
    place = f"{flag}: " if flag else ""
    name = shortened(path, 400)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UserError(f"{place}no file at {name}; expected {expected}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{place}{name} cannot be read ({reason}); expected {expected}.") from None
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        advice = "" if kind == stat.S_IFDIR else " Write its content into a file first."
        raise UserError(f"{place}{name} is {_KINDS.get(kind, 'no file')}; expected {expected}.{advice}")
    return Path(path)


def refuse_endless(path: str | Path) -> None:
    """Raise OSError for a pipe, a socket or a device: reading these could block or never end."""
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}, no file", str(path))
