"""A table for the terminal: the columns that most readers need, evidence as a sign, in a width; notes below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.fitting import Cell, Field, Form, fitted, wrapped
from benchmark.leaderboard.cells import Cells
from benchmark.leaderboard.columns import Column, header_lines, known_names, named, short_header
from benchmark.leaderboard.ranks import RULE, RUNS
from benchmark.leaderboard.rows import BADGES, Row, evidence_legend, remarks_on
from benchmark.leaderboard.shares import SHARES
from benchmark.leaderboard.tables import INTERVAL, MACHINE, STANDIN, Table
from zoo.errors import UserError, nearest, shortened

# What is shown beside the scores, and in a table of costs; the later ones are left out first where room is short.
_SHOWN = {
    "quality": ("params", "macs", "latency_ms"),
    "costs": (
        "params",
        "macs",
        "flops@12mp",
        "flops@fullscale",
        "latency_ms",
        "latency_ms@12mp",
        "latency_ms@fullscale",
    ),
}
# Columns that are no measurements.
_LABELS = ("rank", "model", "evidence", "Pareto")
_FAILED = "✗"
# Notes of the long form: what they explain is not shown here, or is said in fewer words.
_LONG = (RULE.partition("{")[0], RUNS.partition("{")[0], INTERVAL, "Pareto:")


def check_names(names: Sequence[str]) -> None:
    """Raise UserError for a name that no column of any table has."""
    if not names:
        raise UserError("--columns: expected names of columns separated by commas, for example psnr[rgb],params,time.")
    known = {*known_names(), "CPU time", *_LABELS}
    for name in names:
        if name.lower() not in {one.lower() for one in known}:
            raise UserError(f"--columns: no column is called '{shortened(name)}'{nearest(name, known)}")


@dataclass(frozen=True)
class Brief:
    """The lines of a table with its title, the notes on it, each a paragraph, and whether it fits."""

    lines: list[str]
    notes: list[str]
    fits: bool


def brief_of(
    table: Table, room: int | None, names: Sequence[str] | None = None, bold: Callable[[str], str] = str
) -> Brief | None:
    """Return a table in lines of at most ``room`` characters (None: unlimited); None if it has none of ``names``.

    Without ``names`` columns are left out where room is short, and the notes name them.
    """
    columns = chosen(table, names)
    if names is not None and not columns and not any(_has(label, names) for label in _LABELS):
        return None
    cells = Cells(table.rows, columns)
    measured = {column.id: _field(table, cells, column, can_go=names is None) for column in columns}
    front = [Field(("Pareto",), tuple(map(Cell, table.fronts)))] if _has("Pareto", names) and table.fronts else []
    found = fitted([*_labels(table, names), *measured.values(), *front], room, bold)
    shown = [column for column in columns if measured[column.id] not in found.left_out]
    notes = [*_notes(table, cells, shown, found.form), *(note for note in table.notes if front and "Pareto:" in note)]
    if gone := [column.id for column in columns if column not in shown]:
        notes.append(f"left out for lack of room: {', '.join(gone)}")
    return Brief([*wrapped(table.title, room), *found.lines], [note.replace("`", "") for note in notes], found.fits)


def chosen(table: Table, names: Sequence[str] | None) -> list[Column]:
    """Return the columns of a table that ``names`` mean, or the usual ones."""
    if names is not None:
        every = (*table.columns, *table.others)
        return list(dict.fromkeys(column for name in names for column in named(name, every)))
    usual = _SHOWN.get(table.kind)
    return [one for one in table.columns if usual is None or one.kind == "score" or one.id in usual]


def absent(tables: Sequence[Table], names: Sequence[str]) -> list[str]:
    """Return the names that mean no column of ``tables``."""
    labels = [label.lower() for label in _LABELS]
    return [name for name in names if name.lower() not in labels and not any(chosen(one, [name]) for one in tables)]


def _has(label: str, names: Sequence[str] | None) -> bool:
    return label.lower() in (name.lower() for name in names or ())


def _labels(table: Table, names: Sequence[str] | None) -> Iterator[Field]:
    rows = table.rows
    if table.ranks:
        yield Field(("rank",), tuple(map(Cell, table.ranks)), is_left=True)
    count = Counter(row.name for row in rows)
    # Rows of one name differ in their weights.
    models = (f"{row.name} ({row.weights})" if count[row.name] > 1 and row.weights else row.name for row in rows)
    yield Field(("model",), tuple(map(Cell, models)), is_name=True)
    yield Field(("",), tuple(Cell(_sign(row)) for row in rows), is_left=True)
    if _has("evidence", names):
        yield Field(("evidence",), tuple(Cell(row.evidence) for row in rows), is_name=True)


def _sign(row: Row) -> str:
    """Return the sign of a row's evidence, and those of its failure and of doubts."""
    failed = _FAILED if row.result.status != "ok" else ""
    return BADGES[row.result.evidence][0] + failed + "".join(text[0] for text in row.signs)


def _field(table: Table, cells: Cells, column: Column, *, can_go: bool) -> Field:
    return Field(
        header_lines(column, table.rows),
        tuple(cells.brief(y, column) for y in range(len(table.rows))),
        short_header(column, cells.columns),
        goes=0 if not can_go or column.id == table.main else 1 if column.kind != "score" or column.id in SHARES else 2,
        best=frozenset(y for y, id in cells.best if id == column.id),
    )


def _notes(table: Table, cells: Cells, columns: Sequence[Column], form: Form) -> Iterator[str]:
    """Yield what a reader needs for these columns in this form; ``--wide`` and the Markdown say it at length."""
    rows = table.rows
    used = {row.result.evidence for row in rows}
    signs = [f"{sign} {evidence}" for evidence, (sign, _) in BADGES.items() if evidence in used]
    yield ", ".join([*signs, *[f"{_FAILED} failed"] * any(row.result.status != "ok" for row in rows)])
    if form.is_short and (headers := _about_headers(columns)):
        yield headers
    ids = [column.id for column in columns if column.kind == "score"]
    if any(row.measurements[id].ci_low is not None for row in rows for id in ids if id in row.measurements):
        where = "below a score" if form.is_stacked else "in brackets"
        yield f"{where}: the 95 % interval of the mean over {rows[0].result.num_scenes} scenes"
    if any("=" in rank for rank in table.ranks):
        yield f"=: not significantly worse than the first row of this rank, by {table.main}"
    trainings: dict[str, list[str]] = {}
    for row in rows:
        if row.runs:
            trainings.setdefault(row.runs_text, []).append(row.name)
    for runs, names in trainings.items():
        said = (
            "one training each, so the spread between trainings is not known" if runs == "1 run" else f"means of {runs}"
        )
        yield f"{said}: {'all trained networks' if len(trainings) == 1 else ', '.join(names)}"
    # The title says why no row has a rank, and a cost says by itself that it is no quality.
    long = (*filter(None, [table.caution if table.kind != "published" else ""]), evidence_legend(rows))
    yield from (note for note in table.notes if note not in long and not note.startswith(_LONG))
    if table.kind == "published":
        yield table.caution
    is_timed = any(column.kind == "timing" for column in columns)
    for title, text in table.lead:
        if title == STANDIN:
            yield "stand-in data: its scores say nothing about the real dataset"
        elif title != MACHINE:
            yield f"{title}: {text}"
        elif is_timed:
            yield f"time: median of one image on {text.partition('; ')[0]}"
    yield from (note.replace("on a disturbed machine", "timings were disturbed") for note in cells.footnotes.lines())
    yield from remarks_on(rows)


def _about_headers(columns: Sequence[Column]) -> str:
    """Return what short headers leave out: the definitions of scores, the sizes of costs."""
    names = {column.id: " ".join(short_header(column, columns)[:-1]) for column in columns}
    scores = [f"{names[one.id]} is {one.id}" for one in columns if one.kind == "score" and names[one.id] != one.id]
    sizes: dict[str, list[str]] = {}
    for column in columns:
        if column.size and column.kind != "score":
            sizes.setdefault(column.size, []).append(names[column.id])
    return "; ".join([*scores, *(f"{', '.join(names)} at {size}" for size, names in sizes.items())])
