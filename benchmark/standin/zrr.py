"""``zrr-standin``: pairs of RAW and photograph in the exact on-disk layout of ZRR.

One camera, fixed for all stand-ins, took every picture: its colour matrix and white balance never change, the
exposure gain and the noise do. Each target is a crop of a photograph, possibly mirrored; its RAW is the
crop unprocessed, noised in linear light, and quantised to 10-bit counts. As in ZRR a PNG has 8 bits when no
count exceeds 255 and 16 bits otherwise, counts unscaled in both. Dark scenes come about as they do outdoors:
every third picture is in the shade, its light scaled down before the target is written, so that target and
RAW are dark together. Pairs are aligned to the pixel, which those of ZRR are not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from benchmark.reporting import Reporter
from benchmark.standin import cache, unprocess
from benchmark.standin.building import (
    Job,
    Piece,
    build_pieces,
    encode_image,
    finish,
    marker_head,
    plan_photos,
    sources_of,
    spread,
    write_files,
    write_new,
    writing_to,
)
from benchmark.standin.photographs import (
    TEST_PHOTOGRAPHS,
    TRAIN_PHOTOGRAPHS,
    Photograph,
    Pixels,
    pad_symmetric,
    procedural_photograph,
    sources_digest,
)

NAME = "zrr-standin"
# Raised with every change that moves a byte of the output.
GENERATOR_VERSION = 1
CAMERA_SEED = 2021
BLACK, WHITE, LARGEST_8_BIT = 64, 1023, 255
# A white object in the shade has at least this signal in the RAW (before a random factor down to 0.7).
DIMMEST_WHITE = 0.11
SPLITS = ("train", "test")


def _train_turns() -> tuple[Photograph, ...]:
    """Return the order in which train pairs take their photographs: all five, two new procedural ones, again."""
    rounds = range(8)
    return tuple(
        source for r in rounds for source in (*TRAIN_PHOTOGRAPHS, *map(procedural_photograph, (2 * r, 2 * r + 1)))
    )


@dataclass(frozen=True)
class PairPlan:
    """How many pairs each split gets, from which photographs (in turn), and the size of a pair."""

    train: int = 56
    test: int = 12
    size: int = 448
    train_photographs: tuple[Photograph, ...] = _train_turns()
    test_photographs: tuple[Photograph, ...] = TEST_PHOTOGRAPHS

    def photographs(self, split: str) -> tuple[Photograph, ...]:
        """Return the photograph of each pair of a split."""
        turns, count = {
            "train": (self.train_photographs, self.train),
            "test": (self.test_photographs, self.test),
        }[split]
        return tuple(turns[index % len(turns)] for index in range(count))


DEFAULT_PLAN = PairPlan()


@dataclass(frozen=True)
class Pair:
    """How one pair is made. ``shade`` scales the light of the scene, 1 for none."""

    photograph: str
    top: int
    left: int
    mirrored: bool
    shade: float
    rgb_gain: float
    noise: unprocess.Noise


def fixed_camera() -> unprocess.Camera:
    """Return the camera of all ZRR stand-ins; it does not depend on their seed, as ZRR has one sensor."""
    return unprocess.sample_camera(RandomState(CAMERA_SEED))


def write_zrr_standin(
    root: Path, seed: int = 0, reporter: Reporter | None = None, *, plan: PairPlan | None = None
) -> None:
    """Write a stand-in into ``root``, a new or empty folder; ``reporter`` shows how many pairs are done.

    The same seed gives the same bytes under the same versions of numpy, Pillow and its JPEG library. The marker
    comes last: a folder without it is not finished. Raises UserError if the folder is not empty or cannot be written.
    """
    write = functools.partial(_write_standin, seed=seed, plan=plan or DEFAULT_PLAN, reporter=reporter or Reporter())
    write_new(root, NAME, GENERATOR_VERSION, seed, write)


def write_zrr_photos(root: Path, photos: Path, count: int | None, seed: int, reporter: Reporter) -> None:
    """Write a stand-in of ``count`` pairs (default: one per photograph) from the pictures in a user's folder.

    Train and test share no photograph. Runs in several processes; a run that was stopped goes on with the same
    arguments. Raises UserError for unreadable pictures, by name, and a folder that holds something else.
    """
    made = plan_photos(root, photos, count, seed, name=NAME, version=GENERATOR_VERSION, reporter=reporter)
    if made is None:
        return
    tests = made.num_held_out
    turns = {"train": spread(made.train, made.count - tests), "test": spread(made.held_out, tests)}
    jobs = [Job(split, index, photograph) for split in SPLITS for index, photograph in enumerate(turns[split])]
    made.tell_kept(reporter, root, len(jobs), "pairs")
    with (
        writing_to(root),
        reporter.progress(f"writing {NAME}", len(jobs)) as advance,
    ):
        make = functools.partial(_make_piece, seed=seed, size=DEFAULT_PLAN.size)
        pieces = build_pieces(root, jobs, make, kept=made.kept, advance=advance)
        marker = {
            **_marker_head(seed, sources_of(pieces.values()), [job.photograph for job in jobs]),
            "request": made.request,
            "counts": {split: len(turns[split]) for split in SPLITS},
            "images": {split: [pieces[job.key]["image"] for job in jobs if job.split == split] for split in SPLITS},
            "files": {path: entry for piece in pieces.values() for path, entry in piece["files"].items()},
        }
        finish(root, marker, jobs, pieces)


def _make_piece(root: Path, job: Job, *, seed: int, size: int) -> Piece:
    """Write the files of one pair from a user's photograph."""
    pixels = job.photograph.read()
    image = pad_symmetric(pixels, size)
    files, entry = _encode_pair(job.split, job.index, job.photograph.name, image, seed=seed, size=size)
    source = sources_digest([(job.photograph.name, pixels)])
    return {"files": write_files(root, files), "source": source, "image": entry}


def cached_zrr_standin(reporter: Reporter) -> Path:
    """Return the stand-in in the user's cache, built there on first use or when it is damaged."""
    write = functools.partial(_write_standin, seed=0, plan=DEFAULT_PLAN, reporter=reporter)
    return cache.standin(NAME, GENERATOR_VERSION, write)


def _write_standin(root: Path, *, seed: int, plan: PairPlan, reporter: Reporter) -> None:
    sources: dict[str, Pixels] = {}
    files: dict[str, Any] = {}
    images: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    with reporter.progress(f"writing {NAME}", plan.train + plan.test) as advance:
        for split in SPLITS:
            for index, photograph in enumerate(plan.photographs(split)):
                if photograph.name not in sources:
                    sources[photograph.name] = photograph.read()
                image = pad_symmetric(sources[photograph.name], plan.size)
                encoded, entry = _encode_pair(split, index, photograph.name, image, seed=seed, size=plan.size)
                files.update(write_files(root, encoded))
                images[split].append(entry)
                advance()
    used = [photograph for split in SPLITS for photograph in plan.photographs(split)]
    marker = {
        **_marker_head(seed, sources_digest(sorted(sources.items())), used),
        "counts": {split: len(images[split]) for split in SPLITS},
        "images": images,
        "files": files,
    }
    cache.write_marker(root, marker)


def _marker_head(seed: int, sources: str, photographs: Sequence[Photograph]) -> dict[str, Any]:
    camera = {**asdict(fixed_camera()), "black": BLACK, "white": WHITE, "cfa": "RGGB"}
    return marker_head(NAME, GENERATOR_VERSION, seed, sources, photographs, camera)


def _encode_pair(
    split: str, index: int, name: str, image: Pixels, *, seed: int, size: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of one pair and what the marker says about it."""
    # A stream per pair: a pair does not depend on how many others there are.
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
        # Under strong noise only a black scene fits into 8 bits: such levels are drawn again.
        while brightest_8_bit(noise) < DIMMEST_WHITE:
            noise = unprocess.BROOKS_NOISE.sample(random)
        shade = min(1.0, random.uniform(0.7, 1.0) * rgb_gain * brightest_8_bit(noise))
    return Pair(name, top, left, mirrored, shade, rgb_gain, noise)


def brightest_8_bit(noise: unprocess.Noise, deviations: float = 6.0) -> float:
    """Return the largest signal whose count stays under 256 with that many standard deviations of noise.

    The smaller root of x + k sqrt(shot x + read) = (255 - black) / (white - black); negative if noise alone
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
        # 4:4:4 and a high quality: the targets should be limited by the photographs, not by their coding.
        f"{split}/canon/{index}.jpg": encode_image(target, format="JPEG", quality=95, subsampling=0),
        f"{split}/huawei_visualized/{index}.jpg": encode_image(preview, format="JPEG", quality=90),
    }
