"""The request to the process of one model, the messages that it sends while it works, and its reply."""

from __future__ import annotations

from typing import Any

from benchmark.conditions import Conditions
from benchmark.costs.prediction import Predicted
from benchmark.record import Record
from benchmark.types import Fingerprint, Measurement, Number, Tiling


class Work(Record):
    """The work on one model.

    ``sizes``: at which costs are counted, by suffix of the ids, with the dataset's own size ("") first; none if the
    parent has counted them.
    """

    model: str
    options: dict[str, Any]
    weights: str | None
    label: str
    seed: int
    sizes: dict[str, list[int]]
    # The evaluation; without ``metrics`` outputs are checked, not scored.
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
    # The digest of the ids of the images, from ``digest_of_ids``.
    images: str
    # The images to leave out, with the reasons.
    leave_out: dict[str, str]
    store: str
    key: str
    # Whether an existing record is measured again: its scores are kept until the new ones are complete.
    again: bool = False
    conditions: Conditions = Conditions()
    # The limit on the resident bytes of this process; "auto" chooses tiles for it.
    memory_limit: int | None = None


class Same(Record):
    """What a machine must have in common with the one where a run was started: digests, and torch's version.

    ``mixed``: other code of the tool or of the model and another torch are used, and named.
    """

    weights: str | None
    code: str
    tool: str
    torch: str
    mixed: bool = False


class Shard(Record):
    """A part of the images of one model, by their indices; ``digest``: of the images that its machine must have."""

    work: Work
    # The weights on that machine.
    weights: str | None
    images: list[int]
    limit: int | None
    digest: str
    same: Same


class ImageScored(Record):
    """The scores of one image, and what else a journal keeps of it; ``by`` names a machine that differs."""

    id: str
    scores: dict[str, Number]
    shift: tuple[float, float] | None
    scene: str
    sigma: float | None
    by: str = ""


class Counted(Record):
    """The counted costs (by id), and the needs of a pass and the shape of the output (by suffix of the ids)."""

    costs: dict[str, Measurement]
    predicted: dict[str, Predicted]
    output_shapes: dict[str, list[int]]
    # The sizes that the model does not take, or at which it cannot be traced, with the reasons.
    notes: list[str]


class ImageDone(Record):
    """One more image has run through the network."""


class Done(Record):
    """The results of the images; paths are relative to the store's folder."""

    n: int = 0
    # Seconds by kind of work.
    phases: dict[str, Number] = {}
    # The images that were left out, with the reasons.
    skipped: dict[str, str] = {}
    tilings: list[Tiling] = []
    pictures: str | None = None
    gallery: str | None = None
    shift_plot: str | None = None
    # Remarks for the record: a summary of the shifts, the reason for a missing fingerprint.
    notes: list[str] = []
    fingerprint: Fingerprint | None = None
