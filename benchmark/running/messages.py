"""What the process of one model is asked for, what it sends while it works, and what it returns."""

from __future__ import annotations

from typing import Any

from benchmark.conditions import Conditions
from benchmark.costs.prediction import Predicted
from benchmark.record import Record
from benchmark.types import Fingerprint, Measurement, Number, Tiling


class Work(Record):
    """One model's work. ``sizes`` by suffix of the ids, the dataset's own ("") first."""

    model: str
    options: dict[str, Any]
    weights: str | None
    seed: int
    sizes: dict[str, list[int]]
    # Of the evaluation; without ``metrics`` outputs are checked, not scored.
    evaluate: bool
    dataset: str
    dataset_options: dict[str, str]
    root: str
    split: str
    count: int
    metrics: list[str]
    scoring: str
    skip_bad: bool
    partial: bool
    # Of the ids of the images, as ``digest_of_ids`` gives it.
    images: str
    # Images to leave out, and why.
    leave_out: dict[str, str]
    store: str
    key: str
    # Whether a record that is there is measured anew: its scores stay until the new ones are complete.
    again: bool = False
    conditions: Conditions = Conditions()
    # Resident bytes of this process: what "auto" chooses tiles for.
    memory_limit: int | None = None


class Counted(Record):
    """The costs by counting (by id), what a pass needs and the shape of the output (by suffix of the ids)."""

    costs: dict[str, Measurement]
    predicted: dict[str, Predicted]
    output_shapes: dict[str, list[int]]
    # Sizes that the model does not take, or cannot be followed at, and why.
    notes: list[str]


class ImageDone(Record):
    """One more image has been through the network."""


class Done(Record):
    """What became of the images; paths are relative to the store's folder."""

    n: int = 0
    # Seconds by kind of work.
    phases: dict[str, Number] = {}
    # Images that were left out, and why.
    skipped: dict[str, str] = {}
    tilings: list[Tiling] = []
    pictures: str | None = None
    gallery: str | None = None
    shift_plot: str | None = None
    # Remarks for the record: the shifts in words, why there is no fingerprint.
    notes: list[str] = []
    fingerprint: Fingerprint | None = None
