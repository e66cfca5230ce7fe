"""Records to tables: Markdown that people read, with units and definitions in the headers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.selection import label_of
from benchmark.types import Environment, Measurement, Result
from zoo.errors import UserError

ARROWS = {True: "↑", False: "↓", None: ""}


@dataclass(frozen=True)
class Column:
    """One measurement in a table: which, under what header, how formatted."""

    id: str
    title: str
    show: Callable[[float], str]


def _scaled(divisor: float, digits: int) -> Callable[[float], str]:
    return lambda value: f"{value / divisor:.{digits}f}"


def _significant(divisor: float) -> Callable[[float], str]:
    def show(value: float) -> str:
        scaled = value / divisor
        if scaled == 0:
            return "0"
        return f"{scaled:.{max(0, 2 - math.floor(math.log10(abs(scaled))))}f}"

    return show


_SCORE_DIGITS = {"dB": 2}
_COSTS = (
    Column("params", "params [M]", _significant(1e6)),
    Column("macs", "MACs [G]", _significant(1e9)),
    Column("flops@12mp", "FLOPs [T]", _significant(1e12)),
    Column("conv_output_bytes@12mp", "conv outputs [GiB]", _scaled(2**30, 2)),
    Column("peak_activation_bytes@12mp", "peak activations [GiB]", _scaled(2**30, 2)),
    Column("flops@fullscale", "FLOPs [T]", _significant(1e12)),
    Column("conv_output_bytes@fullscale", "conv outputs [GiB]", _scaled(2**30, 2)),
    Column("peak_activation_bytes@fullscale", "peak activations [GiB]", _scaled(2**30, 2)),
)
_TIMES = (
    Column("latency_ms", "CPU time [ms]", _significant(1)),
    Column("relative_latency", "x calibration", _significant(1)),
    Column("ms_per_mpix@1mpix", "ms/MPix", _significant(1)),
    Column("latency_ms@12mp", "CPU time [s]", _significant(1000)),
    Column("ceiling_share@12mp", "of ceilings [%]", _scaled(0.01, 0)),
    Column("peak_rss_bytes@12mp", "memory added [GiB]", _scaled(2**30, 2)),
    Column("latency_ms@fullscale", "CPU time [s]", _significant(1000)),
)
# Signs beside a timing; what they mean stands under the table.
TAINTED, REMARKED = "†", "‡"


@dataclass(frozen=True)
class Board:
    """A table ready to be shown: headers, rows of text, and what stands around it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    definitions: tuple[str, ...]
    best: frozenset[tuple[int, int]] = frozenset()


def newest(results: Iterable[Result]) -> list[Result]:
    """Return the newest record of each key; a later line of the store replaces an earlier one."""
    return list({result.key: result for result in results}.values())


def boards(results: Iterable[Result], dataset: str) -> list[Board]:
    """Return the tables of one dataset: one of quality per set of images, then one of costs alone.

    Rows are comparable within a table: the same images, protocol and metric versions.
    """
    records = [result for result in newest(results) if result.dataset == dataset]
    scored: dict[tuple[object, ...], list[Result]] = {}
    costs = []
    for result in records:
        if _main_score(result) is not None:
            scored.setdefault(_images(result), []).append(result)
        else:
            costs.append(result)
    tables = [_quality_board(group) for _, group in sorted(scored.items(), key=lambda item: str(item[0]))]
    shown = {row_name(result) for group in scored.values() for result in group}
    left = [r for r in costs if row_name(r) not in shown or r.status != "ok"]
    if left:
        tables.append(_cost_board(_one_per_model(left)))
    return tables


def _images(result: Result) -> tuple[object, ...]:
    versions = sorted((id, m.version) for id, m in result.measurements.items() if m.kind == "score")
    spec = result.spec
    return (result.split, result.n, spec.dataset_digest, spec.protocol, spec.scoring, tuple(versions))


def row_name(result: Result) -> str:
    """Return model and options, with the conditions where they are not the usual ones."""
    spec = result.spec
    unusual = [spec.device] if spec.device != "cpu" else []
    unusual += [spec.precision] if spec.precision not in ("fp32", "float32") else []
    unusual += ["channels last"] if spec.channels_last else []
    unusual += [spec.backend] if spec.backend != "torch" else []
    return ", ".join([label_of(result.model, result.options), *unusual])


def _one_per_model(results: Sequence[Result]) -> list[Result]:
    """Keep one row per model and options: a run on the data before a row of costs, the newest before older."""
    best: dict[str, Result] = {}
    for result in results:
        label = row_name(result)
        if label not in best or result.n >= best[label].n or result.status != "ok":
            best[label] = result
    return list(best.values())


def _score_ids(results: Sequence[Result]) -> list[str]:
    ids = [id for result in results for id, m in result.measurements.items() if m.kind == "score"]
    return list(dict.fromkeys(ids))


def _main_score(result: Result) -> float | None:
    if result.status != "ok":
        return None
    for measurement in result.measurements.values():
        if measurement.kind == "score":
            return -math.inf if measurement.value is None else float(measurement.value)
    return None


def _quality_board(group: Sequence[Result]) -> Board:
    ids = _score_ids(group)
    first = group[0]
    higher = first.measurements[ids[0]].higher_is_better
    sign = -1 if higher else 1
    rows = sorted(group, key=lambda r: (sign * (_main_score(r) or 0), row_name(r)))
    scores = tuple(_score_column(first.measurements[id], id) for id in ids)
    columns = (*scores, *_present((*_COSTS, *_TIMES), rows))
    title = f"{first.dataset}, {first.split}: {first.n} images"
    return _board(title, rows, columns, _notes(rows))


def _cost_board(results: Sequence[Result]) -> Board:
    flops = "flops@12mp" if any("flops@12mp" in r.measurements for r in results) else "flops@fullscale"
    rows = sorted(results, key=lambda r: (_value(r, flops), row_name(r)))
    columns = _present((*_COSTS, *_TIMES), rows)
    title = f"{rows[0].dataset}: costs of models without a quality score"
    lead = "No quality is shown for untrained weights; their costs do not depend on training."
    return _board(title, rows, columns, (lead, *_notes(rows)))


def _present(columns: Sequence[Column], rows: Sequence[Result]) -> tuple[Column, ...]:
    """Return the columns that any row has a value for."""
    return tuple(column for column in columns if any(column.id in row.measurements for row in rows))


def _value(result: Result, id: str) -> float:
    measurement = result.measurements.get(id)
    return math.inf if measurement is None or measurement.value is None else float(measurement.value)


def _score_column(measurement: Measurement, id: str) -> Column:
    digits = _SCORE_DIGITS.get(measurement.unit, 4)
    unit = f" [{measurement.unit}]" if measurement.unit else ""
    return Column(id, f"`{id}`{unit} {ARROWS[measurement.higher_is_better]}", _scaled(1, digits))


def _board(title: str, rows: Sequence[Result], columns: Sequence[Column], notes: Sequence[str]) -> Board:
    machines = _machines(rows)
    headers = ("model", "evidence", *(_header(column, rows) for column in columns))
    texts = []
    for result in rows:
        cells = [_cell(result, column, machines, len(_shapes(column, rows)) > 1) for column in columns]
        state = _evidence(result) if result.status == "ok" else f"{_evidence(result)}, {result.status}"
        texts.append((row_name(result), state, *cells))
    return Board(title, headers, tuple(texts), tuple(notes), _definitions(rows, columns), _best(rows, columns))


def _evidence(result: Result) -> str:
    """Return the evidence; recipes and files are named, so that a score can be traced."""
    if result.weights is None:
        return result.evidence
    recipe = result.weights.get("recipe")
    return f"{result.evidence} ({recipe or result.weights['sha256'][:8]})"


def _header(column: Column, rows: Sequence[Result]) -> str:
    """Return title, unit, input size where it matters, and the arrow."""
    if column.id in _score_ids(rows):
        return column.title
    shapes = _shapes(column, rows)
    where = f" at {shapes[0]}" if len(shapes) == 1 else ""
    measured = [r.measurements[column.id] for r in rows if column.id in r.measurements]
    return f"{column.title}{where} {ARROWS[measured[0].higher_is_better]}"


def _shapes(column: Column, rows: Sequence[Result]) -> list[str]:
    """Return the input shapes at which a column was measured, as CxHxW."""
    found = {_shape_text(r.measurements[column.id]) for r in rows if column.id in r.measurements}
    return sorted(found - {""})


def _shape_text(measurement: Measurement) -> str:
    return "x".join(map(str, (measurement.input_shape or [])[1:]))


def _cell(result: Result, column: Column, machines: Mapping[str, str], show_shape: bool) -> str:
    measurement = result.measurements.get(column.id)
    if measurement is None:
        return "-"
    if measurement.value is None:
        return f"-{REMARKED}" if measurement.remark else "-"
    text = column.show(float(measurement.value))
    if measurement.kind == "timing":
        if measurement.q1 is not None and measurement.q3 is not None and measurement.n != 1:
            text += f" ({column.show(measurement.q1)}-{column.show(measurement.q3)})"
        text += TAINTED if measurement.tainted else ""
        text += REMARKED if measurement.remark else ""
        if len(machines) > 1:
            text += f" {machines[_machine_key(result.environment)]}"
    return f"{text} at {_shape_text(measurement)}" if show_shape else text


def _best(rows: Sequence[Result], columns: Sequence[Column]) -> frozenset[tuple[int, int]]:
    """Return (row, column) of the best value in each column; timings of several machines have none."""
    best = set()
    several = len(_machines(rows)) > 1
    for index, column in enumerate(columns):
        found = [(row, r.measurements[column.id]) for row, r in enumerate(rows) if column.id in r.measurements]
        found = [(row, m) for row, m in found if m.value is not None]
        if len(found) < 2 or (several and found[0][1].kind == "timing"):
            continue
        pick = max if found[0][1].higher_is_better else min
        value = pick(float(m.value) for _, m in found if m.value is not None)
        best |= {(row, index + 2) for row, m in found if m.value == value}
    return frozenset(best)


def _machine_key(environment: Environment) -> str:
    return f"{environment.machine}/{environment.threads}"


def _machines(rows: Sequence[Result]) -> dict[str, str]:
    """Return a letter per machine and thread count that timed something, in a stable order."""
    timed = [r for r in rows if any(m.kind == "timing" for m in r.measurements.values())]
    keys = sorted({_machine_key(r.environment) for r in timed})
    return {key: chr(ord("A") + index) for index, key in enumerate(keys)}


def _definitions(rows: Sequence[Result], columns: Sequence[Column]) -> tuple[str, ...]:
    texts = []
    for column in columns:
        found = {r.measurements[column.id].definition: None for r in rows if column.id in r.measurements}
        texts += [f"`{column.id}`: {definition}." for definition in found]
    return tuple(texts)


def _notes(rows: Sequence[Result]) -> list[str]:
    notes = []
    data = rows[0].data
    if data.get("standin"):
        notes.append(
            f"**Stand-in data**: made from photographs by generator {data.get('generator')}"
            f" (sources {str(data.get('sources'))[:12]}); its scores say nothing about the real dataset."
        )
    letters = _machines(rows)
    by_key = {_machine_key(r.environment): r.environment for r in rows}
    for key, letter in letters.items():
        machine = by_key[key]
        mark = f"{letter} = " if len(letters) > 1 else ""
        notes.append(
            f"Machine of the timings: {mark}{machine.cpu}, {machine.cores} cores, {machine.threads} threads,"
            f" torch {machine.torch}; median and quartiles."
        )
    for result in rows:
        label = row_name(result)
        if result.error:
            notes.append(f"{label}: {result.status}: {result.error}")
        notes += [f"{label}: {note}" for note in result.notes]
        notes += [f"{label}: {text}" for text in _timing_remarks(result)]
    return notes


def _timing_remarks(result: Result) -> list[str]:
    """Return what the signs beside a record's timings mean; what stands in its notes is not said again."""
    texts: dict[str, None] = {}
    for measurement in result.measurements.values():
        where = f"time at {_shape_text(measurement)}"
        for reason in measurement.tainted or ():
            texts[f"{TAINTED} {where} on a disturbed machine: {reason}"] = None
        if measurement.remark and measurement.value is not None:
            texts[f"{REMARKED} {where}: {measurement.remark}"] = None
    return list(texts)


def to_markdown(board: Board) -> str:
    """Return a table as Markdown, the best value of each column in bold."""
    rows = [
        [f"**{cell}**" if (y, x) in board.best else cell for x, cell in enumerate(row)]
        for y, row in enumerate(board.rows)
    ]
    frame = pd.DataFrame(rows, columns=list(board.headers))
    align = ("left", "left", *("right" for _ in board.headers[2:]))
    table = frame.to_markdown(index=False, colalign=align, disable_numparse=True)
    notes = "\n".join(f"- {note}" for note in board.notes)
    return f"## {board.title}\n\n{table}\n\n{notes}\n"


def page(results: Iterable[Result], dataset: str) -> str:
    """Return the Markdown page of one dataset; the same records give the same bytes."""
    lead = (
        f"# Leaderboard: {dataset}\n\n"
        "Made by `zoo-bench leaderboard` from the records beside it; do not edit. Arrows show which way is better,"
        " bold marks the best value of a column.\n"
    )
    tables = boards(results, dataset)
    definitions = dict.fromkeys(text for board in tables for text in board.definitions)
    last = "## Definitions\n\n" + "".join(f"- {text}\n" for text in definitions)
    return "\n".join([lead, *(to_markdown(board) for board in tables), last])


def write_pages(results: Sequence[Result], out: Path) -> list[Path]:
    """Write one page per dataset into ``out``, each atomically; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in sorted({result.dataset for result in results}):
        path = out / f"{dataset}.md"
        temporary = path.with_suffix(".part")
        temporary.write_text(page(results, dataset), encoding="utf-8")
        os.replace(temporary, path)
        paths.append(path)
    return paths


def stale_pages(results: Sequence[Result], out: Path) -> list[Path]:
    """Return the pages in ``out`` that differ from what the records give, or are missing."""
    stale = []
    for dataset in sorted({result.dataset for result in results}):
        path = out / f"{dataset}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != page(results, dataset):
            stale.append(path)
    if not results:
        raise UserError("leaderboard: no records; run `zoo-bench run` first or name a folder with --results.")
    return stale
