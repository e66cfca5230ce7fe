"""The images from whose activations the ranges of an int8 network are taken, and those that examine it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets import DATASETS
from benchmark.opening import card_at, open_dataset
from benchmark.reporting import Reporter
from benchmark.running.inputs import Levels, input_files, read_input
from benchmark.scoring.evaluation import network_input
from benchmark.types import Sample
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.raw import pad_planes

# The images that examine the result are never calibrated with; so many at most.
MOST_HELD_OUT = 8
# The only split that may give ranges: images that are tested must not.
TRAIN = "train"


@dataclass(frozen=True)
class Images:
    """Images by number: the name, the content, the planes (1, C, H, W) of each, and its pair where there is a target.

    The planes are padded to a size that the network takes.
    """

    source: str
    names: Sequence[str]
    content: Callable[[int], bytes]
    planes: Callable[[int], Tensor]
    sample: Callable[[int], Sample] | None = None

    def chosen(self, count: int) -> tuple[list[int], list[int]]:
        """Return ``count`` images spread over all of them to calibrate with, and others that examine the result.

        If all are needed to calibrate, the examined ones are the same.
        """
        count = min(count, len(self.names))
        taken = sorted({round(place) for place in np.linspace(0, len(self.names) - 1, count)})
        rest = [index for index in range(len(self.names)) if index not in set(taken)]
        step = max(1, len(rest) // MOST_HELD_OUT)
        return taken, rest[::step][:MOST_HELD_OUT]

    def finite(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """Yield the planes of ``indices``; raises UserError for one with NaN or infinite values, and another size."""
        shape: torch.Size | None = None
        for index in indices:
            planes = self.planes(index)
            if not torch.isfinite(planes).all():
                raise UserError(f"--calibrate {self.source}: {self.names[index]} has NaN or infinite values.")
            if shape is not None and planes.shape != shape:
                raise UserError(
                    f"--calibrate {self.source}: {self.names[index]} has {tuple(planes.shape[-2:])} planes and others"
                    f" {tuple(shape[-2:])}; expected images of one size."
                )
            shape = planes.shape
            yield planes

    def digest(self, indices: Sequence[int]) -> str:
        """Return a digest of the content of ``indices`` in their order, whatever network takes it."""
        digest = hashlib.sha256()
        for index in indices:
            digest.update(self.content(index))
        return digest.hexdigest()[:16]


def images_of(
    source: str,
    spec: InputSpec,
    levels: Levels,
    *,
    data_root: str | Path | None = None,
    dataset: str | None = None,
    options: Mapping[str, str] | None = None,
    reporter: Reporter | None = None,
) -> Images:
    """Return the images of a folder, or those of a dataset's train split.

    ``dataset`` with its ``options`` is that of a run: its train split is opened as by the run, and so is a folder if it
    is of a user's own data, as awgn, whose noise the pictures then get. Raises UserError for an unknown name, a dataset
    without a train split, and a folder without pictures.
    """
    is_folder, split = Path(source).exists() and source not in DATASETS.names(), TRAIN
    if is_folder and dataset and DATASETS.get(dataset).configure:
        given = dict(options or {})
        card = card_at(dataset, source, **given)
        if spec.layout == "gray" and not card.is_gray:
            card = card_at(dataset, source, **given, gray="matlab")
        data_root, split = source, card.default_split
    elif is_folder:
        files = input_files([source], spec)
        return Images(
            source,
            [str(file) for file in files],
            lambda index: files[index].read_bytes() + repr(levels).encode(),
            lambda index: pad_planes(read_input(files[index], spec, levels), spec),
        )
    else:
        card = card_at(source, data_root, **(options or {} if source == dataset else {}))
        if TRAIN not in card.splits:
            raise UserError(
                f"--calibrate {source}: has no split '{TRAIN}'; pass a folder of images that are not tested."
            )
    data = open_dataset(card, data_root, split, reporter)
    # Images to train on may be larger than those that are tested, and some networks become files for one size.
    most = spec.plane_size(card.plane_size)

    def sample(index: int) -> Sample:
        # A mosaic is cut by its planes only: its target has another size.
        one = data[index]
        return one if spec.is_raw else replace(one, input=_middle(one.input, most), target=_middle(one.target, most))

    @functools.cache
    def planes(index: int) -> Tensor:
        return pad_planes(_middle(network_input(sample(index), spec), most), spec)

    return Images(
        source if is_folder else f"{data.name} {TRAIN}",
        list(data.ids),
        lambda index: data[index].input.numpy().tobytes() + repr((data[index].black, data[index].white)).encode(),
        planes,
        sample,
    )


def _middle(planes: Tensor, most: tuple[int, int]) -> Tensor:
    """Return the middle of the planes (N, C, H, W), at most ``most`` rows and columns."""
    (height, width), (rows, columns) = planes.shape[-2:], most
    top, left = max(0, height - rows) // 2, max(0, width - columns) // 2
    return planes[..., top : top + rows, left : left + columns].contiguous()
