"""The reason why a network does not run in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zoo.errors import UserError, in_one_line

Planned = TypeVar("Planned")


class InexactError(UserError):
    """Pieces of this network would differ from the whole image, or we cannot show beforehand that they are equal."""


def planned(what: str, make: Callable[[], Planned]) -> Planned:
    """Return the plan that ``make`` returns; raise InexactError if it fails, which is not a fault of the network.

    ``what``: the kind of pieces.
    """
    try:
        return make()
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise InexactError(f"zoo-bench cannot plan it in {what} ({in_one_line(error)})") from error
