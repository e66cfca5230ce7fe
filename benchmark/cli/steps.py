"""The steps of long work as one bar: which step it is at, what is being done there, and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmark.units import clock

# What the first bar of a step, and each later one, takes of what is left of the step.
_SHARE = 0.6
# A bar whose end nobody knows is half full after so many pieces.
_HALF = 20


class Steps:
    """Work of several steps; ``plan`` has label and expected seconds of each, ``show`` is called after each change."""

    def __init__(self, plan: Sequence[tuple[str, float]], show: Callable[[], object] = lambda: None) -> None:
        self.plan, self._show = list(plan), show
        self.index = 0
        self._bars: list[str] = []
        self._share = 0.0
        self._begin = time.monotonic()

    @property
    def part(self) -> float:
        """The part of the work that is done, in [0, 1]."""
        total = sum(seconds for _, seconds in self.plan)
        current = self._share * self.plan[self.index][1] if self.index < len(self.plan) else 0.0
        return (sum(seconds for _, seconds in self.plan[: self.index]) + current) / total if total else 1.0

    @property
    def left(self) -> str:
        """How long the rest takes at the speed so far; before the first step has ended, by the plan."""
        spent, part = time.monotonic() - self._begin, self.part
        expected = sum(seconds for _, seconds in self.plan) * (1 - part)
        return clock(spent * (1 - part) / part if self.index and part else expected)

    @property
    def where(self) -> str:
        """Which step it is, for example ``model 3 of 16``."""
        return f"model {min(self.index + 1, len(self.plan))} of {len(self.plan)}"

    @property
    def doing(self) -> str:
        """What is being done, for example ``unet_w8 4/12``."""
        return self._bars[-1] if self._bars else self.plan[self.index][0] if self.index < len(self.plan) else ""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar within the step; yields a function to call after each finished piece."""
        begin, done, outermost = self._share, 0, not self._bars
        self._bars.append(label)
        self._show()

        def advance() -> None:
            nonlocal done
            done += 1
            if outermost:
                self._share = begin + (1 - begin) * _SHARE * (done / total if total else done / (done + _HALF))
            self._bars[-1] = f"{label} {done}/{total}" if total else f"{label} {done}"
            self._show()

        try:
            yield advance
        finally:
            self._bars.pop()
            if outermost and total:
                self._share = begin + (1 - begin) * _SHARE

    def finish(self, result: str) -> str:
        """End a step; return a line that says its result and how long the rest takes."""
        label, number = self.plan[self.index][0], f"{self.index + 1}/{len(self.plan)}"
        self.index, self._share = self.index + 1, 0.0
        self._show()
        left = f"; about {self.left} left" if self.index < len(self.plan) else ""
        return f"{number} {label}: {result}{left}"
