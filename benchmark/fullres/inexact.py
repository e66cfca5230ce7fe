"""The reason why a network does not go in pieces."""

from __future__ import annotations

from zoo.errors import UserError


class InexactError(UserError):
    """Pieces of this network would differ from the whole image, or nobody can show beforehand that they do not."""
