"""What is run in pieces: a network, and what is known about it besides its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from benchmark.selection import Entry

Forward = Callable[[Tensor], Tensor]
"""Takes images or crops (N, C, H, W) and returns the network's output for them."""
Call = Callable[[], None]
"""A function that is called as the work makes progress."""


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Subject:
    """A network and what is known about it besides its code.

    It takes sides that are multiples of ``multiple`` and at least ``least``; ``global_ops`` is taken from its card;
    ``title`` is its name for the user. ``trusted``: tests have shown that its pieces are exact, so no check is needed.
    ``engine`` runs images and crops in place of the network, one call at a time.
    """

    network: nn.Module
    channels: int
    multiple: int = 1
    least: int = 1
    global_ops: Sequence[str] = ()
    title: str = ""
    trusted: bool = False
    engine: Forward | None = None
    # Its file in int8, which an engine reads.
    quantized: Path | None = None

    @property
    def forward(self) -> Forward:
        """What runs images and crops: the engine if there is one, else the network."""
        return self.engine or self.network

    def side(self, length: int, step: int | None = None) -> int:
        """Return the smallest side of at least ``length`` that the network takes, a multiple of ``step`` if given."""
        step = step or self.multiple
        return -(-max(length, self.least) // step) * step


def subject_of(entry: Entry, network: nn.Module, quantized: Path | None = None) -> Subject:
    """Return a registered model, built as ``network``, with what its card says; ``quantized`` is its file in int8."""
    spec = entry.card.input_for(entry.options)
    return Subject(
        network,
        spec.channels,
        spec.multiple,
        spec.min_size,
        tuple(entry.card.global_ops),
        title=entry.label,
        # The tests run every built-in model in tiles.
        trusted=entry.card.is_builtin,
        quantized=quantized,
    )
