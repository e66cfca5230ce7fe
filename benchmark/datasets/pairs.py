"""A user's own pictures: two folders paired by stem, or one folder with a rule such as ``*_real.* -> *_mean.*``.

Files are PNG, JPEG or TIFF, RGB with 8 or 16 bits; ``white`` is the count of white in 16-bit files that use fewer bits
(1023 for 10 bits), 65535 by default. ``benchmark.pairing`` pairs them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from benchmark.datasets import register_dataset
from benchmark.imaging.imagefiles import read_rgb
from benchmark.imaging.levels import white_level
from benchmark.pairing import DEFAULT_RULE, PairFolder, check_options, picture_tensor, remark_of
from benchmark.protocols import PAIRS
from benchmark.types import DatasetCard, Sample
from benchmark.units import shape_text
from zoo.errors import UserError

NAME = "pairs"
TASKS = ("denoise_rgb", "enhance_rgb")
OPTIONS = ("rule", "task", "white", "scene", "name", "remark")


def open_pairs(
    root: Path,
    split: str = "test",
    *,
    rule: str = DEFAULT_RULE,
    white: float | None = None,
    scene: str | None = None,
    label: str | None = None,
    remark: str | None = None,
    skip_bad: bool = False,
) -> PairFolder:
    """Open the pairs of a folder under a rule; ``test`` is the only split.

    ``white`` is the count that means 1 in 16-bit files. Samples are (1, 3, H, W) in [0, 1].
    """
    read = functools.partial(_read_pair, white=white)
    about = {"white": white, "remark": remark}
    return PairFolder(NAME, root, split, rule, read, label=label, scene=scene, about=about, skip_bad=skip_bad)


def _read_pair(id: str, input_path: Path, target_path: Path, *, white: float | None) -> Sample:
    picture, target = read_rgb(NAME, input_path), read_rgb(NAME, target_path)
    if picture.shape != target.shape:
        raise UserError(
            f"{NAME}: {target_path} has {shape_text(target.shape[:2])} pixels, its partner {input_path} has"
            f" {shape_text(picture.shape[:2])}; expected the same size. Sizes may differ between pairs only."
        )
    return Sample(id, _to_tensor(input_path, picture, white), _to_tensor(target_path, target, white))


def _to_tensor(path: Path, pixels: NDArray[Any], white: float | None) -> Tensor:
    try:
        return picture_tensor(pixels, white)
    except ValueError as error:
        raise UserError(f"{NAME}: {path} has {error}; pass the white level of the files.") from None


def configure(options: Mapping[str, str]) -> DatasetCard:
    """Return the card with the user's ``OPTIONS``, each of which may be left out.

    A white level given by the user becomes part of the protocol's name, so that scores under two levels are never
    compared.
    """
    check_options(NAME, options, OPTIONS)
    task = options.get("task", TASKS[0])
    if task not in TASKS:
        raise UserError(f"{NAME}: no task '{task}' for pairs of pictures; expected one of {', '.join(TASKS)}.")
    white = white_level(options.get("white"))
    protocol = PAIRS
    if white is not None:
        text = f"{PAIRS.text}; files of 16 bits / {white:g}, clipped there"
        protocol = replace(PAIRS, name=f"{PAIRS.name}[white={white:g}]", text=text)
    opener = functools.partial(
        open_pairs,
        rule=options.get("rule", DEFAULT_RULE),
        white=white,
        scene=options.get("scene"),
        label=options.get("name"),
        remark=remark_of(options),
    )
    return replace(CARD, task=task, protocol=protocol, open=opener, white=white)


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task=TASKS[0],
        summary="pictures of your own: input and target folders, or --pairs '*_real.* -> *_mean.*'",
        protocol=PAIRS,
        splits=("test",),
        default_split="test",
        plane_size=(256, 256),
        full_size=(3072, 4096),
        open=open_pairs,
        configure=configure,
        options=OPTIONS,
    )
)
