"""How far a network sees, along one axis: exact arithmetic on windows of input pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """Element ``i`` of a tensor depends on input pixels from ``i * stride + low`` to ``i * stride + high``, inclusive.

    ``stride`` is the number of input pixels per element: 2 after a pooling by 2, 1/2 after a doubling.
    """

    stride: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def through(self, scale: Fraction | int, low: Fraction | int, high: Fraction | int) -> Span:
        """Return the span after an operation whose element i reads elements from scale i + low to scale i + high."""
        return Span(self.stride * scale, self.low + low * self.stride, self.high + high * self.stride)

    def joined(self, other: Span) -> Span:
        """Return the span of an operation that reads both, by element; raises ValueError if their strides differ."""
        if self.stride != other.stride:
            raise ValueError(f"elements of {self.stride} and of {other.stride} input pixels are mixed")
        return Span(self.stride, min(self.low, other.low), max(self.high, other.high))

    @property
    def before(self) -> int:
        """Pixels that the elements of a piece need before its first input pixel."""
        return max(0, math.ceil(-self.low))

    @property
    def after(self) -> int:
        """Pixels that the elements of a piece need after its last input pixel."""
        return max(0, math.floor(self.high - self.stride) + 1)

    def element(self, pixel: int) -> int:
        """Return the element that begins at input ``pixel``, which must be a multiple of the strides' alignment."""
        position = Fraction(pixel) / self.stride
        if position.denominator != 1:
            raise ValueError(f"no element begins at pixel {pixel} with a stride of {self.stride}")
        return int(position)


Reach = tuple[Span, Span]
"""Spans of rows and of columns."""
