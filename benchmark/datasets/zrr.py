"""Zurich RAW to RGB (ZRR): patches of a Huawei P20's RAW beside the same scene from a Canon 5D Mark IV.

Layout: ``<root>/{train,test}/huawei_raw/{i}.png`` and ``canon/{i}.jpg``. The mosaics are RGGB with 10-bit counts,
unscaled in both 8-bit and 16-bit files: a dark patch that fits into 8 bits is stored in 8 bits, so a reader that
scales by the file's depth would make it four times too bright.

The dataset has no validation split and does not say which frame a patch comes from. Neighbouring numbers may show
one scene, so ``validation`` is cut from ``train`` in blocks, not in single pairs: train is divided into 16 sections
of equal length (fewer if it is small, at least 20 pairs each), and the last twentieth of each is validation. So it is
spread over the whole set, and at most 31 borders can divide a scene. ``train`` is the rest, ``trainval`` is both. The
split depends only on a pair's number, so no pair changes its split when an incomplete dataset grows.

For the same reason a scene is a block of 24 neighbouring numbers here, and is named so: a frame gives about as many
patches. Patches of a stand-in name their photograph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.datasets import register_dataset
from benchmark.imaging.imagefiles import decode, read_content, read_rgb
from benchmark.imaging.levels import clip_to_white
from benchmark.layout import PairDigest, identify, part_notes, part_text, photographs
from benchmark.protocols import ZRR
from benchmark.standin.cache import read_marker, rebuild_advice
from benchmark.standin.zrr import NAME as STANDIN_NAME
from benchmark.standin.zrr import STANDIN
from benchmark.types import DatasetCard, Sample
from benchmark.units import listed, shape_text
from zoo.errors import UserError

NAME = "zrr"
PUBLISHED_COUNTS = {"train": 46839, "test": 1204}
SPLITS = ("train", "validation", "trainval", "test")
FULL_FOLDER = "huawei_full_resolution"
_STRETCHES, _VALIDATION_SHARE = 16, 20
PAIRS_OF_A_SCENE = 24
RAW_FOLDER, TARGET_FOLDER = "huawei_raw", "canon"
BLACK, WHITE, RED = 64, 1023, (0, 0)


class ZrrSplit:
    """One opened split of ZRR or of its stand-in; samples are read when they are requested."""

    def __init__(self, root: Path, split: str, *, skip_bad: bool = False, partial: bool = False) -> None:
        """Open ``root``/``split`` and pair its files; raises UserError unless all published files exist.

        A root with a stand-in's marker is named ``zrr-standin``, and the marker lists its files. With ``skip_bad``
        incomplete pairs are left out and listed in ``left_out``. With ``partial`` only pairs of the real dataset that
        have both files are used; those with one file are listed in ``left_out``.
        """
        if split not in SPLITS:
            raise UserError(f"{NAME}: unknown split '{split}'; expected one of {', '.join(SPLITS)}.")
        self.split = split
        self.root = root
        self._part = "test" if split == "test" else "train"
        self.provenance: Mapping[str, Any]
        self.name, self.provenance, count = identify(
            root, self._part, name=NAME, standin=STANDIN_NAME, published=PUBLISHED_COUNTS[self._part]
        )
        advice = "Download the dataset and pass --data-root."
        if self.provenance["standin"]:
            advice, partial = rebuild_advice(root), False
        folders = {".png": root / self._part / RAW_FOLDER, ".jpg": root / self._part / TARGET_FOLDER}
        # Ids are sorted as numbers, because sorted names would give 0, 1, 10, 100.
        ids = [str(number) for number in _numbers(self.name, split, count)]
        missing: dict[str, list[Path]] = {}
        try:
            _check_files(self.name, folders, count, advice, partial=partial)
            missing = _missing_files(folders, ids) if partial else {}
            if partial and len(missing) == len(ids):
                raise UserError(
                    f"{self.name}: none of the {len(ids)} {split} pairs, {ids[0]} to {ids[-1]}, is complete in"
                    f" {root / self._part}. Add some of them or choose another split."
                )
        except UserError as error:
            missing = _missing_files(folders, ids)
            if not skip_bad or len(missing) == len(ids):
                hint = "" if partial or self.provenance["standin"] else self._hint(len(ids) - len(missing), len(ids))
                raise UserError(f"{error}{hint}") from error
        self.left_out = {
            id: f"no file {' and no file '.join(map(str, paths))}"
            for id, paths in missing.items()
            if not partial or len(paths) < len(folders)
        }
        self.ids: Sequence[str] = [id for id in ids if id not in missing]
        self.scenes: Sequence[str] = scenes_of_pairs(root, self.name, self._part, self.ids)
        part = part_text(len(self.ids), len(ids))
        self.notes = part_notes(self.name, split, part, self.left_out)
        if part:
            self.provenance = {**self.provenance, "part": part}
        self.digest = PairDigest(self.name, self.ids, self.paths, folder=root, skip_bad=skip_bad, part=part)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return pair ``index``: counts (1, 1, H, W) and target (1, 3, H, W) in [0, 1], both float32."""
        raw_path, target_path = self.paths(self.ids[index])
        counts = _read_mosaic(self.name, raw_path)
        target = read_rgb(self.name, target_path, formats=("JPEG",))
        if target.shape[:2] != counts.shape:
            raise UserError(
                f"{self.name}: {target_path} has {shape_text(target.shape[:2])} pixels, its mosaic {raw_path} has"
                f" {shape_text(counts.shape)};"
                " expected the same size. Copy the pair again from the dataset."
            )
        return Sample(
            id=self.ids[index],
            input=torch.from_numpy(counts.astype(np.float32))[None, None],
            target=torch.from_numpy(target.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous(),
            black=float(BLACK),
            white=float(WHITE),
            red=RED,
            scene=self.scenes[index],
        )

    def _hint(self, there: int, whole: int) -> str:
        """Return advice for an incomplete dataset."""
        if there:
            return f" Or use the {there} of {whole} {self.split} pairs that are there with --partial."
        other = "train" if self._part == "test" else "test"
        if (self.root / other / RAW_FOLDER).is_dir():
            return f" There is a {other} folder: for its images pass --split {other}."
        return ""

    def paths(self, id: str) -> tuple[Path, Path]:
        """Return the files of a pair, mosaic and target."""
        folder = self.root / self._part
        return folder / RAW_FOLDER / f"{id}.png", folder / TARGET_FOLDER / f"{id}.jpg"


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task="raw2rgb",
        summary="Zurich RAW to RGB: 448x448 phone mosaics and DSLR photographs of the same scenes",
        protocol=ZRR,
        splits=SPLITS,
        default_split="test",
        plane_size=(224, 224),
        full_size=(1536, 2048),
        open=ZrrSplit,
        standin=STANDIN.cached,
        write_standin=STANDIN.write,
        write_from_photos=STANDIN.write_photos,
    )
)


def scenes_of_pairs(root: Path, name: str, part: str, ids: Sequence[str]) -> list[str]:
    """Return the scenes of pairs of ``part``, train or test: a stand-in's photographs, else blocks of numbers."""
    if read_marker(root) is not None:
        return photographs(root, name, "images", lambda images, id: images[part][int(id)], ids)
    firsts = [int(id) // PAIRS_OF_A_SCENE * PAIRS_OF_A_SCENE for id in ids]
    return [f"{part} {first} to {first + PAIRS_OF_A_SCENE - 1}" for first in firsts]


def validation_numbers(count: int) -> list[int]:
    """Return the numbers of the ``count`` train pairs that are validation; none if there are fewer than 20 pairs."""
    stretches = min(_STRETCHES, count // _VALIDATION_SHARE)
    numbers: list[int] = []
    for stretch in range(stretches):
        start, stop = (count * number // stretches for number in (stretch, stretch + 1))
        numbers += range(stop - -(-(stop - start) // _VALIDATION_SHARE), stop)
    return numbers


def _numbers(name: str, split: str, count: int) -> list[int]:
    if split in ("test", "trainval"):
        return list(range(count))
    held_out = validation_numbers(count)
    if split == "validation":
        if not held_out:
            raise UserError(f"{name}: {count} train pairs are too few for a validation split; expected at least 20.")
        return held_out
    skipped = set(held_out)
    return [number for number in range(count) if number not in skipped]


def _check_files(name: str, folders: Mapping[str, Path], count: int, advice: str, *, partial: bool = False) -> None:
    """Raise UserError unless each folder, by suffix, holds exactly ``0{suffix}`` to ``{count - 1}{suffix}``.

    With ``partial`` some may be missing.
    """
    found = {suffix: _read_stems(name, folder, suffix, count, advice) for suffix, folder in folders.items()}
    for suffix, folder in folders.items():
        missing = [] if partial else [number for number in range(count) if str(number) not in found[suffix]]
        extra = sorted(int(stem) for stem in found[suffix] if int(stem) >= count)
        if not missing and not extra:
            continue
        details = ""
        if found[suffix] and missing:
            details = f"; missing {listed([f'{number}{suffix}' for number in missing], 5)}"
            partners = [f for s, f in folders.items() if s != suffix and str(missing[0]) in found[s]]
            details += "".join(f", while its partner in {partner} is there" for partner in partners)
        if extra:
            details += f"; unexpected {listed([f'{number}{suffix}' for number in extra], 5)}"
        raise UserError(f"{name}: expected {count} files in {folder}, found {len(found[suffix])}{details}. {advice}")


def _missing_files(folders: Mapping[str, Path], ids: Sequence[str]) -> dict[str, list[Path]]:
    """Return the pairs with missing files, and these files."""
    missing = {
        id: [folder / f"{id}{s}" for s, folder in folders.items() if not (folder / f"{id}{s}").is_file()] for id in ids
    }
    return {id: paths for id, paths in missing.items() if paths}


def _read_stems(name: str, folder: Path, suffix: str, count: int, advice: str) -> set[str]:
    """Return the stems of the files with this suffix, all of them integers as ``str`` writes them."""
    try:
        # File managers create names with a leading dot.
        stems = {path.stem for path in folder.iterdir() if path.suffix == suffix and path.name[0] != "."}
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "there is no such folder" if missing else error.strerror
        raise UserError(f"{name}: expected {count} files in {folder}, found 0: {reason}. {advice}") from error
    # The names 007 and 7 would be the same number.
    odd = sorted(stem for stem in stems if not re.fullmatch("0|[1-9][0-9]*", stem))
    if odd:
        raise UserError(
            f"{name}: {folder / (odd[0] + suffix)} has no integer for a name; expected 0{suffix} to"
            f" {count - 1}{suffix}. Move files that do not belong to the dataset elsewhere."
        )
    return stems


def _read_mosaic(name: str, path: Path) -> NDArray[Any]:
    """Return the stored counts (H, W); raises UserError naming the file if they cannot be RAW.

    Hot pixels above white are set to white.
    """
    picture = decode(name, path, read_content(name, path), ("PNG",))
    counts = picture.pixels
    if picture.kind != "gray" or picture.bits not in (8, 16):
        raise UserError(
            f"{name}: {path} is a PNG of {picture.bits}-bit {picture.kind}; expected a mosaic: gray with 8 or 16 bits."
        )
    try:
        counts, _ = clip_to_white(counts, WHITE)
    except ValueError:
        raise UserError(
            f"{name}: {path} has counts up to {counts.max()}; expected 10-bit counts, at most {WHITE}, not scaled"
            " to the file's 16 bits."
        ) from None
    if counts.shape[0] % 2 or counts.shape[1] % 2:
        raise UserError(
            f"{name}: {path} has {shape_text(counts.shape)} pixels; a Bayer mosaic has an even height and width."
            " Crop it by whole 2x2 blocks."
        )
    return counts
