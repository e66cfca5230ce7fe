"""A network in int8 as a file for ExecuTorch, which holds its ranges, so that other sizes can be made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmark.backends.capture import capture
from benchmark.backends.executorch import lower, to_pte
from benchmark.backends.placement import placement_of
from benchmark.backends.pt2e import Observed, ranges_text, stated_ranges
from benchmark.running.quantizing.method import Clipped, Method


class PteForm:
    """Writes and examines a network in int8 for ExecuTorch, at the size of ``planes``; first in float32 (``plain``)."""

    dynamic = False

    def __init__(self, network: nn.Module, planes: Tensor, plain: Path) -> None:
        self._network, self._planes = network, planes
        self._observed: dict[tuple[str, ...], Observed] = {}
        self._placements: dict[Path, dict[str, Any]] = {}
        plain.write_bytes(to_pte(lower(capture(network, [planes]))))

    def write(self, file: Path, planes: Iterable[Tensor], _: Method, in_float: Sequence[str]) -> None:
        """Write the file, with ranges from ``planes``; ``in_float`` are torch's names of operations, such as linear."""
        if (kept := tuple(in_float)) not in self._observed:
            self._observed[kept] = Observed(self._network, self._planes, in_float)
        observed = self._observed[kept]
        observed.forget()
        for one in planes:
            observed(one)
        lowered = lower(observed.quantised(), ranges_text(observed.ranges, in_float))
        self._placements[file] = placement_of(lowered)
        file.write_bytes(to_pte(lowered))

    def asked(self, in_float: Iterable[str]) -> set[str]:
        """Return the operations, which are called by their names."""
        return set(in_float)

    def others(self, asked: set[str]) -> dict[str, str]:
        """Return the operations in int8 that could be in float32 too."""
        operations = self._observed[tuple(sorted(asked))].operations()
        return dict(zip(operations, operations))

    def facts(self, file: Path) -> dict[str, Any]:
        """Return the operations in float32, and which XNNPACK and the portable kernels run."""
        return {"left_in_float": self._read(file).left_in_float(), "placement": self._placements[file]}

    def save(self, written: Path, target: Path, texts: Mapping[str, str]) -> None:
        """Write the file to its place with ``texts`` in it."""
        observed = self._read(written)
        metadata = {f"zoo_bench.{key}": text for key, text in texts.items()}
        metadata |= ranges_text(observed.ranges, stated_ranges(written)[1])
        target.write_bytes(to_pte(lower(observed.quantised(), metadata)))

    def named(self) -> str:
        """Return what writes the files, with its version."""
        return f"torchao {version('torchao')}"

    def _read(self, file: Path) -> Observed:
        """Return the network with the ranges of a file that was written."""
        ranges, in_float = stated_ranges(file)
        observed = self._observed[tuple(in_float)]
        observed.take(ranges)
        return observed

    def clipped(self, file: Path, planes: Iterable[Tensor]) -> dict[str, float]:
        """Return for each activation the share of its values for ``planes`` in float32 that its int8 range clips."""
        ranges, _ = stated_ranges(file)
        # A range in int8 holds 0.
        clipped = Clipped({name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ranges.items()})
        observed = self._read(file)
        observed.watch(lambda name, values: clipped.see(name, values.detach().numpy()))
        for one in planes:
            observed(one)
        return clipped.shares
