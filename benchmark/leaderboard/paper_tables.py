"""A paper's tables beside what this tool counts and measures: paper, ours, difference, and why they differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.costs.profiling import Size, meta_model
from benchmark.counting.conventions import CONVENTIONS
from benchmark.counting.trace import Trace, trace
from benchmark.leaderboard import Board, newest, to_markdown
from benchmark.leaderboard.published import (
    Cost,
    PaperRow,
    PaperTable,
    Printed,
    Publication,
    QualityColumn,
    read_published,
)
from benchmark.types import Evidence, Measurement, Result
from zoo.card import get_card
from zoo.errors import UserError

_DIVISORS = {"M": 1e6, "T": 1e12, "GiB": 2.0**30}
_MEGAPIXEL = 1024 * 1024
# Weights that may stand for a model, best first. Untrained networks have no quality, and a paper's number is
# no measurement.
_MEASURED: tuple[Evidence, ...] = ("official-weights", "trained", "weights-file", "parameter-free")
_NO_REASON = "No reason is known."


@dataclass(frozen=True)
class RowCosts:
    """What a row's network costs here: in the paper's terms, and at the size where all rows are compared.

    ``params`` and ``flops`` are numbers, ``conv_memory`` is in bytes. ``method_macs`` are the true MACs, at the
    common size, of the method whose FLOPs the paper prints.
    """

    params: int
    flops: int
    conv_memory: int
    common: Trace
    method_macs: int


def compute_costs(table: PaperTable, row: PaperRow) -> RowCosts:
    """Count one row's costs on the meta device; raises UserError for a model that is not registered."""
    card = get_card(row.model)
    model = meta_model(card, {})
    traces: dict[tuple[Size, str], Trace] = {}

    def traced(size: Size, method: str = "forward") -> Trace:
        if (size, method) not in traces:
            planes = torch.empty(1, card.input.channels, *size, device="meta")
            traces[size, method] = trace(model, planes, forward=getattr(model, method))
        return traces[size, method]

    method = table.flops_method
    return RowCosts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        flops=CONVENTIONS[table.convention_of(row)].count(traced(row.flops_size or table.size, method)),
        conv_memory=traced(row.conv_memory_size or table.size).conv_output_bytes,
        common=traced(table.size),
        method_macs=traced(table.size, method).macs,
    )


class _Footnotes:
    """Number texts in the order in which they are first used; the same text has one number."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def mark(self, text: str) -> str:
        return f"[^{self.texts.setdefault(text, len(self.texts) + 1)}]"

    def __str__(self) -> str:
        return "".join(f"[^{number}]: {text}\n" for text, number in self.texts.items())


def _name(row: PaperRow) -> str:
    return f"{row.name} \\*" if row.starred else row.name


def _model(row: PaperRow) -> str:
    return f"`{row.model}` †" if get_card(row.model).reconstruction else f"`{row.model}`"


def _size_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _params_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: _Footnotes) -> Board:
    rows = [_compared(table, row, "params", own, footnotes) for row, own in zip(table.rows, costs)]
    return _cost_board(table, "params", (), rows, ())


def _flops_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: _Footnotes) -> Board:
    """Return the FLOPs in the paper's terms, then the true counts of all rows at one size."""
    both = table.flops_method != "forward"
    at = _size_text(table.size)
    headers = ["size", "counted", f"MACs [T] at {at}", f"FLOPs [T] at {at}"]
    headers += [f"MACs [T] at {at}, both networks"] * both
    rows = []
    for row, own in zip(table.rows, costs):
        cells = _compared(table, row, "flops", own, footnotes)
        cells += [_size_text(row.flops_size or table.size), CONVENTIONS[table.convention_of(row)].short]
        cells += [f"{own.common.macs / 1e12:.3f}", f"{2 * own.common.macs / 1e12:.3f}"]
        rows.append(cells + [f"{own.method_macs / 1e12:.3f}"] * both)
    used = [CONVENTIONS[name] for name in dict.fromkeys(table.convention_of(row) for row in table.rows)]
    notes = [f"counted {convention.short}: {convention.definition}." for convention in used]
    notes.append(f"at {at}: one `forward` pass of one image, the same size for every row; FLOPs are 2 per MAC.")
    if both:
        notes.append(f"both networks: the method `{table.flops_method}`, which the paper's FLOPs mean.")
    return _cost_board(table, "flops", headers, rows, notes)


def _memory_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: _Footnotes) -> Board:
    """Return the paper's sum over all convolutions, and beside it what a machine needs."""
    at = _size_text(table.size)
    headers = ["size", *(f"{what} [GiB] at {at}" for what in ("same sum", "largest convolution", "peak activations"))]
    rows = []
    for row, own in zip(table.rows, costs):
        cells = _compared(table, row, "conv_memory", own, footnotes)
        sizes = (own.common.conv_output_bytes, own.common.peak_conv_bytes, own.common.peak_activation_bytes)
        cells.append(_size_text(row.conv_memory_size or table.size))
        rows.append([*cells, *(f"{size / 2**30:.2f}" for size in sizes)])
    notes = (
        f"at {at}: one `forward` pass of one image, the same size for every row, float32.",
        "largest convolution: input, filters and output of one; peak activations: the largest sum of live tensors, with"
        " the input and without the weights.",
    )
    return _cost_board(table, "conv_memory", headers, rows, notes)


def _cost_board(
    table: PaperTable, cost: Cost, more: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> Board:
    column = table.costs[cost]
    headers = ("row", "model", f"paper [{column.unit}]", f"zoo-bench [{column.unit}]", "difference", *more)
    agreement = f"✓: the same digits as printed{', rounded or cut off' if column.may_be_cut else ''}."
    texts = tuple(tuple(row) for row in rows)
    return Board(column.title, headers, texts, (f"paper: {column.meaning}.", agreement, *notes), ())


def _compared(table: PaperTable, row: PaperRow, cost: Cost, own: RowCosts, footnotes: _Footnotes) -> list[str]:
    """Return the first cells of a row: paper's value, ours with two more digits, difference, mark, footnote."""
    column = table.costs[cost]
    printed: Printed | None = getattr(row, cost)
    value = getattr(own, cost) / _DIVISORS[column.unit]
    agrees = printed is not None and printed.agrees(value, may_be_cut=column.may_be_cut)
    note = row.notes.get(cost) or (None if agrees or printed is None else _NO_REASON)
    mark = (" ✓" if agrees else "") + (footnotes.mark(note) if note else "")
    if printed is None:
        return [_name(row), _model(row), "-", f"{value:.2f}", f"-{mark}"]
    digits = printed.decimals + 2
    difference = f"{value - printed.value:+.{digits}f}{mark}"
    return [_name(row), _model(row), printed.text, f"{value:.{digits}f}", difference]


# By machine, threads and precision: the timed records by model.
# By machine, threads, precision and what runs the network: each is a column of its own.
Times = dict[tuple[str, int, str, str], dict[str, Result]]


def _time_board(table: PaperTable, results: Sequence[Result]) -> Board:
    unit = table.timing.unit
    reference = next(row for row in table.rows if row.model == table.reference)
    times = _times(table, results)
    letters = [f" {chr(ord('A') + index)}" for index in range(len(times))] if len(times) > 1 else [""]
    columns = {"paper": {row.model: (row.cpu_time.value, row.cpu_time.text) for row in table.rows if row.cpu_time}}
    for letter, found in zip(letters, times.values() or [{}]):
        timed = {model: seconds for model, result in found.items() if (seconds := _seconds(table, result))}
        columns[f"zoo-bench{letter}"] = {model: (seconds, _three_digits(seconds)) for model, seconds in timed.items()}
    headers = ["row", "model"]
    headers += [text for who in columns for text in (f"{who} [{unit}]", f"{who}: {reference.name} / row")]
    rows = []
    for row in table.rows:
        cells = [_name(row), _model(row)]
        for column in columns.values():
            value, text = column.get(row.model, (0.0, "-"))
            other, _ = column.get(table.reference, (0.0, "-"))
            cells += [text, _three_digits(other / value) if value and other else "-"]
        rows.append(tuple(cells))
    notes = [
        f"time: {table.timing.meaning}.",
        f"{reference.name} / row: how many times longer {reference.name} takes, within the column; times of two"
        " machines are never compared.",
        *(_machine_note(table, letter, found) for letter, found in zip(letters, times.values())),
        *([] if times else ["zoo-bench: not measured yet."]),
    ]
    return Board(table.timing.title, tuple(headers), tuple(rows), tuple(notes), ())


def _times(table: PaperTable, results: Iterable[Result]) -> Times:
    """Return the newest timing of each row's network with default options; ``results`` are oldest first."""
    times: Times = {}
    models = [row.model for row in table.rows]
    for result in results:
        timed = _seconds(table, result) is not None and result.spec.device == "cpu"
        if timed and result.model in models and _is_default(result):
            machine = (result.environment.machine, _threads(table, result), result.spec.precision, _runner(result))
            times.setdefault(machine, {})[result.model] = result
    return dict(sorted(times.items()))


def _is_default(result: Result) -> bool:
    card = get_card(result.model)
    try:
        return card.all_options(result.options) == card.all_options({})
    except UserError:
        return False  # an option of another version of the model


def _threads(table: PaperTable, result: Result) -> int:
    return result.measurements[table.timing.id].threads or result.environment.threads


def _seconds(table: PaperTable, result: Result) -> float | None:
    """Return a record's time in the column's unit; None without a time, or without the size it needs."""
    measurement = result.measurements.get(table.timing.id) if result.status == "ok" else None
    if measurement is None or not measurement.value or measurement.kind != "timing":
        return None
    seconds = float(measurement.value) / 1000
    if not table.timing.per_megapixel:
        return seconds
    shape = measurement.input_shape
    return seconds * _MEGAPIXEL / (shape[-1] * shape[-2]) if shape else None


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _machine_note(table: PaperTable, letter: str, found: Mapping[str, Result]) -> str:
    first = next(iter(found.values()))
    environment = first.environment
    shapes = sorted({_shape(result.measurements[table.timing.id]) for result in found.values()} - {""})
    at = f" at {', '.join(shapes)}" if shapes else ""
    return (
        f"zoo-bench{letter}: {environment.cpu}, {environment.cores} cores, {_threads(table, first)} threads,"
        f" torch {environment.torch}, {first.spec.precision}{_runner(first)}; median time of one image{at}."
    )


def _runner(result: Result) -> str:
    """Return the engine and the tiles, as they follow a precision; empty for torch on the whole image."""
    spec = result.spec
    engine = f", {spec.backend}" if spec.backend != "torch" else ""
    return engine + (f", tiles {spec.tile}" if spec.tile != "off" else "")


def _shape(measurement: Measurement) -> str:
    return "x".join(map(str, (measurement.input_shape or [])[1:]))


def _quality_board(table: PaperTable, results: Sequence[Result]) -> Board:
    headers = ["row", "model"]
    for column in table.quality:
        unit = f" [{column.unit}]" if column.unit else ""
        headers += [f"{column.title}{unit} ↑: paper", "zoo-bench"]
    rows = []
    for row in table.rows:
        best = {split: _best_record(table, row, split, results) for split in {c.split for c in table.quality}}
        cells = [_name(row), _model(row)]
        for column in table.quality:
            printed = row.quality.get(column.id)
            cells += [printed.text if printed else "-", _score(best[column.split], column, printed)]
        evidence = [f"{r.evidence} ({r.split}, {r.n} images)" for _, r in sorted(best.items()) if r]
        rows.append((*cells, "; ".join(evidence) or "-"))
    definitions = [f"{column.title}: zoo-bench shows `{column.metric}` on {column.split}." for column in table.quality]
    rule = (
        f"zoo-bench: only whole splits of the real `{table.dataset}`, never its stand-in, and never untrained weights;"
        " the evidence is the source of the weights."
    )
    board_notes = (rule, *definitions, *table.remarks)
    return Board("Quality", (*headers, "zoo-bench: evidence"), tuple(rows), board_notes, ())


def _best_record(table: PaperTable, row: PaperRow, split: str, results: Iterable[Result]) -> Result | None:
    """Return the record with the best evidence, the newest of equals; None if nothing was measured."""
    fitting = [
        result
        for result in results
        if (result.model, result.dataset, result.split) == (row.model, table.dataset, split)
        and result.status == "ok"
        and result.evidence in _MEASURED
        and result.spec.limit is None
        and not result.data.get("standin")
        and _is_default(result)
        and any(column.metric in result.measurements for column in table.quality if column.split == split)
    ]
    return min(reversed(fitting), key=lambda result: _MEASURED.index(result.evidence), default=None)


def _score(result: Result | None, column: QualityColumn, printed: Printed | None) -> str:
    measurement = result.measurements.get(column.metric) if result else None
    if measurement is None or measurement.value is None:
        return "-"
    return f"{float(measurement.value):.{printed.decimals if printed else 4}f}"


def _page(publication: Publication, table: PaperTable, source: str, results: Sequence[Result]) -> str:
    costs = [compute_costs(table, row) for row in table.rows]
    footnotes = _Footnotes()
    boards = [
        _params_board(table, costs, footnotes),
        _flops_board(table, costs, footnotes),
        _memory_board(table, costs, footnotes),
        _time_board(table, results),
        _quality_board(table, results),
    ]
    lead = (
        f"# {table.title}\n\n"
        f"{publication.source} (arXiv {publication.arxiv}).\n\n"
        f"Made by `zoo-bench leaderboard` from `published/{source}` and the records; do not edit. Columns marked"
        ' "paper" hold what the paper prints (evidence: published), copied and never measured here. Columns marked'
        ' "zoo-bench" are counted or measured by this tool. Sizes are height x width of the planes that a'
        f" network receives. {publication.remark}\n\n"
        "† reconstruction: no source gives all the layers of this network. \\* the paper's author took or estimated"
        " the values from another source.\n"
    )
    return "\n".join([lead, *(to_markdown(board) for board in boards), str(footnotes)])


def paper_pages(published_folder: Path, results: Iterable[Result]) -> dict[str, str]:
    """Return the Markdown page of every published table by file name; the same input gives the same bytes.

    Records that were edited by hand and those of approximate tiles are left out.
    """
    records = sorted(newest(r for r in results if r.is_fair), key=lambda result: result.created)
    pages = {}
    for path, publication in read_published(published_folder).items():
        for table in publication.tables:
            pages[f"{table.id}.md"] = _page(publication, table, path.name, records)
    if not pages:
        raise UserError(f"{published_folder}: no tables in *.yaml; expected files of published numbers.")
    return pages
