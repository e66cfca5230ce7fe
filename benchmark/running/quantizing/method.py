"""How the ranges of activations follow from the values that they take."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UserError, shortened

MIN_MAX, PERCENTILE = "min-max", "percentile"


@dataclass(frozen=True)
class Method:
    """How the ranges of activations are found: the least and the largest value, or a percentile of all values."""

    percentile: float | None = None

    @property
    def text(self) -> str:
        """Return the method as it is written for ``--method``."""
        return MIN_MAX if self.percentile is None else f"{PERCENTILE}={self.percentile:g}"


def method_of(text: str, backend: str = "onnxruntime") -> Method:
    """Return the method that ``text`` names, min-max or percentile=P; raises UserError for all others.

    Rules that average the ranges of images are not among them: they clip the highlights of the brighter images.
    ExecuTorch (``backend``) has only min-max here.
    """
    if text == MIN_MAX:
        return Method()
    found = re.fullmatch(rf"{PERCENTILE}=([0-9.]{{1,12}})", text)
    with contextlib.suppress(ValueError):
        if found and 50 < (share := float(found[1])) < 100:
            if backend != "executorch":
                return Method(share)
            raise UserError(f"--method {shortened(text)}: ExecuTorch has only {MIN_MAX} here; leave the method out.")
    raise UserError(
        f"--method {shortened(text)}: expected {MIN_MAX}, or {PERCENTILE}=P with P above 50 and below 100, for example"
        f" {PERCENTILE}=99.99."
    )


class Clipped:
    """Counts the values of activations that lie outside of their ``ranges``, by more than half a step of 255."""

    def __init__(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        self.ranges = ranges
        self._outside, self._total = Counter[str](), Counter[str]()

    def see(self, name: str, values: NDArray[np.float32]) -> None:
        """Count the values of the activation ``name``."""
        low, high = self.ranges[name]
        half = (high - low) / 510
        self._outside[name] += int(np.count_nonzero((values < low - half) | (values > high + half)))
        self._total[name] += values.size

    @property
    def shares(self) -> dict[str, float]:
        """The share of the values outside, by activation."""
        return {name: self._outside[name] / self._total[name] for name in self._total}
