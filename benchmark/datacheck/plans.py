"""The expected form of each dataset: its files in pairs, a rule per kind of file, and defects of the layout."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import awgn, pairs, raw_pairs, sidd, zrr
from benchmark.imaging import mosaics
from benchmark.imaging.matfiles import find_mat
from benchmark.layout import Defect, DefectsError, check_standin, part_text
from benchmark.sensor import Sensor
from benchmark.standin.cache import MARKER, read_marker, rebuild_advice
from benchmark.standin.kinds import named
from benchmark.standin.sidd import BENCHMARK, VALIDATION_NOISY, VALIDATION_TARGET
from benchmark.types import DatasetCard
from benchmark.units import listed
from zoo.errors import UserError, printable


class Problem(NamedTuple):
    """One problem: the file or folder, a word for its kind, what was found and what was expected."""

    file: str
    kind: str
    what: str
    expected: str

    def line(self) -> str:
        """Return the problem as one line."""
        return f"{self.file}: {self.what}" + (f"; expected {self.expected}" if self.expected else "")


@dataclass(frozen=True)
class FileRule:
    """Requirements for files of one role; levels are in the file's own counts."""

    formats: tuple[str, ...]
    kinds: tuple[str, ...]
    bits: tuple[int, ...] = (8,)
    size: tuple[int, int] | None = None
    even: bool = False
    # For 16-bit files: rare counts above this are clipped; if they are not rare, the level is wrong.
    white: float | None = None
    black: float = 0.0
    # A frame is black if its brightest block (of 32 x 32, channels averaged) is at most this.
    black_up_to: float = 0.0
    # Counts that are stored unscaled rarely reach 255 in 8 bits, so many counts at 255 show that they were cut.
    unscaled: bool = False
    mosaic: bool = False
    # How a mosaic of a user's own is stored.
    sensor: Sensor | None = None


class Unit(NamedTuple):
    """Files that belong together, each as (role, path); one file if its partner is missing."""

    split: str
    id: str
    files: tuple[tuple[str, Path], ...]


@dataclass
class CheckPlan:
    """The files to check in one folder, and the problems of its layout."""

    name: str
    rules: Mapping[str, FileRule | None]
    units: Sequence[Unit] = ()
    problems: list[Problem] = field(default_factory=list)
    # The colour filter of files with the role "raw", read from the top left corner, and their location.
    cfa: str | None = None
    # Splits that must not share images, and the role that is compared.
    separate: tuple[tuple[str, str], ...] = ()
    compared: str = "target"
    # The available part of each incomplete split, as "12 of 1204", if --partial allows it.
    parts: dict[str, str] = field(default_factory=dict)
    # The number of blocks of an image, where images are divided.
    blocks: int = field(default_factory=lambda: sidd.BLOCKS)
    # The number of scenes that the images of each split show.
    scenes: dict[str, int] = field(default_factory=dict)
    # sha256 by path, from a stand-in's marker.
    digests: Mapping[str, str] = field(default_factory=dict)


RAW = FileRule(
    formats=("PNG",),
    kinds=("gray",),
    bits=(8, 16),
    even=True,
    white=zrr.WHITE,
    black=zrr.BLACK,
    black_up_to=zrr.BLACK + 2.0,
    unscaled=True,
    mosaic=True,
)
PHOTOGRAPH = FileRule(formats=("JPEG",), kinds=("RGB",), black_up_to=1.0)
PICTURE = FileRule(formats=("PNG", "JPEG", "TIFF"), kinds=("RGB",), bits=(8, 16), black_up_to=1.0)
SIDD_PICTURE = FileRule(formats=("PNG",), kinds=("RGB",), black_up_to=1.0)
ZRR_PATCH = (448, 448)
# The largest number of missing files that are named one by one.
_SHOWN = 20


def make_plan(card: DatasetCard, root: Path, *, partial: bool = False) -> CheckPlan:
    """Return the plan of a dataset at ``root``; raises UserError if it has no check.

    With ``partial`` missing pairs of the real dataset are not a problem, but half a pair is.
    """
    if card.name not in PLANS:
        raise UserError(f"data check: {card.name} has no check; expected one of {', '.join(PLANS)}.")
    rules, find = PLANS[card.name]
    plan, counts = rules(card, root)
    find(plan, card, root, counts, partial and read_marker(root) is None)
    return plan


def rules_at(card: DatasetCard, root: Path) -> CheckPlan:
    """Return the plan of a dataset without looking for its files: rules, name, and a stand-in's digests."""
    return PLANS[card.name][0](card, root)[0]


def _zrr_rules(card: DatasetCard, root: Path) -> tuple[CheckPlan, Mapping[str, int]]:
    marker = read_marker(root)
    size = ZRR_PATCH if marker is None else None
    rules = {"raw": replace(RAW, size=size), "target": replace(PHOTOGRAPH, size=size), "frame": RAW}
    plan = CheckPlan(zrr.NAME, rules, cfa="RGGB", separate=(("train", "test"),))
    return plan, _counts(plan, root, marker, zrr.STANDIN_NAME, zrr.PUBLISHED_COUNTS)


def _sidd_rules(card: DatasetCard, root: Path) -> tuple[CheckPlan, Mapping[str, int]]:
    plan = CheckPlan(sidd.NAME, {"input": SIDD_PICTURE, "target": SIDD_PICTURE, "blocks": None})
    return plan, _counts(plan, root, read_marker(root), sidd.STANDIN_NAME, {})


def _pairs_rules(card: DatasetCard, root: Path) -> tuple[CheckPlan, Mapping[str, int]]:
    rule = replace(PICTURE, white=card.white)
    return CheckPlan(pairs.NAME, {"input": rule, "target": rule}), {}


def _raw_pairs_rules(card: DatasetCard, root: Path) -> tuple[CheckPlan, Mapping[str, int]]:
    sensor = card.sensor
    assert sensor is not None
    raw = replace(
        RAW,
        formats=mosaics.FORMATS,
        white=sensor.white,
        black=sensor.black,
        # Of the range above black, as in ZRR.
        black_up_to=sensor.black + (sensor.white - sensor.black) * 2 / (zrr.WHITE - zrr.BLACK),
        unscaled=sensor.white > 255,
        sensor=sensor,
    )
    return CheckPlan(raw_pairs.NAME, {"raw": raw, "target": PICTURE}, cfa=sensor.cfa), {}


def _find_zrr(plan: CheckPlan, card: DatasetCard, root: Path, counts: Mapping[str, int], partial: bool) -> None:
    units: list[Unit] = []
    for split, count in counts.items():
        found = {
            role: (root / split / folder, _numbered(plan, root / split / folder, suffix, count, partial=partial))
            for role, folder, suffix in (("raw", zrr.RAW_FOLDER, ".png"), ("target", zrr.TARGET_FOLDER, ".jpg"))
        }
        there = list(_pair_numbers(plan, split, count, found))
        part = part_text(sum(len(unit.files) == 2 for unit in there), count)
        if partial and part:
            plan.parts[split] = part
        numbers = [unit.id for unit in there if len(unit.files) == 2]
        _count_scenes(plan, split, zrr.scenes_of_pairs(root, plan.name, split, numbers))
        units += there
    frames = root / "test" / zrr.FULL_FOLDER
    if frames.is_dir():
        units += [
            Unit("frames", path.stem, (("frame", path),)) for path in _files(plan, frames) if path.suffix == ".png"
        ]
    plan.units = units


def _find_sidd(plan: CheckPlan, card: DatasetCard, root: Path, counts: Mapping[str, int], partial: bool) -> None:
    blocks = _plan_blocks(plan, root, counts, partial)
    try:
        sidd.find_scenes(sidd.NAME, root)
    except UserError as error:
        if not blocks or "pass one of" in str(error):
            plan.problems.append(Problem(str(root), "layout", str(error), ""))
        return
    split = _opened(plan, root, lambda: sidd.SiddFolders(root, partial=partial))
    if split is None:
        return
    plan.units = [*plan.units, *_loader_units(split)]
    _count_scenes(plan, split.split, split.scenes)
    # With --partial the loader leaves out incomplete pairs.
    plan.problems += _problems_of(split.defects)
    if "part" in split.provenance:
        plan.parts[split.split] = split.provenance["part"]
        if not partial:
            # A part of SIDD-Small opens without --partial, but the check requires the option.
            there, whole = split.provenance["pairs"], split.provenance["published_pairs"]
            plan.problems.append(Problem(str(root), "count", f"{there} pairs; --partial takes them", str(whole)))


def _plan_blocks(plan: CheckPlan, root: Path, counts: Mapping[str, int], partial: bool) -> list[Path]:
    """Read and return the files of blocks, which must have the published shape and hold pictures."""
    folders = (root, *(path for path in sorted(root.iterdir()) if path.is_dir()))
    stems = (VALIDATION_NOISY, VALIDATION_TARGET, BENCHMARK)
    found = {stem: [path for folder in folders if (path := find_mat(folder, stem))] for stem in stems}
    paths = {stem: files[0] for stem, files in found.items() if files}
    plan.units = [Unit("blocks", path.stem, (("blocks", path),)) for path in paths.values()]
    arrays: dict[str, NDArray[np.uint8]] = {}
    published = counts.get("validation", sidd.PUBLISHED_IMAGES)
    for stem, path in paths.items():
        images = counts.get("benchmark", sidd.PUBLISHED_IMAGES) if stem == BENCHMARK else published
        fewest = 1 if partial and stem != BENCHMARK else images
        read = functools.partial(sidd.read_blocks, plan.name, root, stem, images, plan.blocks, fewest=fewest)
        blocks = _opened(plan, path, read)
        if blocks is not None:
            arrays[stem] = blocks
            plan.problems += _black_blocks(path, blocks)
    sides = (VALIDATION_NOISY, VALIDATION_TARGET)
    for stem, other in (sides, sides[::-1]):
        if stem in paths and other not in paths:
            plan.problems.append(Problem(str(paths[stem]), "partner", "no partner", f"{other}.mat"))
    noisy, target = (arrays.get(stem) for stem in sides)
    if noisy is not None and target is not None and len(noisy) != len(target):
        what, expected = f"{len(target)} images", f"{len(noisy)}, as {VALIDATION_NOISY}.mat"
        plan.problems.append(Problem(str(paths[VALIDATION_TARGET]), "count", what, expected))
    elif noisy is not None and target is not None:
        if part := part_text(len(noisy) * plan.blocks, published * plan.blocks):
            plan.parts["validation"] = part
        _count_scenes(plan, "validation", sidd.scenes_of_images(root, plan.name, len(noisy)))
        plan.problems += _noiseless_blocks(paths[VALIDATION_NOISY], noisy, target)
    return list(paths.values())


def _black_blocks(path: Path, blocks: NDArray[np.uint8]) -> Iterator[Problem]:
    for image, block in np.ndindex(*blocks.shape[:2]):
        if not blocks[image, block].any():
            yield Problem(str(path), "black", f"block {block} of image {image}: every pixel is 0", "a picture")


def _noiseless_blocks(path: Path, noisy: NDArray[np.uint8], target: NDArray[np.uint8]) -> Iterator[Problem]:
    for image, block in np.ndindex(*noisy.shape[:2]):
        if noisy[image, block].any() and np.array_equal(noisy[image, block], target[image, block]):
            what = f"block {block} of image {image}: the same pixels as its target"
            yield Problem(str(path), "mismatch", what, "a noisy picture")


def _find_pairs(plan: CheckPlan, card: DatasetCard, root: Path, counts: Mapping[str, int], partial: bool) -> None:
    split = _opened(plan, root, lambda: card.open(root, card.default_split))
    if split is not None:
        plan.units = _loader_units(split, tuple(plan.rules))
        _count_scenes(plan, split.split, split.scenes)


def _awgn_rules(card: DatasetCard, root: Path) -> tuple[CheckPlan, Mapping[str, int]]:
    # The most frequent kind is right; a picture of the other one is a problem.
    kind = next(iter(awgn.kinds_of([*awgn.pictures_in(root, []).values()])), "RGB")
    return CheckPlan(awgn.NAME, {"picture": replace(PICTURE, kinds=(kind,), bits=(8,))}), {}


def _find_awgn(plan: CheckPlan, card: DatasetCard, root: Path, counts: Mapping[str, int], partial: bool) -> None:
    defects: list[Defect] = []
    pictures = awgn.pictures_in(root, defects)
    plan.problems += _problems_of(defects)
    plan.units = [Unit("pictures", id, (("picture", path),)) for id, path in pictures.items()]
    _count_scenes(plan, "pictures", list(pictures))


def _count_scenes(plan: CheckPlan, split: str, scenes: Sequence[str]) -> None:
    if scenes and all(scenes):
        plan.scenes[split] = len(set(scenes))


# By dataset: a function that returns a plan without units and the number of pairs by split, and one that finds units.
Rules = Callable[[DatasetCard, Path], tuple[CheckPlan, Mapping[str, int]]]
Find = Callable[[CheckPlan, DatasetCard, Path, Mapping[str, int], bool], None]
PLANS: dict[str, tuple[Rules, Find]] = {
    zrr.NAME: (_zrr_rules, _find_zrr),
    sidd.NAME: (_sidd_rules, _find_sidd),
    pairs.NAME: (_pairs_rules, _find_pairs),
    raw_pairs.NAME: (_raw_pairs_rules, _find_pairs),
    awgn.NAME: (_awgn_rules, _find_awgn),
}


def _counts(
    plan: CheckPlan, root: Path, marker: dict[str, Any] | None, standin: str, published: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the number of pairs by split; for a stand-in, its marker gives name, counts and digests."""
    if marker is None:
        return published
    check_standin(root, marker, name=plan.name, standin=standin)
    plan.name = named(standin, marker.get("label"))
    try:
        for one, other, how in marker.get("overlaps", ()):
            what = f"the photographs {one} (train) and {other} (held out) {how}"
            plan.problems.append(Problem(str(root / MARKER), "overlap", what, "different ones; leave one of them out"))
        plan.digests = {path: str(entry["sha256"]) for path, entry in marker.get("files", {}).items()}
        plan.blocks = int(marker.get("blocks", plan.blocks))
        return {str(split): int(count) for split, count in marker["counts"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{plan.name}: {root / MARKER} has no usable entry ({error!r}). {rebuild_advice(root)}"
        ) from error


def _opened(plan: CheckPlan, root: Path, open_split: Callable[[], Any]) -> Any | None:
    """Return an opened split; the loader's errors become problems, and the existing files become units."""
    try:
        return open_split()
    except DefectsError as error:
        plan.problems += _problems_of(error.defects)
        units = list(plan.units)
        first = next(iter(plan.rules))  # what loaders call "input" is "raw" in the plan of RAW pairs
        for id, files in error.files.items():
            units.append(Unit("files", id, tuple((r if r in plan.rules else first, path) for r, path in files)))
        plan.units = units
    except UserError as error:
        what = str(error).removeprefix(f"{plan.name}: ").removeprefix(f"{root} ")
        plan.problems.append(Problem(str(root), "layout" if root.is_dir() else "damaged", what, ""))
    return None


def _problems_of(defects: Sequence[Defect]) -> list[Problem]:
    return [Problem(printable(d.path), d.kind, d.what, d.expected) for d in defects]


def _loader_units(split: Any, roles: Sequence[str] = ("input", "target")) -> list[Unit]:
    return [Unit(split.split, id, tuple(zip(roles, split.paths(id)))) for id in split.ids]


def _files(plan: CheckPlan, folder: Path, *, partial: bool = False) -> Iterator[Path]:
    """Yield the regular files of a folder; hidden files (of file managers) are skipped, other entries are problems.

    With ``partial`` the folder may be missing.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if missing and partial:
            return
        what = "there is no such folder" if missing else f"cannot be listed ({error.strerror})"
        plan.problems.append(Problem(str(folder), "folder", what, "the files of the dataset"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_file():
                yield Path(entry.path)
                continue
            what = "a link to nothing" if entry.is_symlink() and not Path(entry.path).exists() else "no file"
        except OSError as error:  # links that point to each other
            what = f"cannot be followed ({error.strerror})"
        if Path(entry.name).suffix:
            plan.problems.append(Problem(printable(entry.path), "name", what, "a file"))


def _numbered(plan: CheckPlan, folder: Path, suffix: str, count: int, *, partial: bool) -> set[int]:
    """Return the existing numbers of 0 .. count - 1; wrong names are problems, and unless ``partial`` wrong counts."""
    numbers, others = set(), 0
    for path in _files(plan, folder, partial=partial):
        if path.suffix.lower() != suffix:
            continue
        good = path.suffix == suffix and re.fullmatch("0|[1-9][0-9]*", path.stem) and path.stem.isascii()
        if good and int(path.stem) < count:
            numbers.add(int(path.stem))
            continue
        others += 1
        plan.problems.append(
            Problem(printable(path), "name", "not one of the names", f"0{suffix} to {count - 1}{suffix}")
        )
    if len(numbers) + others != count and not partial:
        missing = [f"{number}{suffix}" for number in range(count) if number not in numbers]
        what = f"{len(numbers) + others} files" + (
            f", without {listed(missing, _SHOWN)}" if numbers and missing else ""
        )
        plan.problems.append(Problem(str(folder), "count", what, f"{count} files, 0{suffix} to {count - 1}{suffix}"))
    return numbers


def _pair_numbers(
    plan: CheckPlan, split: str, count: int, found: Mapping[str, tuple[Path, set[int]]]
) -> Iterator[Unit]:
    suffixes = {"raw": ".png", "target": ".jpg"}
    for number in range(count):
        files = tuple(
            (role, folder / f"{number}{suffixes[role]}")
            for role, (folder, numbers) in found.items()
            if number in numbers
        )
        if len(files) == 1:
            (missing,) = (found[role][0] / f"{number}{suffixes[role]}" for role in found if role != files[0][0])
            plan.problems.append(Problem(str(files[0][1]), "partner", "no partner", str(missing)))
        if files:
            yield Unit(split, str(number), files)
