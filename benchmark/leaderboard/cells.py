"""The cells of a row: rounded values with the signs of those that are not like the others."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.columns import Column, input_sizes, size_text
from benchmark.leaderboard.footnotes import Footnotes
from benchmark.types import Measurement, Result, label_of

# Signs beside a timing; what they mean stands under the table.
TAINTED, REMARKED = "†", "‡"


def row_name(result: Result) -> str:
    """Return model and options, with the conditions where they are not the usual ones."""
    unusual = result.spec.conditions.words(approximate=result.is_approximate)
    return ", ".join([label_of(result.model, result.options), *unusual])


def machine_of(result: Result) -> str:
    """Return what timings depend on beside the model: machine, threads and device."""
    return f"{result.environment.machine}/{result.environment.threads}/{result.spec.conditions.device}"


def machines_of(rows: Sequence[Result]) -> dict[str, str]:
    """Return a letter per machine that timed something, in a stable order."""
    keys = sorted({machine_of(r) for r in rows if is_timed(r)})
    return {key: _letter(index) for index, key in enumerate(keys)}


def is_timed(result: Result) -> bool:
    """Whether a record has a timing; they come last."""
    return any(m.kind == "timing" for m in reversed(result.measurements.values()))


def _letter(index: int) -> str:
    """Return A to Z, then A1, B1 and so on."""
    return chr(ord("A") + index % 26) + (str(index // 26) if index >= 26 else "")


class Cells:
    """The cells of one table; what their signs mean is gathered in ``footnotes``."""

    def __init__(self, rows: Sequence[Result], columns: Sequence[Column]) -> None:
        self.columns = columns
        self.footnotes = Footnotes()
        self._machines = machines_of(rows)
        self._mixed = {column.id for column in columns if len(input_sizes(column, rows)) > 1}

    def row(self, result: Result) -> list[str]:
        """Return one text per column, "-" where there is no value."""
        return [self._cell(result, column) for column in self.columns]

    def _cell(self, result: Result, column: Column) -> str:
        measurement = result.measurements.get(column.id)
        if measurement is None:
            return "-"
        signs = self._signs(measurement)
        if measurement.value is None:
            return f"-{signs}"
        text = column.show(float(measurement.value))
        if measurement.kind == "timing":
            if measurement.q1 is not None and measurement.q3 is not None and measurement.n != 1:
                text += f" ({column.show(measurement.q1)}-{column.show(measurement.q3)})"
            text += signs
            if len(self._machines) > 1:
                text += f" {self._machines[machine_of(result)]}"
        elif measurement.is_incomplete:
            text += f" incomplete{signs}"
        return f"{text} at {size_text(measurement)}" if column.id in self._mixed else text

    def _signs(self, measurement: Measurement) -> str:
        """Return the signs and numbers beside a value, their meanings into the footnotes."""
        if not measurement.tainted and not measurement.remark:
            return ""
        disturbed = [f"on a disturbed machine: {reason}" for reason in measurement.tainted or ()]
        remarks = [measurement.remark] if measurement.remark else []
        return self.footnotes.mark(TAINTED, disturbed) + self.footnotes.mark(REMARKED, remarks)
