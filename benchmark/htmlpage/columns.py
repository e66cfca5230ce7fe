"""The columns of the page's tables: what a measurement is called, its unit as shown, how its number is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.types import Measurement

# A digit more or less changes no ranking: tables show this many significant ones, the drawer shows all.
SIGNIFICANT = 3
_SCORE_DIGITS = {"dB": 2}
# Sizes by the suffix of an id, and whether costs there are large: tera instead of giga, seconds, GiB.
_SIZES = {"": ("", False), "1mpix": ("1 MPix", False), "12mp": ("12 MP", True), "fullscale": ("full scale", True)}
_BYTES = {False: ("MiB", 2.0**20), True: ("GiB", 2.0**30)}
_COUNTS = {False: ("G", 1e9), True: ("T", 1e12)}
_TIMES = {False: ("ms", 1.0), True: ("s", 1e3)}
_TITLES = {
    "params": "Parameters",
    "macs": "MACs",
    "flops": "FLOPs",
    "conv_output_bytes": "Conv outputs",
    "peak_conv_bytes": "Largest conv",
    "peak_activation_bytes": "Peak activations",
    "predicted_rss_bytes": "Memory expected",
    "weight_bytes": "Weights",
    "latency_ms": "Time",
    "relative_latency": "Time / calibration",
    "ms_per_mpix": "Time per MPix",
    "ceiling_share": "Share of ceilings",
    "peak_rss_bytes": "Memory added",
}
# What a reader sees first; the other columns are a click away.
_SHOWN = (
    "params",
    "macs",
    "flops@12mp",
    "peak_activation_bytes@12mp",
    "latency_ms",
    "relative_latency",
    "latency_ms@12mp",
    "peak_rss_bytes@12mp",
    "params@fullscale",
    "flops@fullscale",
    "conv_output_bytes@fullscale",
    "peak_activation_bytes@fullscale",
    "latency_ms@fullscale",
)
GROUPS = {"score": "Scores", "count": "Costs", "timing": "Time and memory"}


@dataclass(frozen=True)
class Style:
    """How values are shown: divided by ``divisor``, in ``unit``, with ``digits`` after the point (None: as it fits)."""

    title: str
    unit: str
    divisor: float
    digits: int | None
    group: str
    shown: bool

    def text(self, value: float) -> str:
        """Return a number as the table shows it."""
        scaled = value / self.divisor
        if not math.isfinite(scaled):
            return "∞" if scaled > 0 else "−∞"
        if self.digits is not None:
            return f"{scaled:.{self.digits}f}"
        if scaled == 0:
            return "0"
        after = max(0, SIGNIFICANT - 1 - math.floor(math.log10(abs(scaled))))
        return f"{scaled:.{after}f}"


def style_of(id: str, measurement: Measurement) -> Style:
    """Return how a measurement is shown; one that nobody here knows keeps its id and unit."""
    name, _, size = id.partition("@")
    where, large = _SIZES.get(size, (size, False))
    unit, divisor = _unit(name, measurement, large)
    if measurement.kind == "score":
        return Style(id, unit, divisor, _SCORE_DIGITS.get(measurement.unit, 4), GROUPS["score"], True)
    title = ", ".join(filter(None, (_TITLES[name], where))) if name in _TITLES else id
    digits = 0 if name == "ceiling_share" else None
    return Style(title, unit, divisor, digits, GROUPS[measurement.kind], id in _SHOWN)


def _unit(name: str, measurement: Measurement, large: bool) -> tuple[str, float]:
    """Return the unit that is shown and what values are divided by."""
    if name == "params":
        return "M", 1e6
    if measurement.unit == "B":
        return _BYTES[large]
    if measurement.unit in ("MAC", "FLOP"):
        return _COUNTS[large]
    if name == "latency_ms" and measurement.unit == "ms":
        return _TIMES[large]
    return ("%", 0.01) if name == "ceiling_share" else (measurement.unit, 1.0)


def shape_text(measurement: Measurement) -> str:
    """Return C×H×W of the input that a cost was measured at, or nothing."""
    return "×".join(map(str, (measurement.input_shape or [])[1:]))


def in_order(ids: Sequence[str], kinds: dict[str, str]) -> list[str]:
    """Return measurement ids with scores first, then costs, then times; each kind as the records have it."""
    order = {kind: index for index, kind in enumerate(GROUPS)}
    return sorted(dict.fromkeys(ids), key=lambda id: order[kinds[id]])
