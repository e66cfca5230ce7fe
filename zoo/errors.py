"""The exception for mistakes that a user can correct, its kinds, and text for its messages."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Iterable
from typing import Any

_SHOWN = 100


class UserError(Exception):
    """A mistake in the input; the message says what was wrong, what was expected and the next step.

    The command line prints the message on one line and exits with status 2.
    """


class BuildError(UserError):
    """A model whose build function fails; the message is that of the failure."""


class SizeError(UserError):
    """An image that a network cannot take."""


class OutputError(UserError, ValueError):
    """A network that returns anything but the one image that is asked of it."""


class DiskError(UserError):
    """A file that cannot be written, for instance on a full disk: it ends a run and is no failure of a model."""


class TileError(UserError):
    """Tiles that a network's output would suffer from, or that a memory limit has no room for."""


class EngineError(UserError):
    """A network that an inference engine or an export cannot take; the message names the operation."""


class _Short(reprlib.Repr):
    """A representation of bounded length, however large the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 3, _SHOWN, _SHOWN, _SHOWN
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 5

    def repr_int(self, x: int, level: int) -> str:
        """Return a whole number, or its size where it is too long for Python to write it out."""
        digits = x.bit_length() * 0.30103
        return f"<about {digits:.0f} digits>" if digits > self.maxlong else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        """Return the representation of an object, whose own code may fail."""
        try:
            return super().repr_instance(x, level)
        except Exception:
            return f"<{type(x).__name__}>"


def shown(value: Any) -> str:
    """Return ``repr(value)`` for a message: on one line, of about 100 characters, however large the value is."""
    text = _Short().repr(value)
    return text if len(text) <= _SHOWN + 20 else f"{text[:_SHOWN]}..."


def shortened(text: object, most: int = _SHOWN) -> str:
    """Return a user's text for a message: one line that can be printed, its middle left out beyond ``most`` signs."""
    line = str(text)
    if len(line) > most:
        line = f"{line[: most // 2]}...{line[-(most // 3) :]}"
    signs = (sign if sign.isprintable() or "\ud800" <= sign <= "\udfff" else " " for sign in line)
    return printable(" ".join("".join(signs).split()))


def printable(text: object) -> str:
    """Return a text that can be encoded: bytes of a file's name that are no UTF-8 become ``\\xff``."""
    try:
        return os.fsencode(str(text)).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return str(text).encode("utf-8", "backslashreplace").decode()


def words_of(error: BaseException, most: int = 300) -> str:
    """Return an exception's message on one line, cut off after ``most`` characters; its own code may fail."""
    try:
        text = str(error)[: 10 * most]
    except Exception:
        text = "its message cannot be read"
    return printable(" ".join(text.split())[:most])


def reason_of(error: BaseException, most: int = 200) -> str:
    """Return an exception's message as ``words_of`` does, or the name of its class where it has none."""
    return words_of(error, most) or type(error).__name__


def in_one_line(error: BaseException, most: int = 200) -> str:
    """Return ``Class: message`` without line breaks, the message cut off after ``most`` characters."""
    return f"{printable(type(error).__name__[:_SHOWN])}: {words_of(error, most)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the closest known names, else a list of what is known."""
    names = sorted(known)
    # The search takes time in proportion to the lengths of both names; no registered name is longer than this.
    matches = difflib.get_close_matches(name[:_SHOWN], names, n=3, cutoff=0.6)
    if matches:
        return f"; did you mean {', '.join(matches)}?"
    if not names:
        return "; there are none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known: {shown}"
