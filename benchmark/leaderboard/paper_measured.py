"""The columns of a paper's table that need records: CPU time by machine, and quality on the real data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.leaderboard.boards import Board
from benchmark.leaderboard.cells import Footnotes, letter, signs_beside
from benchmark.leaderboard.columns import size_text
from benchmark.leaderboard.published import PaperRow, PaperTable, Printed, QualityColumn
from benchmark.leaderboard.row_costs import RowCosts
from benchmark.types import Evidence, Measurement, Result, label_of
from benchmark.units import counted, three_digits

_MEGAPIXEL = 1024 * 1024
# Weights that may represent a model, best first. Untrained networks have no quality, and a number printed in a
# paper is not a measurement.
_MEASURED: tuple[Evidence, ...] = ("official-weights", "trained", "weights-file", "parameter-free")


def labels(row: PaperRow, own: RowCosts, label: str = "") -> list[str]:
    """Return the row's name in the paper and the name of the model here, with the label of its weights."""
    return [row.name + " \\*" * row.starred, f"`{label_of(row.model, {}, label)}`" + " †" * own.reconstruction]


@dataclass(frozen=True)
class Timed:
    """A record of the paper's timing: the time of one pass in ``seconds``, and ``value`` in the column's unit.

    ``flops`` are the FLOPs of the timed pass, or None if they were not counted at its size.
    """

    result: Result
    measurement: Measurement
    seconds: float
    value: float
    flops: float | None

    @property
    def threads(self) -> int:
        """How many threads ran the pass."""
        return self.measurement.threads or self.result.environment.threads


# Timings by machine, torch version, threads, precision and engine: each combination is a column of its own.
Times = dict[tuple[str, str, int, str, str], dict[str, Timed]]


def time_board(table: PaperTable, costs: Sequence[RowCosts], results: Sequence[Result]) -> Board:
    """Return the paper's times, and one column per machine, threads and precision; ``results`` oldest first."""
    unit = table.timing.unit
    reference = table.reference_row
    times = _times(table, costs, results)
    letters, footnotes = _letters(times), Footnotes()
    columns = {"paper": {row.model: (row.cpu_time.value, row.cpu_time.text) for row in table.rows if row.cpu_time}}
    for name, found in zip(letters, times.values() or [{}]):
        columns[f"zoo-bench{name}"] = {
            model: (one.value, three_digits(one.value) + signs_beside(one.measurement, footnotes))
            for model, one in found.items()
        }
    headers = ["row", "model"]
    headers += [text for who in columns for text in (f"{who} [{unit}]", f"{who}: {reference.name} / row")]
    rows = []
    for row, own in zip(table.rows, costs):
        cells = labels(row, own)
        for column in columns.values():
            value, text = column.get(row.model, (0.0, "-"))
            other, _ = column.get(table.reference, (0.0, "-"))
            cells += [text, _ratio(other, value)]
        rows.append(tuple(cells))
    notes = [
        f"time: {table.timing.meaning}.",
        f"{reference.name} / row: how many times longer {reference.name} takes, within the column; times of two"
        " machines are never compared.",
        *(_machine_note(name, found) for name, found in zip(letters, times.values())),
        *([] if times else ["zoo-bench: not measured yet."]),
        *footnotes.lines(),
    ]
    return Board(table.timing.title, tuple(headers), tuple(rows), tuple(notes))


def speed_boards(table: PaperTable, costs: Sequence[RowCosts], results: Sequence[Result]) -> list[Board]:
    """Return a board per machine: the achieved FLOPs per second, and the ratios of FLOPs beside those of times."""
    times = _times(table, costs, results)
    return [
        replace(board, title=f"{board.title}: zoo-bench{name}" if name else board.title)
        for name, found in zip(_letters(times), times.values())
        if any(one.flops for one in found.values())
        for board in [_speed_board(table, costs, found)]
    ]


def _letters(times: Times) -> list[str]:
    return [f" {letter(index)}" for index in range(len(times))] if len(times) > 1 else [""]


def _speed_board(table: PaperTable, costs: Sequence[RowCosts], found: Mapping[str, Timed]) -> Board:
    reference = table.reference_row
    ratios = [f"{who}{reference.name} / row: {what}" for who in ("", "paper: ") for what in ("FLOPs", "time")]
    headers = ("row", "model", "FLOPs [T]", "GFLOP/s", "of sgemm [%]", *ratios)
    other = found.get(table.reference)
    rows, footnotes = [], Footnotes()
    for row, own in zip(table.rows, costs):
        one = found.get(row.model)
        cells = ["-"] * 5
        if one and one.flops:
            share = one.result.measurements.get(table.timing.id.replace("latency_ms", "gemm_share"))
            cells = [three_digits(one.flops / 1e12), three_digits(one.flops / one.seconds / 1e9)]
            cells[1] += signs_beside(one.measurement, footnotes)
            cells.append(f"{100 * share.value:.0f}" if share and share.value else "-")
            cells.append(_ratio(other.flops if other else None, one.flops))
            cells.append(_ratio(other.seconds if other else None, one.seconds))
        cells.append(_ratio(_printed(reference.flops), _printed(row.flops)))
        cells.append(_ratio(_printed(reference.cpu_time), _printed(row.cpu_time)))
        rows.append((*labels(row, own), *cells))
    notes = (
        "GFLOP/s: FLOPs (2 per MAC) of one `forward` pass at the size that was timed, over the time; of sgemm: over"
        " the fastest float32 matrix product of this machine (torch.mm, or a 1x1 convolution), with the same threads.",
        f"{reference.name} / row: how many times more FLOPs and time {reference.name} takes, here and as printed.",
        *footnotes.lines(),
    )
    return Board(f"{table.timing.title} against FLOPs", headers, tuple(rows), notes)


def _printed(number: Printed | None) -> float | None:
    return number.value if number else None


def _ratio(reference: float | None, value: float | None) -> str:
    return three_digits(reference / value) if reference and value else "-"


def _times(table: PaperTable, costs: Sequence[RowCosts], results: Iterable[Result]) -> Times:
    """Return the newest timing of each row's network with default options; ``results`` are oldest first."""
    times: Times = {}
    known = {row.model: own for row, own in zip(table.rows, costs)}
    for result in results:
        timed = _timed(table, result)
        if timed and result.model in known and known[result.model].is_default(result.options):
            where, precision = result.environment, result.spec.conditions.precision
            machine = (where.machine, where.torch, timed.threads, precision, _runner(result))
            times.setdefault(machine, {})[result.model] = timed
    return dict(sorted(times.items()))


def _timed(table: PaperTable, result: Result) -> Timed | None:
    """Return the paper's timing from a record on the CPU; None if the record lacks the time or the required size."""
    one = result.measurements.get(table.timing.id) if result.status == "ok" else None
    if one is None or not one.value or one.kind != "timing" or result.spec.conditions.device != "cpu":
        return None
    seconds = value = float(one.value) / 1000
    if table.timing.per_megapixel:
        if not one.input_shape:
            return None
        value = seconds * _MEGAPIXEL / (one.input_shape[-1] * one.input_shape[-2])
    counted = result.measurements.get(table.timing.id.replace("latency_ms", "flops"))
    flops = counted.value if counted is not None and counted.input_shape == one.input_shape else None
    return Timed(result, one, seconds, value, float(flops) if flops else None)


def _machine_note(name: str, found: Mapping[str, Timed]) -> str:
    first = next(iter(found.values()))
    environment, precision = first.result.environment, first.result.spec.conditions.precision
    shapes = sorted({size_text(one.measurement) for one in found.values()} - {""})
    at = f" at {', '.join(shapes)}" if shapes else ""
    return (
        f"zoo-bench{name}: {environment.cpu}, {environment.cores} cores, {counted(first.threads, 'thread')},"
        f" torch {environment.torch}, {precision}{_runner(first.result)}; median time of one image{at}."
    )


def _runner(result: Result) -> str:
    """Return engine and tiles, to be written after the precision; empty for torch on the whole image."""
    how = result.spec.conditions.model_copy(update={"device": "cpu", "precision": "fp32"})
    return "".join(f", {word}" for word in how.words())


def quality_board(table: PaperTable, costs: Sequence[RowCosts], results: Sequence[Result]) -> Board:
    """Return the paper's quality beside ours on whole splits of the real data; ``results`` are oldest first."""
    headers = ["row", "model"]
    for column in table.quality:
        unit = f" [{column.unit}]" if column.unit else ""
        headers += [f"{column.title}{unit} ↑: paper", "zoo-bench"]
    rows = []
    for row, own in zip(table.rows, costs):
        found = {c.split: _measured(table, row, own, c.split, results) for c in table.quality}
        # Weights with labels have rows of their own.
        for label in sorted({result.label for some in found.values() for result in some}) or [""]:
            best = {split: _best(one for one in some if one.label == label) for split, some in found.items()}
            cells = labels(row, own, label)
            for column in table.quality:
                printed = row.quality.get(column.id)
                cells += [printed.text if printed else "-", _score(best[column.split], column, printed)]
            evidence = [f"{r.evidence} ({r.split}, {_images(r)})" for _, r in sorted(best.items()) if r]
            rows.append((*cells, "; ".join(evidence) or "-"))
    definitions = [f"{column.title}: zoo-bench shows `{column.metric}` on {column.split}." for column in table.quality]
    rule = (
        f"zoo-bench: only whole splits of the real `{table.dataset}`, never its stand-in, and never untrained weights;"
        " the evidence is the source of the weights, brackets hold the 95% interval over scenes."
    )
    board_notes = (rule, *definitions, *table.remarks)
    return Board("Quality", (*headers, "zoo-bench: evidence"), tuple(rows), board_notes)


def _measured(table: PaperTable, row: PaperRow, own: RowCosts, split: str, results: Iterable[Result]) -> list[Result]:
    """Return the records that may stand beside the paper's quality of a row, in the order of ``results``."""
    return [
        result
        for result in results
        if (result.model, result.dataset, result.split) == (row.model, table.dataset, split)
        and result.status == "ok"
        and result.evidence in _MEASURED
        and result.spec.limit is None
        and not result.data.get("standin")
        and not result.num_skipped
        and own.is_default(result.options)
        and any(column.metric in result.measurements for column in table.quality if column.split == split)
    ]


def _best(results: Iterable[Result]) -> Result | None:
    """Return the record with the best evidence (the newest of equals); ``results`` are oldest first."""
    return min(reversed(list(results)), key=lambda result: _MEASURED.index(result.evidence), default=None)


def _score(result: Result | None, column: QualityColumn, printed: Printed | None) -> str:
    measurement = result.measurements.get(column.metric) if result else None
    if measurement is None or measurement.value is None:
        return "-"
    decimals = printed.decimals if printed else 4
    text, bounds = f"{float(measurement.value):.{decimals}f}", (measurement.ci_low, measurement.ci_high)
    return f"{text} [{', '.join(f'{bound:.{decimals}f}' for bound in bounds if bound is not None)}]".removesuffix(" []")


def _images(result: Result) -> str:
    return f"{result.n} images" + (f", {result.num_scenes} scenes" if result.num_scenes else "")
