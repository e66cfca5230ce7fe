"""What a rule is: how one operator computes some rows of its output from some rows of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node


class Reader(Protocol):
    """Where a rule gets its inputs."""

    def read(self, node: Node, first: int, last: int) -> Tensor:
        """Return rows [first, last) of an image; the caller must not write into it unless ``owned``."""

    def whole(self, value: Any) -> Any:
        """Return the tensor of a node, or what is no node as it is."""

    def owned(self, node: Node) -> bool:
        """Whether what ``read`` returns for the node is a strip that nobody else reads."""


Run = Callable[[Node, int, int, Reader], Tensor]
# Writes the rows into a tensor of their shape, which saves a copy; returns whether it could, before it reads anything.
Write = Callable[[Node, int, int, Reader, Tensor], bool]


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of each pixel lie together, as torch's convolutions on processors like them best."""
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class RowRule:
    """How rows are computed.

    ``cost``: "heavy" is computed once, "cheap" may be computed by each of its two users, "free" moves rows only.
    ``images`` are the inputs read by rows, all others are needed whole. ``same_rows``: output rows need the same rows.
    """

    run: Run
    cost: Literal["free", "cheap", "heavy"] = "cheap"
    same_rows: bool = False
    supports: Callable[[Node], bool] = lambda node: True
    images: Callable[[Node], list[Node]] = lambda node: [node.args[0]]
    write: Write = lambda node, first, last, reader, target: False
