"""What the networks of a paper's table cost here, counted once for each state of the code that counts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmark.cache import cache_root
from benchmark.leaderboard.published import PaperRow, PaperTable
from benchmark.replacing import replace_text
from zoo.errors import DiskError
from zoo.identity import digest_of_code

_ROOT = Path(__file__).resolve().parents[2]
# What decides the counts, besides torch: the networks, the counter, and this file.
_CODE = ("zoo/**/*.py", "benchmark/counting/*.py", "benchmark/costs/*.py", "benchmark/leaderboard/row_costs.py")


@dataclass(frozen=True)
class PassCosts:
    """One forward pass of one image: multiply-accumulates, and bytes of float32."""

    macs: int
    conv_output_bytes: int
    peak_conv_bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class RowCosts:
    """What a row's network costs here: in the paper's terms, and at the size where all rows are compared.

    ``params`` and ``flops`` are numbers, ``conv_memory`` is in bytes. ``method_macs`` are the true MACs, at the
    common size, of the method whose FLOPs the paper prints. ``reconstruction`` and ``defaults``, every option's
    default, are the card's.
    """

    params: int
    flops: int
    conv_memory: int
    common: PassCosts
    method_macs: int
    reconstruction: bool
    defaults: Mapping[str, Any]

    def is_default(self, options: Mapping[str, Any]) -> bool:
        """Return whether ``options`` of a record, as JSON, are the model's defaults."""
        return all(name in self.defaults and self.defaults[name] == value for name, value in options.items())


def compute_costs(table: PaperTable, row: PaperRow) -> RowCosts:
    """Count one row's costs on the meta device; raises UserError for a model that is not registered."""
    # Only here: tables whose networks were counted before need no torch.
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
        # As they come back from the cache.
        defaults=json.loads(json.dumps(card.all_options({}))),
    )


@dataclass
class CountedRows:
    """Rows' costs, from the cache folder where they were counted by the same code and torch, else counted now."""

    _known: dict[str, RowCosts] = field(default_factory=dict)
    _new: bool = False

    @classmethod
    def open(cls) -> CountedRows:
        """Read what is known; a file that is damaged is as good as none."""
        try:
            lines = json.loads(_file().read_text(encoding="utf-8"))
            return cls({key: _row(value) for key, value in lines.items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def of(self, table: PaperTable, row: PaperRow) -> RowCosts:
        """Return one row's costs; raises UserError for a model that is not registered."""
        key = json.dumps(
            [row.model, table.size, row.flops_size, row.conv_memory_size, table.flops_method, table.convention_of(row)]
        )
        if key not in self._known:
            found = compute_costs(table, row)
            if not _ships(row.model):
                return found
            self._known[key], self._new = found, True
        return self._known[key]

    def close(self) -> None:
        """Write what was counted; a cache that cannot be written costs time and no more."""
        if not self._new:
            return
        file = _file()
        with contextlib.suppress(OSError, DiskError):
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_text(file, json.dumps({key: asdict(row) for key, row in self._known.items()}))


def _row(value: dict[str, Any]) -> RowCosts:
    return RowCosts(**{**value, "common": PassCosts(**value["common"])})


def _ships(model: str) -> bool:
    from zoo.card import get_card

    return get_card(model).is_builtin


def _file() -> Path:
    return cache_root() / "counts" / f"{_code_digest()}.json"


@functools.cache
def _code_digest() -> str:
    digest = hashlib.sha256(f"torch {metadata.version('torch')}".encode())
    for path in _sources():
        digest.update(f"{path.relative_to(_ROOT)} {digest_of_code(path.read_bytes())}\n".encode())
    return digest.hexdigest()[:20]


def _sources() -> Iterator[Path]:
    for pattern in _CODE:
        yield from sorted(_ROOT.glob(pattern))
