"""A user's own RAW mosaics with their RGB pictures, paired as ``pairs`` pairs pictures.

Inputs are mosaics of a Bayer filter: gray PNG or TIFF of 8 or 16 bits, ``.npy`` of whole numbers (H, W), ``.raw`` of
little-endian 16-bit counts without a header, or DNG. Targets are RGB of 8 or 16 bits and of the mosaic's size: one
pixel for each pixel of the mosaic. ``benchmark.sensor`` describes what the files do not say; its levels become part of
the digest, because they decide what a network receives. Samples keep the counts of the file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmark.datasets import register_dataset
from benchmark.imaging.imagefiles import read_rgb
from benchmark.imaging.mosaics import SUFFIXES, check_readable, read_mosaic
from benchmark.pairing import DEFAULT_RULE, PairFolder, check_options, picture_tensor, remark_of
from benchmark.protocols import PAIRS
from benchmark.sensor import Sensor
from benchmark.types import DatasetCard, Sample
from benchmark.units import shape_text
from zoo.errors import UserError

NAME = "raw-pairs"
OPTIONS = ("rule", "cfa", "black", "white", "raw_size", "scene", "name", "remark")


def open_raw_pairs(
    root: Path,
    split: str = "test",
    *,
    sensor: Sensor | None = None,
    rule: str = DEFAULT_RULE,
    scene: str | None = None,
    label: str | None = None,
    remark: str | None = None,
    skip_bad: bool = False,
) -> PairFolder:
    """Open the pairs of a folder under a rule; ``test`` is the only split.

    Samples are counts (1, 1, H, W) with targets (1, 3, H, W) in [0, 1]. Raises UserError without a sensor, for files
    that cannot be read here, and for the size of headerless files if there are none.
    """
    sensor = sensor or Sensor.of(NAME, {})
    pairs = PairFolder(
        NAME,
        root,
        split,
        rule,
        functools.partial(_read_pair, sensor=sensor),
        inputs=SUFFIXES,
        label=label,
        scene=scene,
        about={**sensor.record(), "remark": remark},
        levels=sensor.text,
        skip_bad=skip_bad,
    )
    mosaics = [pairs.paths(id)[0] for id in pairs.ids]
    for path in mosaics:
        check_readable(NAME, path, sensor)
    if sensor.raw_size and not any(path.suffix.lower() == ".raw" for path in mosaics):
        raise UserError(
            f"{NAME}: --raw-size {shape_text(sensor.raw_size)} is for .raw files, and {mosaics[0]} is none;"
            " leave it out: the other files know their size."
        )
    return pairs


def _read_pair(id: str, mosaic_path: Path, target_path: Path, *, sensor: Sensor) -> Sample:
    counts = read_mosaic(NAME, mosaic_path, sensor)
    target = read_rgb(NAME, target_path)
    if target.shape[:2] != counts.shape:
        raise UserError(
            f"{NAME}: {target_path} has {shape_text(target.shape[:2])} pixels, its mosaic {mosaic_path} has"
            f" {shape_text(counts.shape)}; expected the same size: one RGB pixel for each pixel of the mosaic."
        )
    return Sample(
        id,
        torch.from_numpy(counts.astype(np.float32))[None, None],
        picture_tensor(target),
        black=sensor.black,
        white=sensor.white,
        red=sensor.red,
    )


def configure(options: Mapping[str, str]) -> DatasetCard:
    """Return the card with the user's options: those of a ``Sensor``, and perhaps others of ``OPTIONS``."""
    check_options(NAME, options, OPTIONS)
    sensor = Sensor.of(NAME, options)
    opener = functools.partial(
        open_raw_pairs,
        sensor=sensor,
        rule=options.get("rule", DEFAULT_RULE),
        scene=options.get("scene"),
        label=options.get("name"),
        remark=remark_of(options),
    )
    return replace(CARD, open=opener, white=sensor.white, sensor=sensor)


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task="raw2rgb",
        summary="RAW mosaics and RGB pictures of your own: --pairs 'raw/* -> rgb/*' --cfa RGGB --black 64 --white 1023",
        protocol=replace(PAIRS, name=NAME),
        splits=("test",),
        default_split="test",
        plane_size=(224, 224),
        full_size=(1536, 2048),
        open=open_raw_pairs,
        configure=configure,
        options=OPTIONS,
    )
)
