"""A smaller or harder training set by rule: the first images, the middle of each, some with wrong targets.

With few small images that are seen whole in every epoch a large network can learn its training data by heart, which
the double-descent experiment needs. A target is made wrong as a label is in classification: its colours change places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import permutations
from typing import Any

from benchmark.layout import part_text
from benchmark.types import Dataset, Sample, scenes_of
from zoo.errors import UserError

# The five orders of red, green and blue that change something.
_ORDERS = [order for order in permutations(range(3)) if order != (0, 1, 2)]


class Subset:
    """A split reduced to its first ``limit`` images (None: all) and to a square in the middle of each.

    ``window`` is the side of the square in pixels of the picture or mosaic (None: whole images); it is even, so a
    mosaic keeps its colour filter. ``wrong_targets`` is the share of images, chosen by a digest of their ids and so the
    same for every seed, whose target has its colours permuted.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        limit: int | None = None,
        window: int | None = None,
        wrong_targets: float | None = None,
    ) -> None:
        self._dataset, self._window = dataset, window
        self.name, self.split = dataset.name, dataset.split
        self.ids: Sequence[str] = list(dataset.ids)[:limit]
        scenes = scenes_of(dataset)
        self.scenes: Sequence[str] = [scenes.get(id, "") for id in self.ids]
        self._wrong = _chosen(self.ids, wrong_targets or 0.0)
        self.provenance: Mapping[str, Any] = dataset.provenance
        if part := part_text(len(self.ids), len(dataset.ids)):
            self.provenance = {**dataset.provenance, "part": part}
        changes = (("window", window), ("wrong_targets", wrong_targets))
        self.provenance = {**self.provenance, **{key: value for key, value in changes if value}}
        self._change = "".join(f" {key} {value}" for key, value in changes if value)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return the reduced sample; raises UserError for an image that is smaller than the window."""
        sample = self._dataset[range(len(self))[index]]
        if self._window is not None:
            sample = _middle(sample, self._window, self.name)
        if order := self._wrong.get(sample.id):
            if sample.target.shape[1] != len(order):
                raise UserError(f"recipe: wrong_targets: the colours change places, and image {sample.id} is gray.")
            sample = replace(sample, target=sample.target[:, list(order)].contiguous())
        return sample

    def digest(self, limit: int | None = None) -> str:
        """Return a digest of the first ``limit`` samples' files and of how they are reduced."""
        count = len(self) if limit is None else min(max(limit, 0), len(self))
        digest = self._dataset.digest(None if count == len(self._dataset.ids) else count)
        return sha256(f"{digest}{self._change}".encode()).hexdigest() if self._change else digest


def _chosen(ids: Sequence[str], share: float) -> dict[str, tuple[int, ...]]:
    """Return the order of colours of each image whose target is wrong."""
    drawn = sorted((sha256(f"wrong target {id}".encode()).hexdigest(), id) for id in ids)
    return {id: _ORDERS[int(digest, 16) % len(_ORDERS)] for digest, id in drawn[: round(share * len(ids))]}


def _middle(sample: Sample, side: int, name: str) -> Sample:
    height, width = sample.input.shape[-2:]
    if side > min(height, width):
        raise UserError(
            f"{name}: a window of {side}x{side} does not fit into image {sample.id} of {height}x{width};"
            " choose a smaller one."
        )
    top, left = ((length - side) // 4 * 2 for length in (height, width))
    area = (..., slice(top, top + side), slice(left, left + side))
    return replace(sample, input=sample.input[area].contiguous(), target=sample.target[area].contiguous())
