"""The cells of a table: rounded values, the signs of those that are not like the others, the best of each column."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.columns import Column, size_text
from benchmark.leaderboard.footnotes import Footnotes
from benchmark.leaderboard.rows import Row
from benchmark.types import Measurement

# Signs beside a value; what they mean stands under the table.
TAINTED, REMARKED = "†", "‡"


def machines_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return a letter per machine that timed something, in a stable order."""
    keys = sorted({row.machine for row in rows if row.is_timed})
    return {key: letter(index) for index, key in enumerate(keys)}


def letter(index: int) -> str:
    """Return A to Z, then A1, B1 and so on."""
    return chr(ord("A") + index % 26) + (str(index // 26) if index >= 26 else "")


def spread_text(column: Column, measurement: Measurement, dash: str = "-") -> str:
    """Return the quartiles beside a median; empty for a value without, or of one sample."""
    if measurement.q1 is None or measurement.q3 is None or measurement.n == 1:
        return ""
    return f"{column.show(measurement.q1)}{dash}{column.show(measurement.q3)}"


class Cells:
    """The cells of one table by the position of the row and the column's id; ``footnotes`` explain the signs.

    ``best`` holds where a column has its best value. Values that may not be compared are none, and where times come
    from several machines, none of them is.
    """

    def __init__(self, rows: Sequence[Row], columns: Sequence[Column], footnotes: Footnotes | None = None) -> None:
        self.rows, self.columns = rows, columns
        self.footnotes = footnotes or Footnotes()
        self._machines = machines_of(rows)
        self._mixed = {column.id for column in columns if len(column.sizes) > 1}
        self.signs = {(y, c.id): self._mark(row.measurements.get(c.id)) for y, row in enumerate(rows) for c in columns}
        self.best = {(y, column.id) for column in columns for y in self._best_of(column)}

    def texts(self, y: int) -> list[str]:
        """Return one text per column of a row, "-" where there is no value."""
        return [self._text(y, column) for column in self.columns]

    def _text(self, y: int, column: Column) -> str:
        row, signs = self.rows[y], self.signs[y, column.id]
        measurement = row.measurements.get(column.id)
        if measurement is None or measurement.value is None:
            return f"-{signs}"
        text = column.show(float(measurement.value))
        text += " incomplete" if measurement.is_incomplete else ""
        if spread := spread_text(column, measurement):
            text += f" ({spread})"
        text += signs
        if measurement.kind == "timing" and len(self._machines) > 1:
            text += f" {self._machines[row.machine]}"
        return f"{text} at {size_text(measurement)}" if column.id in self._mixed else text

    def _mark(self, measurement: Measurement | None) -> str:
        """Return the signs and numbers beside a value, their meanings into the footnotes."""
        if measurement is None or not (measurement.tainted or measurement.remark):
            return ""
        disturbed = [f"on a disturbed machine: {reason}" for reason in measurement.tainted or ()]
        remarks = [measurement.remark] if measurement.remark else []
        return self.footnotes.mark(TAINTED, disturbed) + self.footnotes.mark(REMARKED, remarks)

    def _best_of(self, column: Column) -> list[int]:
        values = {y: value for y, row in enumerate(self.rows) if (value := row.fair_value(column.id)) is not None}
        if len(values) < 2 or (column.kind == "timing" and len(self._machines) > 1):
            return []
        best = (max if column.higher_is_better else min)(values.values())
        return [y for y, value in values.items() if value == best]
