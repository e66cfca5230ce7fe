"""What a script of this folder has found: figures with their goals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number of one run; ``at_most`` or ``at_least`` is its goal, if it has one, in the same unit."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def goal(self) -> str:
        """The goal in words, empty if there is none."""
        if self.at_most is not None:
            return f"at most {with_unit(self.at_most, self.unit)}"
        return "" if self.at_least is None else f"at least {with_unit(self.at_least, self.unit)}"

    @property
    def met(self) -> bool:
        """Whether the goal is met; a figure without a goal meets it, one that is not a number does not."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def text(self) -> str:
        """The value with its unit."""
        return with_unit(self.value, self.unit)


def with_unit(value: float, unit: str) -> str:
    """Return a number in three or four digits with its unit; ratios have the unit ``x``."""
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number}{unit}" if unit == "x" else f"{number} {unit}".strip()
