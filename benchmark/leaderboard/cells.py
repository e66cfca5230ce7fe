"""The cells of a table: rounded values, the best of each column, signs beside some values, and their footnotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmark.fitting import Cell
from benchmark.leaderboard.columns import Column, deciding, size_text
from benchmark.leaderboard.differences import differ, run_spread
from benchmark.leaderboard.rows import Row
from benchmark.types import Measurement

# Signs beside a value; their meaning is explained under the table.
TAINTED, REMARKED = "†", "‡"
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def machines_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return a letter for each machine with timings, in a stable order."""
    keys = sorted({row.machine for row in rows if row.is_timed})
    return {key: letter(index) for index, key in enumerate(keys)}


def letter(index: int) -> str:
    """Return A to Z, then A1, B1 and so on."""
    return chr(ord("A") + index % 26) + (str(index // 26) if index >= 26 else "")


def spread_text(column: Column, measurement: Measurement, dash: str = "-") -> str:
    """Return the quartiles beside a median, or the interval of a score; empty for a value that has none."""
    if measurement.kind == "score":
        low, high = measurement.ci_low, measurement.ci_high
        interval = "" if low is None or high is None else f"[{column.show(low)}, {column.show(high)}]"
        between = "" if measurement.run_std is None else f"sd {column.show(measurement.run_std)}"
        return ", ".join(filter(None, [interval, between]))
    if measurement.q1 is None or measurement.q3 is None or measurement.n == 1:
        return ""
    return f"{column.show(measurement.q1)}{dash}{column.show(measurement.q3)}"


class Footnotes:
    """Number texts in the order of first use; texts that are equal except for numbers in them share one note."""

    def __init__(self) -> None:
        self._signs: dict[tuple[str, str], int] = {}
        self._numbers: dict[tuple[str, str], list[list[str]]] = {}

    def mark(self, sign: str, texts: Iterable[str]) -> str:
        """Return what is written beside a value: ``sign`` and the note numbers of ``texts``; empty without texts."""
        numbers = []
        for text in texts:
            key = (sign, _NUMBER.sub("{}", text.replace("{", "(").replace("}", ")")))
            numbers.append(self._signs.setdefault(key, len(self._signs) + 1))
            self._numbers.setdefault(key, []).append(_NUMBER.findall(text))
        return sign + ",".join(map(str, sorted(set(numbers)))) if numbers else ""

    def link(self, text: str) -> str:
        """Return a Markdown link to the note on ``text``; only equal texts share a note."""
        return f"[^{self._signs.setdefault(('^', text), len(self._signs) + 1)}]"

    def lines(self) -> list[str]:
        """Return the notes: sign, note number, and the text with the range of the numbers in it."""
        return [
            f"{sign}{number}: {skeleton.format(*map(_span, zip(*self._numbers[sign, skeleton])))}"
            for (sign, skeleton), number in self._signs.items()
        ]

    def linked(self) -> str:
        """Return the notes that the links lead to, one line each."""
        return "".join(f"[^{number}]: {text}\n" for (_, text), number in self._signs.items())


def signs_beside(measurement: Measurement | None, footnotes: Footnotes) -> str:
    """Return the signs and note numbers beside a value, and add their meanings to the footnotes."""
    if measurement is None or not (measurement.tainted or measurement.remark):
        return ""
    disturbed = [f"on a disturbed machine: {reason}" for reason in measurement.tainted or ()]
    remarks = [measurement.remark] if measurement.remark else []
    return footnotes.mark(TAINTED, disturbed) + footnotes.mark(REMARKED, remarks)


class Cells:
    """The cells of one table by the position of the row and the column's id; ``footnotes`` explain the signs.

    ``best`` holds the positions of each column's best values, and of the scores that do not differ significantly from
    the best one. A value that may not be compared is never the best, and times from several machines have no best. Of
    times, the one that is smallest relative to the calibration kernel is the best.
    """

    def __init__(self, rows: Sequence[Row], columns: Sequence[Column], footnotes: Footnotes | None = None) -> None:
        self.rows, self.columns = rows, columns
        self.footnotes = footnotes or Footnotes()
        self._machines = machines_of(rows)
        self._mixed = {column.id for column in columns if len(column.images) > 1}
        self.signs = {
            (y, c.id): signs_beside(row.measurements.get(c.id), self.footnotes)
            for y, row in enumerate(rows)
            for c in columns
        }
        self.best = {(y, column.id) for column in columns for y in self._best_of(column)}

    def texts(self, y: int) -> list[str]:
        """Return one text per column of a row, "-" where there is no value."""
        return [self._text(y, column) for column in self.columns]

    def brief(self, y: int, column: Column) -> Cell:
        """Return a cell for a narrow table: the value with its signs, and beside or below it a score's interval."""
        row, signs = self.rows[y], self.signs[y, column.id]
        one = row.measurements.get(column.id)
        if one is None or one.value is None:
            return Cell(f"-{signs}")
        text = column.show(float(one.value)) + signs
        if one.kind == "timing" and len(self._machines) > 1:
            text += f" {self._machines[row.machine]}"
        about = ["incomplete"] * one.is_incomplete + [f"at {size_text(one)}"] * (column.id in self._mixed)
        beside = below = " ".join(about)
        if one.kind == "score" and one.ci_low is not None and one.ci_high is not None:
            low, high = column.show(one.ci_low), column.show(one.ci_high)
            beside, below = f"[{low}, {high}]", f"{low} to {high}" if "-" in low + high else f"{low}-{high}"
        return Cell(text, beside, below)

    def _text(self, y: int, column: Column) -> str:
        row, signs = self.rows[y], self.signs[y, column.id]
        measurement = row.measurements.get(column.id)
        if measurement is None or measurement.value is None:
            return f"-{signs}"
        text = column.show(float(measurement.value))
        text += " incomplete" if measurement.is_incomplete else ""
        if spread := spread_text(column, measurement):
            text += f" {spread}" if measurement.kind == "score" else f" ({spread})"
        text += signs
        if measurement.kind == "timing" and len(self._machines) > 1:
            text += f" {self._machines[row.machine]}"
        return f"{text} at {size_text(measurement)}" if column.id in self._mixed else text

    def _best_of(self, column: Column) -> list[int]:
        by = deciding(column.id, self.rows)
        found = ((y, row.fair_value(column.id), row.fair_value(by)) for y, row in enumerate(self.rows))
        values = {y: value for y, shown, value in found if shown is not None and value is not None}
        mixed = column.kind == "timing" and len(self._machines) > 1
        if len(values) < 2 or mixed or column.higher_is_better is None:
            return []
        best = (max if column.higher_is_better else min)(values.values())
        leader = self.rows[next(y for y, value in values.items() if value == best)]
        if column.kind != "score":
            return [y for y, value in values.items() if value == best]
        spread = run_spread(self.rows, column.id)
        return [
            y
            for y, value in values.items()
            if value == best or differ(leader, self.rows[y], column.id, spread) is False
        ]


def _span(texts: Iterable[str]) -> str:
    """Return the number if there is only one, else the smallest and the largest."""
    ordered = sorted(set(texts), key=float)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
