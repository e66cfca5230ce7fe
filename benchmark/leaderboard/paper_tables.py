"""A paper's tables beside what this tool counts and measures: paper, ours, difference, and the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.counting.conventions import CONVENTIONS
from benchmark.leaderboard import Board, rows_of, to_markdown
from benchmark.leaderboard.cells import Footnotes
from benchmark.leaderboard.paper_measured import labels, quality_board, speed_boards, time_board
from benchmark.leaderboard.published import Cost, PaperRow, PaperTable, Printed, Publication, read_published
from benchmark.leaderboard.row_costs import RowCosts, counted_rows
from benchmark.types import Result
from benchmark.units import GIB, shape_text
from zoo.errors import UserError

_DIVISORS = {"M": 1e6, "T": 1e12, "GiB": 2.0**30}
_NO_REASON = "No reason is known."
# Signs of digits that are those of the paper; a network or a reading that was chosen by them is fitted.
_AGREES, _FITTED = "✓", "≈"


def _params_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: Footnotes) -> Board:
    rows = [_compared(table, row, "params", own, footnotes) for row, own in zip(table.rows, costs)]
    return _cost_board(table, "params", (), rows, ())


def _flops_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: Footnotes) -> Board:
    """Return the FLOPs as the paper counts them, then the true counts of all rows at one size."""
    both = table.flops_method != "forward"
    at = shape_text(table.size)
    headers = ["size", "counted", f"MACs [T] at {at}", f"FLOPs [T] at {at}"]
    headers += [f"MACs [T] at {at}, both networks"] * both
    rows = []
    for row, own in zip(table.rows, costs):
        cells = _compared(table, row, "flops", own, footnotes)
        cells += [shape_text(row.flops_size or table.size), CONVENTIONS[table.convention_of(row)].short]
        cells += [f"{own.common.macs / 1e12:.3f}", f"{2 * own.common.macs / 1e12:.3f}"]
        rows.append(cells + [f"{own.method_macs / 1e12:.3f}"] * both)
    used = [CONVENTIONS[name] for name in dict.fromkeys(table.convention_of(row) for row in table.rows)]
    notes = [f"counted {convention.short}: {convention.definition}." for convention in used]
    notes.append(f"at {at}: one `forward` pass of one image, the same size for every row; FLOPs are 2 per MAC.")
    if both:
        notes.append(f"both networks: the method `{table.flops_method}`, which the paper's FLOPs mean.")
    return _cost_board(table, "flops", headers, rows, notes)


def _memory_board(table: PaperTable, costs: Sequence[RowCosts], footnotes: Footnotes) -> Board:
    """Return the paper's sum over all convolutions, and beside it the memory that a machine needs."""
    at = shape_text(table.size)
    headers = ["size", *(f"{what} [GiB] at {at}" for what in ("same sum", "largest convolution", "peak activations"))]
    rows = []
    for row, own in zip(table.rows, costs):
        cells = _compared(table, row, "conv_memory", own, footnotes)
        sizes = (own.common.conv_output_bytes, own.common.peak_conv_bytes, own.common.peak_activation_bytes)
        cells.append(shape_text(row.conv_memory_size or table.size))
        rows.append([*cells, *(f"{size / GIB:.2f}" for size in sizes)])
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
    same = f"the same digits as printed{', rounded or cut off' if column.may_be_cut else ''}"
    meanings = {
        _AGREES: f"{same}.",
        _FITTED: f"fitted; {same} confirm nothing here, because the layout (†), or the size or the way of counting"
        " of this row, was chosen so that they come out.",
    }
    used = [f"{sign}: {meaning}" for sign, meaning in meanings.items() if any(sign in row[4] for row in rows)]
    texts = tuple(tuple(row) for row in rows)
    return Board(column.title, headers, texts, (f"paper: {column.meaning}.", *used, *notes))


def _compared(table: PaperTable, row: PaperRow, cost: Cost, own: RowCosts, footnotes: Footnotes) -> list[str]:
    """Return the first cells of a row: the paper's value, ours with two more digits, difference, mark, footnote."""
    column = table.costs[cost]
    printed: Printed | None = getattr(row, cost)
    value = getattr(own, cost) / _DIVISORS[column.unit]
    agrees = printed is not None and printed.agrees(value, may_be_cut=column.may_be_cut)
    note = row.notes.get(cost) or (None if agrees or printed is None else _NO_REASON)
    sign = _FITTED if own.reconstruction or row.is_own_reading(cost) else _AGREES
    mark = (f" {sign}" if agrees else "") + (footnotes.link(note) if note else "")
    if printed is None:
        return [*labels(row, own), "-", f"{value:.2f}", f"-{mark}"]
    digits = printed.decimals + 2
    difference = f"{value - printed.value:+.{digits}f}{mark}"
    return [*labels(row, own), printed.text, f"{value:.{digits}f}", difference]


def _page(
    publication: Publication, table: PaperTable, source: str, costs: Sequence[RowCosts], records: Sequence[Result]
) -> str:
    footnotes = Footnotes()
    boards = [
        _params_board(table, costs, footnotes),
        _flops_board(table, costs, footnotes),
        _memory_board(table, costs, footnotes),
        time_board(table, costs, records),
        *speed_boards(table, costs, records),
        quality_board(table, costs, records),
    ]
    lead = (
        f"# {table.title}\n\n"
        f"{publication.source} (arXiv {publication.arxiv}).\n\n"
        f"Made by `zoo-bench leaderboard` from `published/{source}` and the records; do not edit. Columns marked"
        ' "paper" hold what the paper prints (evidence: published), copied and never measured here. Columns marked'
        ' "zoo-bench" are counted or measured by this tool. Sizes are height x width of the planes that a'
        f" network receives. {publication.remark}\n\n"
        "† beside a model: reconstruction; no source gives all the layers of this network, and `zoo-bench show MODEL`"
        " lists what was chosen freely. \\* the paper's author took or estimated the values from another source.\n"
    )
    return "\n".join([lead, *(to_markdown(board) for board in boards), footnotes.linked()])


def paper_pages(published_folder: Path, results: Iterable[Result]) -> dict[str, str]:
    """Return the Markdown page of every published table by file name; the same input gives the same bytes.

    Records that may not be ranked, and runs on a part of a dataset, are left out.
    """
    records = [row.result for row in rows_of(results) if row.is_fair and not row.result.part]
    pages = {}
    with counted_rows() as costs_of:
        for path, publication in read_published(published_folder).items():
            for table in publication.tables:
                costs = [costs_of(table, row) for row in table.rows]
                pages[f"{table.id}.md"] = _page(publication, table, path.name, costs, records)
    if not pages:
        raise UserError(f"{published_folder}: no tables in *.yaml; expected files of published numbers.")
    return pages
