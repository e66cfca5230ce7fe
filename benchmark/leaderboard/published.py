"""Numbers printed in papers, as strict data: the value, its printed digits, and its conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict

from benchmark.config import read_settings
from benchmark.units import size_of
from zoo.errors import UserError, nearest

Cost = Literal["params", "flops", "conv_memory"]
ConventionName = Literal["flops", "macs", "ptflops-2021"]
COSTS: tuple[Cost, ...] = get_args(Cost)


@dataclass(frozen=True)
class Printed:
    """A number with the digits that a paper shows."""

    text: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def decimals(self) -> int:
        """The number of digits after the decimal point."""
        return len(self.text.partition(".")[2])

    def agrees(self, ours: float, *, may_be_cut: bool = False) -> bool:
        """Return whether ``ours`` prints the same digits when it is rounded or, if ``may_be_cut``, cut off."""
        scale = 10.0**self.decimals
        cut = math.trunc(ours * scale) / scale
        return self.text in [f"{number:.{self.decimals}f}" for number in ([ours, cut] if may_be_cut else [ours])]


def _printed(value: Any) -> Printed | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value):
        return Printed(value)
    raise ValueError('expected a number in quotes with the digits as printed, for example "55.0"')


def _size(value: Any) -> tuple[int, int] | None:
    size = size_of(value) if isinstance(value, str) else None
    if size is None and value is not None:
        raise ValueError("expected HxW, for example 1536x2048")
    return size


# The validator handles None, so that errors name the key and not the members of a union.
MaybePrinted = Annotated[Printed | None, BeforeValidator(_printed)]
PlaneSize = Annotated[tuple[int, int], BeforeValidator(_size)]
MaybePlaneSize = Annotated[tuple[int, int] | None, BeforeValidator(_size)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CostColumn(_Part):
    """A column that is recomputed here; ``may_be_cut``: the paper sometimes cuts digits off instead of rounding."""

    title: str
    unit: str
    meaning: str
    may_be_cut: bool = False


class TimingColumn(_Part):
    """The column of CPU times; our times come from records that have the measurement ``id``."""

    id: str
    title: str
    unit: str
    meaning: str
    per_megapixel: bool


class QualityColumn(_Part):
    """A column of scores; our scores come from records of ``split`` that have the measurement ``metric``."""

    id: str
    title: str
    unit: str
    split: str
    metric: str


class PaperRow(_Part):
    """One network as a paper lists it. ``notes`` explain a cost; fields that the row leaves out come from the table."""

    name: str
    model: str
    starred: bool = False
    params: MaybePrinted
    flops: MaybePrinted
    flops_size: MaybePlaneSize = None
    flops_convention: ConventionName | None = None
    conv_memory: MaybePrinted
    conv_memory_size: MaybePlaneSize = None
    cpu_time: MaybePrinted
    quality: dict[str, MaybePrinted]
    notes: dict[Cost, str] = {}

    def is_own_reading(self, cost: Cost) -> bool:
        """Whether a cost is read at a size or in a convention of this row, which was chosen to give the printed one."""
        readings = {"flops": (self.flops_size, self.flops_convention), "conv_memory": (self.conv_memory_size,)}
        return any(reading is not None for reading in readings.get(cost, ()))


class PaperTable(_Part):
    """One table of a paper. ``size``: the size at which all networks are compared; ``reference``: the model that CPU
    times are compared with; ``flops_method``: the network's method whose FLOPs are printed."""

    id: str
    title: str
    dataset: str
    reference: str
    size: PlaneSize
    flops_convention: ConventionName
    flops_method: str
    costs: dict[Cost, CostColumn]
    timing: TimingColumn
    quality: list[QualityColumn]
    remarks: list[str] = []
    rows: list[PaperRow]

    @property
    def reference_row(self) -> PaperRow:
        """The row of the model that CPU times are compared with."""
        return next(row for row in self.rows if row.model == self.reference)

    def convention_of(self, row: PaperRow) -> ConventionName:
        """Return the convention in which the row's FLOPs are printed."""
        return row.flops_convention or self.flops_convention


class Publication(_Part):
    """One paper: the source of the numbers, what a reader of its tables must know, and the tables."""

    source: str
    arxiv: str
    remark: str
    tables: list[PaperTable]


def read_publication(path: str | Path) -> Publication:
    """Read one file of published numbers; raises UserError that names the file and the wrong key."""
    publication = read_settings(path, Publication)
    for number, table in enumerate(publication.tables):
        for problem in _problems(table):
            raise UserError(f"{path}: tables.{number} ({table.id}): {problem}")
    return publication


def _problems(table: PaperTable) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9-]+", table.id):
        yield "an id names a file; expected small letters, digits and hyphens."
    columns = [column.id for column in table.quality]
    for row in table.rows:
        for id in row.quality:
            if id not in columns:
                yield f"row '{row.name}': unknown quality column '{id}'{nearest(id, columns)}"
    if missing := [cost for cost in COSTS if cost not in table.costs]:
        yield f"costs: no column for {', '.join(missing)}."
    if table.reference not in [row.model for row in table.rows]:
        yield f"reference: no row has the model '{table.reference}'."


def read_published(folder: Path) -> dict[Path, Publication]:
    """Return the publication in every ``*.yaml`` of a folder, by file; raises UserError if two tables share an id."""
    publications = {path: read_publication(path) for path in sorted(folder.glob("*.yaml"))}
    ids = [table.id for publication in publications.values() for table in publication.tables]
    for id in ids:
        if ids.count(id) > 1:
            raise UserError(f"{folder}: two tables are called '{id}'; each writes a file of that name.")
    return publications
