"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input; the message says what was wrong, what was expected and the next step.

    The command line prints the message on one line and exits with status 2.
    """


class BuildError(UserError):
    """A model whose build function fails; raised with the failure's own words."""


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


def in_one_line(error: BaseException, most: int = 200) -> str:
    """Return ``Class: message`` without line breaks, the message cut off after ``most`` characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``"; did you mean a, b?"`` for the closest known names, else a list of what is known."""
    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=count, cutoff=0.6)
    if matches:
        return f"; did you mean {', '.join(matches)}?"
    if not names:
        return "; there are none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known: {shown}"
