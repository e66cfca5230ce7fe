"""The requests to the processes of a sweep, the messages that they send, and their replies."""

from __future__ import annotations

from typing import Any

from benchmark.record import Record
from benchmark.types import Environment, Measurement, Number


class Task(Record):
    """One point. ``name`` names the sweep and the point; ``folder`` holds its checkpoints."""

    key: str
    name: str
    recipe: dict[str, Any]
    folder: str
    store: str
    test_split: str
    train_images: int
    test_images: int
    # The digests of the training and test images when the sweep began.
    data_digests: list[str]
    metrics: list[str]
    test_window: int | None = None
    # Whether only the score on held-out images is wanted, for the choice of a learning rate.
    is_probe: bool = False


class Trained(Record):
    """The values of a trained point that its record needs."""

    measurements: dict[str, Measurement]
    n: int
    num_scenes: int | None = None
    # The path of the scores, relative to the store's folder.
    per_image: str
    # Seconds by kind of work.
    phases: dict[str, Number]
    weights: dict[str, str]
    # How the training went: steps, rate, the last scores on held-out images, and the curves.
    training: dict[str, Any]
    device: str
    environment: Environment


class Probes(Record):
    """Named recipes; a few steps of each are timed."""

    recipes: dict[str, dict[str, Any]]


class StepsTimed(Record):
    """The time and memory of a few steps by one recipe."""

    name: str
    # The median of the steps after the first, and the sum of all steps.
    step_seconds: float
    timed_seconds: float
    # The time of one held-out image in the network and the metrics.
    image_seconds: float
    # In the whole run: the steps, and the images that are scored for validation.
    steps: int
    validation_images: int
    # The largest resident memory of the process so far.
    peak_bytes: int | None


class StepsFailed(Record):
    """The reason why one recipe could not take any steps; ``type`` is the exception's class."""

    name: str
    error: str
    type: str
