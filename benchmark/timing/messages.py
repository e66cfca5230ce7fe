"""The request to the measuring process, and the messages that it sends while it measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.measured import PassMemory, Prepared, Timing
from benchmark.placing import layout, place
from benchmark.record import Record
from benchmark.selection import Entry, entry_of

# While tiles are timed, the heap keeps freed blocks between those in use: 1.47 times the counted memory of tiles and
# output, measured on unet_w8 at 1536x2048.
TILED_HEAP_FACTOR = 1.5


class Job(Record):
    """What is measured: a model with its options and weights, and how it runs."""

    model: str
    options: dict[str, Any] = {}
    weights: str | None = None
    seed: int = 0
    conditions: Conditions = Conditions()
    # The limit on the resident bytes of the measuring process; "auto" chooses tiles for it.
    memory_limit: int | None = None

    def entry(self) -> Entry:
        """Return the model with its options and weights."""
        return entry_of(self.model, self.weights, self.options)

    def network(self) -> nn.Module:
        """Build the network as its conditions say."""
        entry, conditions = self.entry(), self.conditions
        network = entry.build(seed=self.seed)
        if conditions.is_tiled:
            subject = subject_of(entry, network)
            return FullNetwork(subject, conditions, self.memory_limit, heap_factor=TILED_HEAP_FACTOR)
        return place(network, conditions, entry.quantized_file(conditions))

    def planes(self, shape: Sequence[int]) -> Tensor:
        """Return uniform noise in [0, 1] of a shape (N, C, H, W), in the memory layout that the network expects."""
        generator = torch.Generator().manual_seed(self.seed)
        return layout(torch.rand(*shape, generator=generator), self.conditions)


class Request(Record):
    """What a child measures, and the shapes (N, C, H, W) by the names of sizes.

    ``budgets`` are seconds of timing by size (None or missing: the usual seconds); a first pass of more than
    ``cold_after`` seconds (None: the budget) is not repeated. ``own_process``: the child may set for good how its
    process handles freed memory.
    """

    job: Job
    sizes: dict[str, list[int]]
    budgets: dict[str, float | None] = {}
    cold_after: float | None = None
    own_process: bool = True


class SizeEvent(Record):
    """A message about one size; this class by itself says that the child has begun that size."""

    size: str


class PreparedAt(SizeEvent):
    """Tiles are chosen, and an engine has compiled."""

    prepared: Prepared


class MemoryAt(SizeEvent):
    """The memory of a pass is measured."""

    memory: PassMemory


class WarmUpAt(SizeEvent):
    """One pass of the warm-up, in ms."""

    warm_up_ms: float


class PairAt(SizeEvent):
    """One pass of the network, one of the calibration kernel, and with several threads one exchange, in ms."""

    latency_ms: float
    calibration_ms: float
    exchange_ms: float | None = None


class TimedAt(SizeEvent):
    """The timing is complete."""

    timing: Timing


class Reply(Record):
    """All measured values by the names of sizes; the parent has already received them one by one."""

    prepared: dict[str, Prepared]
    memory: dict[str, PassMemory]
    timing: dict[str, Timing]
