"""SIDD (Smartphone Image Denoising Dataset), sRGB: noisy phone photographs beside the mean of many shots.

``validation`` and the benchmark are blocks in MATLAB files, (40 images, 32 blocks, 256, 256, 3) uint8. ``train`` is
SIDD-Medium, 160 folders ``<instance>_<scene>_<phone>_<ISO>_<1/shutter>_<illuminant>_<L|N|H>`` with two pairs each of
``0001_NOISY_SRGB_010.PNG`` and ``0001_GT_SRGB_010.PNG``, or SIDD-Small, which has one pair and no number in the name.
``train-fit`` and ``train-select`` divide train by scene instances, for training and for the choice of settings. The
benchmark has no public targets: ``SiddBenchmark`` reads it, for submissions only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.datasets import register_dataset
from benchmark.imaging.imagefiles import read_rgb
from benchmark.imaging.matfiles import find_mat, read_variable
from benchmark.layout import (
    Defect,
    DefectsError,
    Files,
    PairDigest,
    identify,
    left_out,
    part_notes,
    part_prefix,
    part_text,
    photographs,
)
from benchmark.protocols import SIDD
from benchmark.standin.cache import read_marker, rebuild_advice
from benchmark.standin.sidd import BENCHMARK, FIRST_INSTANCE, STANDIN, VALIDATION_NOISY, VALIDATION_TARGET
from benchmark.standin.sidd import NAME as STANDIN_NAME
from benchmark.types import Dataset, DatasetCard, Sample
from benchmark.units import shape_text
from zoo.errors import UserError

NAME = "sidd"
# SIDD has no part of train to choose settings on, so the tool divides it: every twentieth scene instance selects.
FIT, SELECT, SELECT_EVERY = "train-fit", "train-select", 20
SPLITS = ("validation", "train", FIT, SELECT)
BLOCKS, BLOCK = 32, (256, 256, 3)
PUBLISHED_IMAGES = 40
# Numbers of folders and pairs.
PUBLISHED_MEDIUM, PUBLISHED_SMALL = (160, 320), (160, 160)

_FOLDER = re.compile(r"(\d{4,})_\d{3}_[A-Z0-9]+_\d{5}_\d{5}_\d{4}_[LNH]")
_FILE = re.compile(r"(?:(\d{4,})_)?(NOISY|GT)_SRGB_(\d{3})\.png", re.IGNORECASE)
_ADVICE = "Download the dataset and pass its root as --data-root."


class SiddBlocks:
    """The validation blocks; sample ``32 i + k`` is block ``k`` of image ``i``."""

    split = "validation"
    # The number of blocks of an image; a stand-in may have fewer.
    _blocks = BLOCKS

    def __init__(self, root: Path, *, partial: bool = False) -> None:
        """Read both files; raises UserError unless all published blocks, or those of a stand-in, are there.

        With ``partial`` both files of the real dataset may hold fewer images, but the same number of them.
        """
        self.root = root
        self.provenance: Mapping[str, Any]
        self.name, self.provenance, images = _identity(root, self.split, PUBLISHED_IMAGES)
        self._blocks = blocks = int(self.provenance.get("blocks", BLOCKS))
        fewest = 1 if partial and not self.provenance["standin"] else images
        self._noisy = read_blocks(self.name, root, VALIDATION_NOISY, images, blocks, fewest=fewest)
        self._target = read_blocks(self.name, root, VALIDATION_TARGET, images, blocks, fewest=fewest)
        if len(self._noisy) != len(self._target):
            raise UserError(
                f"{self.name}: {VALIDATION_NOISY}.mat in {root} holds {len(self._noisy)} images,"
                f" {VALIDATION_TARGET}.mat holds {len(self._target)}; expected the same ones in both."
            )
        self.ids: Sequence[str] = [str(number) for number in range(len(self._noisy) * blocks)]
        shown = scenes_of_images(root, self.name, len(self._noisy))
        self.scenes: Sequence[str] = [scene for scene in shown for _ in range(blocks)]
        self._part = part_text(len(self.ids), images * blocks)
        self.notes = part_notes(self.name, self.split, self._part, {})
        if self._part:
            self.provenance = {**self.provenance, "part": self._part}

    def __len__(self) -> int:
        return len(self.ids)

    def pixels(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the stored pixels (256, 256, 3) of block ``index``, noisy and clean."""
        place = divmod(range(len(self))[index], self._blocks)
        return self._noisy[place], self._target[place]

    def __getitem__(self, index: int) -> Sample:
        """Return block ``index``, noisy and clean, both (1, 3, 256, 256) in [0, 1]."""
        noisy, target = self.pixels(index)
        return Sample(self.ids[index], to_tensor(noisy), to_tensor(target), scene=self.scenes[index])

    def digest(self, limit: int | None = None) -> str:
        """Return a sha256 over the values of the first ``limit`` blocks; v5 and v7.3 files give the same digest."""
        digest = sha256(part_prefix(self._part) + self.name.encode())
        for index in range(len(self) if limit is None else min(max(limit, 0), len(self))):
            place = divmod(index, self._blocks)
            digest.update(self._noisy[place].tobytes() + self._target[place].tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class NoisyBlock:
    """A block without a target. ``input``: (1, 3, 256, 256) in [0, 1]."""

    id: str
    input: Tensor


class SiddBenchmark:
    """The benchmark blocks, which have no public target: for submissions, never for scores."""

    def __init__(self, root: Path) -> None:
        """Read ``BenchmarkNoisyBlocksSrgb.mat``; raises UserError unless all its blocks are there."""
        self.name, self.provenance, self.num_images = _identity(root, "benchmark", PUBLISHED_IMAGES)
        self._blocks = int(self.provenance.get("blocks", BLOCKS))
        self._noisy = read_blocks(self.name, root, BENCHMARK, self.num_images, self._blocks)

    def __len__(self) -> int:
        return self.num_images * self._blocks

    def __getitem__(self, index: int) -> NoisyBlock:
        """Return block ``index``."""
        number = range(len(self))[index]
        return NoisyBlock(str(number), to_tensor(self._noisy[divmod(number, self._blocks)]))


class SiddFolders:
    """The pairs of SIDD-Medium or SIDD-Small as whole pictures, sorted by name: all of ``train``, or a part of it."""

    def __init__(self, root: Path, split: str = "train", *, skip_bad: bool = False, partial: bool = False) -> None:
        """Find and pair the files; raises DefectsError for a picture without partner and for missing pairs.

        With ``skip_bad`` incomplete pairs are left out. With ``partial`` the pairs of the real dataset that have both
        pictures are used. Fewer scenes of SIDD-Small are accepted as a part even without it. ``left_out`` lists what
        was left out, and why.
        """
        self.root, self.split = root, split
        self.name, provenance, count = _identity(root, "train", 0)
        self._folder = folder = find_scenes(self.name, root)
        files, defects = _find_pairs(folder)
        self._pairs = {id: (pair[0][1], pair[1][1]) for id, pair in files.items() if len(pair) == 2}
        self.ids: Sequence[str] = list(self._pairs)
        medium = all(re.match(r"\d", path.name) for pair in self._pairs.values() for path in pair)
        layout = "medium" if medium else "small"
        partial = partial and not provenance["standin"]
        counts, wrong = self._check_count(layout, count if provenance["standin"] else None, partial=partial)
        self.defects = defects = [*defects, *wrong]
        refused = [one for one in defects if not (partial and one.kind in ("partner", "folder"))]
        if defects and (not self.ids or (refused and not skip_bad)):
            raise DefectsError(self.name, refused or defects, files)
        self.left_out = left_out(defects)
        self.provenance: Mapping[str, Any] = {**provenance, "layout": layout, **counts}
        part = part_text(len(self.ids), counts.get("published_pairs", count))
        self.notes = part_notes(self.name, self.split, part, self.left_out)
        if part:
            self.provenance = {**self.provenance, "part": part}
        if split != "train":
            self.ids = _divided(self.ids, select=split == SELECT)
            if not self.ids:
                raise UserError(f"{self.name}: {root} has too few scenes for the split {split}; expected at least 20.")
        self.scenes: Sequence[str] = self._scenes()
        self.digest = PairDigest(self.name, self.ids, self.paths, folder=folder, skip_bad=skip_bad, part=part)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return pair ``index``, both (1, 3, H, W) in [0, 1]; raises UserError naming a damaged file."""
        id = self.ids[index]
        noisy_path, target_path = self.paths(id)
        noisy, target = (self._read(path) for path in (noisy_path, target_path))
        if noisy.shape != target.shape:
            raise UserError(
                f"{self.name}: {target_path} has {shape_text(target.shape[:2])} pixels, {noisy_path} has"
                f" {shape_text(noisy.shape[:2])}; expected the same size. Copy the pair again from the dataset."
            )
        return Sample(id, to_tensor(noisy), to_tensor(target), scene=self.scenes[index])

    def _scenes(self) -> list[str]:
        """Return the instance with which each pair's folder begins; for a stand-in its photograph."""
        instances = [id.rpartition("_")[0] for id in self.ids]
        if not self.provenance["standin"]:
            return instances

        def entry_of(scenes: Mapping[str, Any], instance: str) -> Any:
            return scenes[f"train/{int(instance) - FIRST_INSTANCE}"]

        return photographs(self.root, self.name, "scenes", entry_of, instances)

    def paths(self, id: str) -> tuple[Path, Path]:
        """Return the files of a pair, noisy and clean."""
        return self._pairs[id]

    def _read(self, path: Path) -> NDArray[Any]:
        pixels = read_rgb(self.name, path, formats=("PNG",))
        if pixels.dtype != np.uint8:
            raise UserError(f"{self.name}: {path} has 16 bits a colour; SIDD's sRGB files have 8. Copy it again.")
        return pixels

    def _check_count(
        self, layout: str, standin_pairs: int | None, *, partial: bool
    ) -> tuple[dict[str, int], list[Defect]]:
        """Return the actual and the expected number of pairs, and the problem if this is not a dataset."""
        pairs, folders = len(self.ids), len({path.parent for path, _ in self._pairs.values()})
        if standin_pairs is not None:
            expected = f"the {standin_pairs} of its marker"
            wrong = [Defect(self._folder, "count", f"has {pairs} pairs", expected, rebuild_advice(self.root))]
            return {"pairs": pairs}, wrong if pairs != standin_pairs else []
        published = PUBLISHED_MEDIUM if layout == "medium" else PUBLISHED_SMALL
        counts = {"pairs": pairs, "published_pairs": published[1]}
        is_part = 0 < pairs < published[1] and folders <= published[0]
        # SIDD-Small is often shared in parts; the part that is used is reported like every other part.
        if (folders, pairs) == published or (is_part and (partial or layout == "small")):
            return counts, []
        found = f"has {pairs} pairs in {folders} folders"
        expected = f"{published[1]} pairs in {published[0]} folders, the whole of SIDD-{layout.capitalize()}"
        hint = f" Or use the {pairs} pairs that are there with --partial." if is_part else ""
        return counts, [Defect(self._folder, "count", found, expected, _ADVICE + hint)]


def open_sidd(root: Path, split: str, *, skip_bad: bool = False, partial: bool = False) -> Dataset:
    """Open ``validation`` or ``train`` at ``root``; raises UserError for every problem with the files."""
    if split == "validation":
        return SiddBlocks(root, partial=partial)
    if split in ("train", FIT, SELECT):
        return SiddFolders(root, split, skip_bad=skip_bad, partial=partial)
    if split == "benchmark":
        raise UserError(f"{NAME}: the benchmark blocks have no public targets; use `zoo-bench submit` for them.")
    raise UserError(f"{NAME}: unknown split '{split}'; expected one of {', '.join(SPLITS)}.")


def _divided(ids: Sequence[str], *, select: bool) -> list[str]:
    """Return the pairs of every twentieth scene instance, or those of the others."""
    instances = list(dict.fromkeys(id.partition("_")[0] for id in ids))
    chosen = {*instances[SELECT_EVERY - 1 :: SELECT_EVERY]}
    return [id for id in ids if (id.partition("_")[0] in chosen) is select]


def scenes_of_images(root: Path, name: str, images: int) -> list[str]:
    """Return the scene of each image of the validation blocks: a stand-in's photographs, else the images themselves."""
    numbers = [str(number) for number in range(images)]
    if read_marker(root) is None:
        return [f"image {number}" for number in numbers]
    return photographs(root, name, "scenes", lambda scenes, id: scenes[f"validation/{id}"], numbers)


def to_tensor(pixels: NDArray[Any]) -> Tensor:
    """Return 8-bit pixels (H, W, 3) as float32 (1, 3, H, W) in [0, 1]."""
    scaled = np.ascontiguousarray(pixels).astype(np.float32) / np.float32(255)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous()


def read_blocks(
    name: str, root: Path, stem: str, images: int, blocks: int = BLOCKS, *, fewest: int | None = None
) -> NDArray[np.uint8]:
    """Return the blocks (images, blocks, 256, 256, 3) of ``<stem>.mat``, from the variable with that name.

    The file may be in ``root`` or one folder below. A v7.3 file that another tool wrote without reversing the axes is
    recognised by its shape. ``fewest``: the smallest number of images that is accepted.
    """
    path = _find_blocks(name, root, stem)
    expected = (images, blocks, *BLOCK)

    least = images if fewest is None else fewest

    def fits(shape: tuple[int, ...], fewest: int) -> bool:
        return shape[1:] == expected[1:] and fewest <= shape[0] <= images

    def accept(shape: tuple[int, ...], dtype: str) -> None:
        if dtype == "uint8" and (fits(shape, least) or fits(shape[::-1], least)):
            return
        found = next((one for one in (shape, shape[::-1]) if dtype == "uint8" and fits(one, 1)), None)
        hint = f" Or use the {found[0]} images that are there with --partial." if found and fewest == images else ""
        raise UserError(
            f"{name}: {path} holds {dtype} {shape_text(shape)};"
            f" expected uint8 {shape_text(expected)}. Download it again.{hint}"
        )

    values = read_variable(name, path, stem, accept)
    accept(values.shape, str(values.dtype))
    return values if fits(values.shape, least) else values.transpose()


def _find_blocks(name: str, root: Path, stem: str) -> Path:
    path = _blocks_at(root, stem)
    if path is not None:
        return path
    hint = " There are scene folders: for those pass --split train." if _has_scenes(root, stem) else ""
    raise UserError(f"{name}: no {stem}.mat in {root} or a folder in it. {_ADVICE}{hint}")


def _blocks_at(root: Path, stem: str) -> Path | None:
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return next((path for folder in (root, *below) if (path := find_mat(folder, stem)) is not None), None)


def _has_scenes(root: Path, stem: str) -> bool:
    """Whether the pictures of ``train`` are in the folder where the blocks of validation were expected."""
    if stem != VALIDATION_NOISY:
        return False
    try:
        find_scenes(NAME, root)
    except UserError:
        return False
    return True


def find_scenes(name: str, root: Path) -> Path:
    """Return the folder that holds the scene folders: ``root`` or one of the two levels below.

    Raises UserError if there is none or if there are several, for example Medium and Small side by side.
    """
    level = [root]
    for _ in range(3):
        found = [folder for folder in level if any(_FOLDER.fullmatch(path.name) for path in _folders(folder))]
        if len(found) > 1:
            raise UserError(f"{name}: scenes in {found[0]} and in {found[1]}; pass one of the two as --data-root.")
        if found:
            return found[0]
        level = [path for folder in level for path in _folders(folder)]
    hint = (
        " There are validation blocks: for those pass --split validation." if _blocks_at(root, VALIDATION_NOISY) else ""
    )
    raise UserError(
        f"{name}: no scene folders like 0001_001_S6_00100_00060_3200_L in {root} or up to two levels below."
        f" {_ADVICE}{hint}"
    )


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:
        return []


def _find_pairs(scenes: Path) -> tuple[dict[str, Files], list[Defect]]:
    """Return by id, ``<instance>_<frame>``, the existing files (the noisy one first), and the defects."""
    files: dict[str, Files] = {}
    defects: list[Defect] = []
    again = "Copy the folder again from the dataset."
    for folder in _folders(scenes):
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            continue
        sides: dict[str, dict[str, Path]] = {"NOISY": {}, "GT": {}}
        for path in sorted(folder.iterdir()):
            named = _FILE.fullmatch(path.name)
            if named is not None and named[1] not in (None, match[1]):
                expected = f"{match[1]}, as its folder begins"
                defects.append(Defect(path, "name", "belongs to another scene", expected, again))
            elif named is not None:
                sides[named[2].upper()][named[3]] = path
        for frame in sorted({*sides["NOISY"], *sides["GT"]}):
            roles = (("input", "NOISY"), ("target", "GT"))
            there = tuple((role, sides[side][frame]) for role, side in roles if frame in sides[side])
            files[f"{match[1]}_{frame}"] = there
            if len(there) == 1:
                expected = "a NOISY and a GT picture of the same number"
                defects.append(Defect(there[0][1], "partner", "has no partner", expected, again))
        if not sides["NOISY"] and not sides["GT"]:
            defects.append(Defect(folder, "folder", "has no NOISY_SRGB pictures", "one or two pairs", again))
    return files, defects


def _identity(root: Path, split: str, published: int) -> tuple[str, dict[str, Any], int]:
    return identify(root, split, name=NAME, standin=STANDIN_NAME, published=published)


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task="denoise_rgb",
        summary="Smartphone Image Denoising Dataset, sRGB: 256x256 blocks of noisy photographs and their means",
        protocol=SIDD,
        splits=SPLITS,
        default_split="validation",
        plane_size=BLOCK[:2],
        full_size=(3072, 4096),
        open=open_sidd,
        standin=STANDIN.cached,
        write_standin=STANDIN.write,
        write_from_photos=STANDIN.write_photos,
    )
)
