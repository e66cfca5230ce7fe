"""Notice early that a training has gone wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zoo.errors import UserError

# So many steps show how large the loss is at the start.
_FIRST = 20


class DivergedError(UserError):
    """A training whose loss is no number or exploded; the last good checkpoint is left as it is."""


class Watch:
    """Compares each loss with the largest of the first steps; VDN's bound may be negative, so sizes count."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.largest = 0.0
        self.seen = 0

    def check(self, loss: float, *, step: int, lr: float, kept: str) -> None:
        """Take the loss of a step; raises DivergedError if it is not finite or ``factor`` times the first ones.

        ``kept`` says what is left: the last good checkpoint.
        """
        limit = self.factor * self.largest
        if math.isfinite(loss) and (self.seen < _FIRST or abs(loss) <= limit):
            if self.seen < _FIRST:
                self.largest = max(self.largest, abs(loss))
                self.seen += 1
            return
        what = f"is {loss}" if not math.isfinite(loss) else f"is {loss:.4g}, over {limit:.4g}"
        raise DivergedError(
            f"train: the loss {what} at step {step}; expected a finite one of the size of the first steps. {kept}"
            f" Lower the rate, for example --set lr={lr / 3:.1g}, or set a clip."
        )

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"largest": self.largest, "seen": self.seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what ``state`` returned."""
        self.largest, self.seen = float(state["largest"]), int(state["seen"])
