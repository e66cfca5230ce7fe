"""What the processes of a sweep are asked for, what they send, and what they return."""

from __future__ import annotations

from typing import Any

from benchmark.record import Record
from benchmark.types import Environment, Measurement, Number


class Task(Record):
    """One point. ``name``: of sweep and point; ``folder``: of its checkpoints."""

    key: str
    name: str
    recipe: dict[str, Any]
    folder: str
    store: str
    test_split: str
    train_images: int
    test_images: int
    # Of the images trained and tested on, when the sweep began.
    data_digests: list[str]
    metrics: list[str]


class Trained(Record):
    """What a trained point's record needs."""

    measurements: dict[str, Measurement]
    n: int
    # Path of the scores, relative to the store's folder.
    per_image: str
    # Seconds by kind of work.
    phases: dict[str, Number]
    weights: dict[str, str]
    device: str
    environment: Environment


class Probes(Record):
    """Recipes of which a few steps are timed, by name."""

    recipes: dict[str, dict[str, Any]]


class StepsTimed(Record):
    """What a few steps by one recipe took."""

    name: str
    # Median of the steps after the first, and the sum of all steps taken.
    step_seconds: float
    timed_seconds: float
    # One held-out image through network and metrics.
    image_seconds: float
    # Of the whole run: steps, and images that are scored for validation.
    steps: int
    validation_images: int
    # The largest resident memory of the process so far.
    peak_bytes: int | None


class StepsFailed(Record):
    """Why no steps could be taken by one recipe; ``type`` is the exception's class."""

    name: str
    error: str
    type: str
