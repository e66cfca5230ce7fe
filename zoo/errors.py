"""The exception for mistakes that a user can correct, its subclasses, and texts for its messages."""

from __future__ import annotations

import difflib
import os
import reprlib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.identity import is_installed

_SHOWN = 100
# The packages whose code is not a user's.
_OURS = ("zoo", "benchmark")


class UserError(Exception):
    """A mistake in the input; the message says what was wrong, what was expected and the next step.

    The command line prints the message on one line and exits with status 2.
    """


class BuildError(UserError):
    """The build function of a model fails; the message is that of the failure."""


class SizeError(UserError):
    """A network cannot accept an image of this size."""


class OutputError(UserError, ValueError):
    """A network returns something other than the one expected image."""


class DiskError(UserError):
    """A file cannot be written, for example on a full disk: this ends a run and is not a failure of the model."""


class TileError(UserError):
    """Tiles would degrade a network's output, or do not fit in a memory limit."""


class EngineError(UserError):
    """An inference engine or an export cannot handle a network; the message names the operation."""


class _Short(reprlib.Repr):
    """A representation of limited length for values of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 3, _SHOWN, _SHOWN, _SHOWN
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 5

    def repr_int(self, x: int, level: int) -> str:
        """Return an integer, or its size if it is too long for Python to write."""
        digits = x.bit_length() * 0.30103
        return f"<about {digits:.0f} digits>" if digits > self.maxlong else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        """Return the representation of an object; the object's own code may fail."""
        try:
            return super().repr_instance(x, level)
        except Exception:
            return f"<{type(x).__name__}>"


def shown(value: Any) -> str:
    """Return ``repr(value)`` for a message: one line of about 100 characters for values of any size."""
    text = _Short().repr(value)
    return text if len(text) <= _SHOWN + 20 else f"{text[:_SHOWN]}..."


def shortened(text: object, most: int = _SHOWN) -> str:
    """Return a user's text as one printable line; if it has over ``most`` characters, its middle is left out."""
    line = str(text)
    if len(line) > most:
        line = f"{line[: most // 2]}...{line[-(most // 3) :]}"
    signs = (sign if sign.isprintable() or "\ud800" <= sign <= "\udfff" else " " for sign in line)
    return printable(" ".join("".join(signs).split()))


def printable(text: object) -> str:
    """Return a text that can be encoded: bytes of a file's name that are not UTF-8 become ``\\xff``."""
    try:
        return os.fsencode(str(text)).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return str(text).encode("utf-8", "backslashreplace").decode()


def words_of(error: BaseException, most: int = 300) -> str:
    """Return an exception's message on one line, cut off after ``most`` characters; the exception's code may fail."""
    try:
        text = str(error)[: 10 * most]
    except Exception:
        text = "its message cannot be read"
    return printable(" ".join(text.split())[:most])


def reason_of(error: BaseException, most: int = 200) -> str:
    """Return an exception's message like ``words_of``, or the name of its class if it has no message."""
    return words_of(error, most) or type(error).__name__


def in_one_line(error: BaseException, most: int = 200) -> str:
    """Return ``Class: message`` without line breaks, the message cut off after ``most`` characters."""
    return f"{printable(type(error).__name__[:_SHOWN])}: {words_of(error, most)}"


def with_place(error: BaseException, most: int = 200) -> str:
    """Return ``in_one_line`` and, if a user's code failed, its place: "KeyError: 'x' (my_isp.py, line 12)"."""
    return f"{in_one_line(error, most)}{place_of(error)}"


def line_of(error: BaseException) -> str | None:
    """Return the last line of a user's code that an exception came through, as "my_isp.py, line 12"; None if none."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS
    ]
    # Names such as <frozen importlib> are of no file.
    own = [(file, line) for file, line in frames if file[:1] != "<" and not is_installed(Path(file))]
    return f"{shortened(Path(own[-1][0]).name)}, line {own[-1][1]}" if own else None


def place_of(error: BaseException) -> str:
    """Return ``line_of`` in parentheses after a space, or nothing."""
    line = line_of(error)
    return f" ({line})" if line else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the closest known names, else a list of the known names."""
    names = sorted(known)
    # The search time grows with the lengths of both names; no registered name is longer than this.
    matches = difflib.get_close_matches(name[:_SHOWN], names, n=3, cutoff=0.6)
    if matches:
        return f"; did you mean {', '.join(matches)}?"
    if not names:
        return "; there are none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known: {shown}"
