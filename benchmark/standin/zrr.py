"""``zrr-standin``: pairs of RAW and photograph in the exact on-disk layout of ZRR.

All stand-ins use one fixed camera: its colour matrix and white balance never change, but the exposure gain and the
noise do. Each target is a crop of a photograph, possibly mirrored; its RAW is the crop after inverse processing, with
noise in linear light, quantised to 10-bit counts. As in ZRR, a PNG has 8 bits if no count exceeds 255 and 16 bits
otherwise, with unscaled counts in both. Dark scenes are made as in nature: every third picture is in the shade, and
its light is scaled down before the target is written, so that target and RAW are both dark. Pairs are aligned exactly
to the pixel, unlike those of ZRR.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from benchmark.standin import unprocess
from benchmark.standin.building import Job, Piece, encode_image, write_files
from benchmark.standin.kinds import StandIn, spread
from benchmark.standin.photographs import (
    TEST_PHOTOGRAPHS,
    TRAIN_PHOTOGRAPHS,
    Photograph,
    Pixels,
    facts_of,
    pad_symmetric,
    procedural_photograph,
    sources_digest,
)
from benchmark.standin.unprocess import BLACK, WHITE

NAME = "zrr-standin"
GENERATOR_VERSION = 2
CAMERA_SEED = 2021
LARGEST_8_BIT = 255
# The smallest RAW signal of a white object in the shade (before a random factor down to 0.7).
DIMMEST_WHITE = 0.11
SPLITS = ("train", "test")


def _train_turns() -> tuple[Photograph, ...]:
    """Return the order of photographs for the 56 train pairs, 51 scenes: twice all five and 23 new procedural ones.

    Of 56 pairs, 26, 27, 54 and 55 are validation: four procedural pictures that no other pair shows.
    """
    halves = (range(23), range(23, 46))
    return tuple(source for half in halves for source in (*TRAIN_PHOTOGRAPHS, *map(procedural_photograph, half)))


@dataclass(frozen=True)
class PairPlan:
    """The number of pairs of each split, their photographs (used in turn), and the size of a pair."""

    train: int = 56
    test: int = 12
    size: int = 448
    train_photographs: tuple[Photograph, ...] = _train_turns()
    test_photographs: tuple[Photograph, ...] = TEST_PHOTOGRAPHS
    # A user's photographs may not fit in memory; each photograph of the package makes many pairs and is read once.
    are_users: bool = False

    def photographs(self, split: str) -> tuple[Photograph, ...]:
        """Return the photograph of each pair of a split."""
        turns, count = {
            "train": (self.train_photographs, self.train),
            "test": (self.test_photographs, self.test),
        }[split]
        return tuple(turns[index % len(turns)] for index in range(count))

    def jobs(self) -> list[Job]:
        """Return one job per pair."""
        jobs = [Job(split, i, photo) for split in SPLITS for i, photo in enumerate(self.photographs(split))]
        if self.are_users:
            return jobs
        once = {job.photograph.name: functools.cache(job.photograph.read) for job in jobs}
        return [replace(job, photograph=replace(job.photograph, read=once[job.photograph.name])) for job in jobs]

    def maker(self, seed: int) -> Callable[[Path, Job], Piece]:
        """Return the function that writes one pair."""
        return functools.partial(_make_piece, seed=seed, size=self.size)

    def entries(self, root: Path, jobs: Sequence[Job], pieces: Mapping[str, Piece]) -> dict[str, Any]:
        """Return the pairs by split and their files."""
        found: dict[str, Any] = {
            "counts": {split: len(self.photographs(split)) for split in SPLITS},
            "images": {split: [pieces[job.key]["image"] for job in jobs if job.split == split] for split in SPLITS},
            "files": {path: entry for piece in pieces.values() for path, entry in piece["files"].items()},
        }
        if not self.are_users:
            pixels = {job.photograph.name: job.photograph.read() for job in jobs}
            found["sources"] = sources_digest(sorted(pixels.items()))
        return found


DEFAULT_PLAN = PairPlan()


@dataclass(frozen=True)
class Pair:
    """The parameters of one pair. ``shade`` scales the light of the scene; 1 means no shade."""

    photograph: str
    top: int
    left: int
    mirrored: bool
    shade: float
    rgb_gain: float
    noise: unprocess.Noise


def fixed_camera() -> unprocess.Camera:
    """Return the camera of all ZRR stand-ins; it does not depend on their seed, because ZRR has one sensor."""
    return unprocess.sample_camera(RandomState(CAMERA_SEED))


def _photo_plan(train: Sequence[Photograph], held_out: Sequence[Photograph], trains: int, tests: int) -> PairPlan:
    photographs = spread(train, trains), spread(held_out, tests)
    return PairPlan(trains, tests, DEFAULT_PLAN.size, *photographs, are_users=True)


STANDIN = StandIn(NAME, GENERATOR_VERSION, "pairs", fixed_camera, lambda: DEFAULT_PLAN, _photo_plan)


def _make_piece(root: Path, job: Job, *, seed: int, size: int) -> Piece:
    """Write the files of one pair."""
    pixels = job.photograph.read()
    image = pad_symmetric(pixels, size)
    files, entry = _encode_pair(job.split, job.index, job.photograph.name, image, seed=seed, size=size)
    return {"files": write_files(root, files), **facts_of(job.photograph.name, pixels), "image": entry}


def _encode_pair(
    split: str, index: int, name: str, image: Pixels, *, seed: int, size: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of one pair and its entry in the marker."""
    # Each pair has its own random stream, so it does not depend on the number of other pairs.
    random = RandomState([seed, SPLITS.index(split), index])
    pair = draw_pair(name, image, size, shaded=index % 3 == 1, random=random)
    raw, target, preview = make_pair(pair, image, size, random)
    return _encode(split, index, raw, target, preview), {**asdict(pair), "bits": 8 * raw.itemsize}


def draw_pair(name: str, image: Pixels, size: int, *, shaded: bool, random: RandomState) -> Pair:
    """Draw crop, exposure and noise of one pair from a photograph that is at least ``size`` a side."""
    top, left = (int(random.randint(side - size + 1)) for side in image.shape[:2])
    mirrored = bool(random.randint(2))
    rgb_gain = unprocess.sample_rgb_gain(random)
    noise = unprocess.BROOKS_NOISE.sample(random)
    shade = 1.0
    if shaded:
        # With strong noise only a black scene fits into 8 bits, so such levels are drawn again.
        while brightest_8_bit(noise) < DIMMEST_WHITE:
            noise = unprocess.BROOKS_NOISE.sample(random)
        shade = min(1.0, random.uniform(0.7, 1.0) * rgb_gain * brightest_8_bit(noise))
    return Pair(name, top, left, mirrored, shade, rgb_gain, noise)


def brightest_8_bit(noise: unprocess.Noise, deviations: float = 6.0) -> float:
    """Return the largest signal whose count stays below 256 with ``deviations`` standard deviations of noise.

    It is the smaller root of x + k sqrt(shot x + read) = (255 - black) / (white - black); negative if noise alone
    needs more than 8 bits.
    """
    limit = (LARGEST_8_BIT - BLACK) / (WHITE - BLACK)
    half = limit + deviations**2 * noise.shot / 2.0
    inner = half**2 - limit**2 + deviations**2 * noise.read
    return half - sqrt(inner)


def make_pair(pair: Pair, image: Pixels, size: int, random: RandomState) -> tuple[NDArray[Any], Pixels, Pixels]:
    """Return the counts (uint8 or uint16), the target and the preview of one pair."""
    crop = image[pair.top : pair.top + size, pair.left : pair.left + size]
    target = crop[:, ::-1] if pair.mirrored else crop
    if pair.shade < 1.0:
        target = unprocess.to_uint8(unprocess.render(pair.shade * unprocess.linearise(target / 255.0)))
    camera = fixed_camera()
    clean = unprocess.unprocess(target / 255.0, camera, pair.rgb_gain)
    signal = unprocess.add_noise(clean, pair.noise, random)
    counts = np.rint(BLACK + signal * (WHITE - BLACK)).clip(0, WHITE)
    raw = counts.astype(np.uint8 if counts.max() <= LARGEST_8_BIT else np.uint16)
    preview = unprocess.process((counts - BLACK) / (WHITE - BLACK), camera, pair.rgb_gain)
    return raw, target, unprocess.to_uint8(preview)


def _encode(split: str, index: int, raw: NDArray[Any], target: Pixels, preview: Pixels) -> dict[str, bytes]:
    """Return path and content of the files of one pair."""
    return {
        f"{split}/huawei_raw/{index}.png": encode_image(raw, format="PNG", compress_level=3),
        # 4:4:4 and a high quality, so that the JPEG coding does not limit the quality of the targets.
        f"{split}/canon/{index}.jpg": encode_image(target, format="JPEG", quality=95, subsampling=0),
        f"{split}/huawei_visualized/{index}.jpg": encode_image(preview, format="JPEG", quality=90),
    }
