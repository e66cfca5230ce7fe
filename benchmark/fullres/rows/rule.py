"""The parts of a rule: how one operator computes some rows of its output from some rows of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node


class Reader(Protocol):
    """The source of a rule's inputs."""

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows [first, last) of an image; the caller must not write into it unless ``owned``."""

    def whole(self, value: Any) -> Any:
        """Return the tensor of a node; any other value is returned unchanged."""

    def owned(self, node: Node) -> bool:
        """Return whether ``read`` gives a strip of the node that no other rule reads."""


Run = Callable[[Node, int, int, Reader], Tensor]
# Writes the rows into a given tensor, which saves a copy; returns whether it can, before it reads anything.
Write = Callable[[Node, int, int, Reader, Tensor], bool]


def is_channels_last(tensor: Tensor) -> bool:
    """Return whether the channels of each pixel lie together; torch's convolutions on CPUs are fastest with this."""
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class RowRule:
    """How rows are computed.

    ``cost``: "heavy" is computed once, "cheap" may be computed by each of its two readers, "free" only moves rows.
    ``images`` are the inputs read by rows, all others are needed whole. ``same_rows``: an output row needs the same
    input row. ``reads_once``: ``run`` asks for the same rows each time that it reads an image.
    """

    run: Run
    cost: Literal["free", "cheap", "heavy"] = "cheap"
    same_rows: bool = False
    reads_once: bool = True
    supports: Callable[[Node], bool] = lambda node: True
    images: Callable[[Node], list[Node]] = lambda node: [node.args[0]]
    write: Write = lambda node, first, last, reader, target: False
