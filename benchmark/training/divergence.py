"""Notice early that a training has gone wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.errors import UserError

# The number of first steps that show how large the loss is at the start.
_FIRST = 20


class DivergedError(UserError):
    """The loss of a training is not finite or exploded; the last good checkpoint is left unchanged."""


class Watch:
    """Compares each loss with the largest of the first steps, by absolute value: VDN's bound may be negative."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.largest = 0.0
        self.seen = 0

    def check(self, loss: float, *, step: int, lr: float, kept: str, bad: Sequence[str] = ()) -> None:
        """Check the loss of a step; raises DivergedError if it is not finite or over ``factor`` times the first ones.

        ``kept`` is a text for the error that names the last good checkpoint, ``bad`` the terms that are not finite.
        """
        limit = self.factor * self.largest
        if math.isfinite(loss) and (self.seen < _FIRST or abs(loss) <= limit):
            if self.seen < _FIRST:
                self.largest = max(self.largest, abs(loss))
                self.seen += 1
            return
        what = f"is {loss}" if not math.isfinite(loss) else f"is {loss:.4g}, over {limit:.4g}"
        advice = f"Lower the rate, for example --set lr={lr / 3:.1g}, or set a clip."
        if step == 0:
            advice = "No weight has changed yet: look at the loss and at what the network returns."
        terms = f" Not finite: {', '.join(bad)}." if bad else ""
        raise DivergedError(
            f"train: the loss {what} at step {step}; expected a finite one of the size of the first steps.{terms}"
            f" {kept} {advice}"
        )

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"largest": self.largest, "seen": self.seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state that ``state`` returned."""
        self.largest, self.seen = float(state["largest"]), int(state["seen"])
