"""What is run in pieces: a network, and what is known about it besides its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Subject:
    """A network and what is known about it besides its code.

    ``multiple`` and ``least`` of the sides that it takes; ``global_ops`` by its card; ``label`` names it with all that
    decides its speed (None: not measured); ``trusted``: tests have shown its pieces to be exact, no check is needed.
    """

    network: nn.Module
    channels: int
    multiple: int = 1
    least: int = 1
    global_ops: Sequence[str] = ()
    label: str | None = None
    trusted: bool = False
