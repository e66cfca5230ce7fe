"""What is measured: a model and how it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres.network import TiledNetwork
from benchmark.placing import layout, place
from benchmark.record import Record
from benchmark.selection import Entry, entry_of

# While tiles are timed, the heap keeps freed pieces between live ones: 1.47 times what tiles and output take by
# counting, measured on unet_w8 at 1536x2048.
TILED_HEAP_FACTOR = 1.5


class Job(Record):
    """What is measured: a model with its options and weights, and how it runs."""

    model: str
    options: dict[str, Any] = {}
    weights: str | None = None
    seed: int = 0
    conditions: Conditions = Conditions()
    # Resident bytes of the measuring process: what "auto" chooses tiles for.
    memory_limit: int | None = None

    def entry(self) -> Entry:
        """Return the model with its options and weights."""
        return entry_of(self.model, self.weights, self.options)

    def network(self) -> nn.Module:
        """Build the network as its conditions say."""
        entry, conditions = self.entry(), self.conditions
        network = entry.build(seed=self.seed)
        if conditions.is_tiled:
            return TiledNetwork(entry, network, conditions, self.memory_limit, heap_factor=TILED_HEAP_FACTOR)
        return place(network, conditions)

    def planes(self, shape: Sequence[int]) -> Tensor:
        """Return uniform noise in [0, 1] of a shape (N, C, H, W), laid out as the network gets it."""
        generator = torch.Generator().manual_seed(self.seed)
        return layout(torch.rand(*shape, generator=generator), self.conditions)
