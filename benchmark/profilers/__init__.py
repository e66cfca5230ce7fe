"""Registered costs; all counted costs are in one file. The registry imports the files when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.types import Kind, Measurement
from zoo.registry import Registry, pieces_of

Measure = Callable[..., dict[str, Measurement]]


@dataclass(frozen=True)
class ProfilerCard:
    """A registered cost.

    ``count`` profilers are exact: ``measure(model, trace)`` with the model on the meta device. ``timing``
    profilers read the result of the measuring process for one size: ``measure(measured)`` with a
    ``benchmark.measured.Measured``.
    """

    name: str
    kind: Kind
    measure: Measure
    summary: str


PROFILERS: Registry[ProfilerCard] = Registry("profiler", load=pieces_of(__name__))


def register_profiler(name: str, *, kind: Kind) -> Callable[[Measure], Measure]:
    """Register a function as the profiler called ``name``; its docstring's first line is the summary."""

    def register(measure: Measure) -> Measure:
        summary = (measure.__doc__ or "").strip().partition("\n")[0]
        PROFILERS.add(name, ProfilerCard(name, kind, measure, summary))
        return measure

    return register


def count(value: int, unit: str, definition: str, **beside: Any) -> Measurement:
    """Return an exact cost; lower is better."""
    return Measurement(value=value, unit=unit, definition=definition, kind="count", higher_is_better=False, **beside)


def timing(value: float | None, unit: str, definition: str, **beside: Any) -> Measurement:
    """Return a cost measured on this machine; lower is better by default."""
    return Measurement(
        value=value, unit=unit, definition=definition, kind="timing", **({"higher_is_better": False} | beside)
    )
