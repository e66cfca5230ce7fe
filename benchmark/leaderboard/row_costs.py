"""Costs of the networks in a paper's table, counted again only when the code that determines them changes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmark.cache import cache_root
from benchmark.leaderboard.published import PaperRow, PaperTable
from benchmark.replacing import replace_text
from zoo.errors import DiskError
from zoo.identity import digest_of_code

_ROOT = Path(__file__).resolve().parents[2]
# The code that determines the counts, besides torch: the networks, the counter, and this file.
_CODE = ("zoo/**/*.py", "benchmark/counting/*.py", "benchmark/costs/*.py", "benchmark/leaderboard/row_costs.py")


@dataclass(frozen=True)
class PassCosts:
    """One forward pass of one image: multiply-accumulates, and memory in bytes for float32."""

    macs: int
    conv_output_bytes: int
    peak_conv_bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class RowCosts:
    """The costs of a row's network: as the paper counts them, and at the size at which all rows are compared.

    ``params`` and ``flops`` are numbers, ``conv_memory`` is in bytes. ``method_macs`` are the true MACs, at the
    common size, of the method whose FLOPs the paper prints. ``reconstruction`` and ``defaults`` (the default of
    every option) come from the card.
    """

    params: int
    flops: int
    conv_memory: int
    common: PassCosts
    method_macs: int
    reconstruction: bool
    defaults: Mapping[str, Any]

    def is_default(self, options: Mapping[str, Any]) -> bool:
        """Return whether the ``options`` of a record, as JSON, are the model's defaults."""
        return all(name in self.defaults and self.defaults[name] == value for name, value in options.items())


_KNOWN = TypeAdapter(dict[str, RowCosts])


def compute_costs(table: PaperTable, row: PaperRow) -> RowCosts:
    """Count one row's costs on the meta device; raises UserError for a model that is not registered."""
    # Imported only here: tables whose networks were counted before need no torch.
    import torch

    from benchmark.costs.profiling import Size, meta_model
    from benchmark.counting.conventions import CONVENTIONS
    from benchmark.counting.trace import Trace, trace
    from zoo.card import get_card

    card = get_card(row.model)
    model = meta_model(card, {})
    traces: dict[tuple[Size, str], Trace] = {}

    def traced(size: Size, method: str = "forward") -> Trace:
        if (size, method) not in traces:
            planes = torch.empty(1, card.input.channels, *size, device="meta")
            traces[size, method] = trace(model, planes, forward=getattr(model, method))
        return traces[size, method]

    method, common = table.flops_method, traced(table.size)
    return RowCosts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        flops=CONVENTIONS[table.convention_of(row)].count(traced(row.flops_size or table.size, method)),
        conv_memory=traced(row.conv_memory_size or table.size).conv_output_bytes,
        common=PassCosts(common.macs, common.conv_output_bytes, common.peak_conv_bytes, common.peak_activation_bytes),
        method_macs=traced(table.size, method).macs,
        reconstruction=card.reconstruction,
        # The same form as when they are read from the cache.
        defaults=json.loads(json.dumps(card.all_options({}))),
    )


@contextlib.contextmanager
def counted_rows() -> Iterator[Callable[[PaperTable, PaperRow], RowCosts]]:
    """Give a function of a table and its row that returns the row's costs, from the cache if they were counted before.

    Only costs counted by the same code and torch are taken. New costs are written at the end. A cache that cannot be
    written only costs time, and a damaged cache is ignored. The function raises UserError for a model that is not
    registered.
    """
    file = cache_root() / "counts" / f"{_code_digest()}.json"
    known: dict[str, RowCosts] = {}
    with contextlib.suppress(OSError, ValueError):
        known = _KNOWN.validate_json(file.read_bytes())
    num_known = len(known)

    def costs_of(table: PaperTable, row: PaperRow) -> RowCosts:
        sizes = table.size, row.flops_size, row.conv_memory_size
        key = json.dumps([row.model, *sizes, table.flops_method, table.convention_of(row)])
        if key in known:
            return known[key]
        found = compute_costs(table, row)
        if _ships(row.model):
            known[key] = found
        return found

    yield costs_of
    if len(known) > num_known:
        with contextlib.suppress(OSError, DiskError):
            replace_text(file, _KNOWN.dump_json(known).decode())


def _ships(model: str) -> bool:
    from zoo.card import get_card

    return get_card(model).is_builtin


@functools.cache
def _code_digest() -> str:
    digest = hashlib.sha256(f"torch {metadata.version('torch')}".encode())
    for path in (path for pattern in _CODE for path in sorted(_ROOT.glob(pattern))):
        digest.update(f"{path.relative_to(_ROOT)} {digest_of_code(path.read_bytes())}\n".encode())
    return digest.hexdigest()[:20]
