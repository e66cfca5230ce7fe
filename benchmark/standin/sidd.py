"""``sidd-standin``: noisy and clean photographs in the exact on-disk layout of SIDD's sRGB parts.

A photograph is converted back to the mosaic that a phone (the same for all) would have recorded. Shot and read noise at
the levels of SIDD's phones is added there, and the result is quantised to 10 bits and clipped. The noisy and the
noise-free mosaic are then rendered as in SIDD: white balance, Malvar's demosaicing, colour matrix, gamma, no tone
curve. So the noise is as in a camera: correlated between pixels and colours, clipped in the dark, and dependent on the
light. Each scene has one ISO, spread over the range; validation and benchmark share no photograph with train.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.io import savemat

from benchmark.standin import unprocess
from benchmark.standin.building import SCRATCH, Job, Piece, encode_image, write_files
from benchmark.standin.kinds import StandIn, spread
from benchmark.standin.photographs import (
    TEST_PHOTOGRAPHS,
    TRAIN_PHOTOGRAPHS,
    Photograph,
    Pixels,
    facts_of,
    pad_symmetric,
    procedural_photograph,
)
from benchmark.standin.unprocess import BLACK, WHITE

NAME = "sidd-standin"
GENERATOR_VERSION = 2
CAMERA_SEED = 2018
BLOCKS, BLOCK = 32, 256
SPLITS = ("train", "validation", "benchmark")
VALIDATION_NOISY = "ValidationNoisyBlocksSrgb"
VALIDATION_TARGET = "ValidationGtBlocksSrgb"
BENCHMARK = "BenchmarkNoisyBlocksSrgb"
TRAIN_FOLDER = "SIDD_Medium_Srgb/Data"
# The number of images in the real files, and of blocks of an image where a stand-in has more images than that.
PUBLISHED_IMAGES, FEWER_BLOCKS = 40, 4
# The instance of the first train scene; the real ones are lower.
FIRST_INSTANCE = 9001
FRAMES = ("010", "011")


@dataclass(frozen=True)
class ScenePlan:
    """The photographs of each split, one per scene, and the longest side of a training picture.

    Every twentieth of the 60 scenes of train is in ``train-select``: three, with weak, medium and strong noise.
    """

    train: tuple[Photograph, ...] = (*TRAIN_PHOTOGRAPHS, *(procedural_photograph(n, BLOCK) for n in range(55)))
    validation: tuple[Photograph, ...] = (*TEST_PHOTOGRAPHS, procedural_photograph(100))
    benchmark: tuple[Photograph, ...] = (procedural_photograph(101),)
    size: int = 448
    blocks: int = BLOCKS

    def jobs(self) -> list[Job]:
        """Return one job per scene."""
        return [Job(split, i, photo) for split in SPLITS for i, photo in enumerate(getattr(self, split))]

    def maker(self, seed: int) -> Callable[[Path, Job], Piece]:
        """Return the function that makes one scene."""
        totals = {split: len(getattr(self, split)) for split in SPLITS}
        return functools.partial(_make_piece, seed=seed, size=self.size, blocks=self.blocks, totals=totals)

    def entries(self, root: Path, jobs: Sequence[Job], pieces: Mapping[str, Piece]) -> dict[str, Any]:
        """Write the files of blocks; return scenes, files, the number of train pairs and of images with blocks."""
        files = {path: e for job in jobs if job.split == "train" for path, e in pieces[job.key]["files"].items()}
        sides = ((VALIDATION_NOISY, "validation", 0), (VALIDATION_TARGET, "validation", 1), (BENCHMARK, "benchmark", 0))
        for stem, split, side in sides:
            arrays = (np.load(_scratch(root, split, i), mmap_mode="r") for i in range(len(getattr(self, split))))
            files |= write_files(root, {f"{stem}.mat": _encode_mat(stem, np.stack([array[side] for array in arrays]))})
        return {
            "counts": {
                "train": len(self.train) * len(FRAMES),
                "validation": len(self.validation),
                "benchmark": len(self.benchmark),
            },
            "scenes": {job.key: pieces[job.key]["scene"] for job in jobs},
            **({"blocks": self.blocks} if self.blocks != BLOCKS else {}),
            "files": files,
        }


DEFAULT_PLAN = ScenePlan()


@dataclass(frozen=True)
class Scene:
    """The exposure and noise of one scene."""

    photograph: str
    iso: int
    rgb_gain: float
    noise: unprocess.Noise


def fixed_camera() -> unprocess.Camera:
    """Return the phone of all SIDD stand-ins; it does not depend on their seed."""
    return unprocess.sample_camera(RandomState(CAMERA_SEED))


def _photo_plan(train: Sequence[Photograph], held_out: Sequence[Photograph], trains: int, tests: int) -> ScenePlan:
    """Return a plan: the held-out scenes are images of 32 blocks, the others folders of two pairs.

    If there are more images than the published 40, each has only 4 blocks, so that scoring takes no longer than for
    the real dataset. The benchmark is one more image of a held-out photograph, with new noise.
    """
    scenes = spread(train, trains), spread(held_out, tests), tuple(held_out[-1:])
    return ScenePlan(*scenes, DEFAULT_PLAN.size, DEFAULT_PLAN.blocks if tests <= PUBLISHED_IMAGES else FEWER_BLOCKS)


STANDIN = StandIn(NAME, GENERATOR_VERSION, "scenes", fixed_camera, lambda: DEFAULT_PLAN, _photo_plan)


def draw_scene(name: str, index: int, total: int, random: RandomState) -> Scene:
    """Draw exposure and noise of scene ``index``; ``total`` scenes share the range of levels evenly.

    They are ordered by the golden ratio, so that neighbouring scenes differ and the first few cover the range.
    """
    low, high = (math.log10(shot) for shot in unprocess.SIDD_NOISE.shot_range)
    place = ((index + 0.5) * (math.sqrt(5) - 1) / 2) % 1.0 if total > 1 else 0.5
    shot = 10.0 ** (low + place * (high - low))
    noise = replace(unprocess.SIDD_NOISE, shot_range=(shot, shot)).sample(random)
    # ISO 100 has the weakest noise of the range; real ISO numbers increase by factors of two.
    iso = 100 * 2 ** round(math.log2(noise.shot / unprocess.SIDD_NOISE.shot_range[0]))
    return Scene(name, iso, unprocess.sample_rgb_gain(random), noise)


def take(photograph: Pixels, scene: Scene, random: RandomState, shots: int = 1) -> list[Pixels]:
    """Return noisy ``shots`` of a picture (H, W, 3) with even sides, and at the end the clean picture, all rendered."""
    camera = fixed_camera()
    clean = unprocess.unprocess(photograph / 255.0, camera, scene.rgb_gain)
    planes = []
    for _ in range(shots):
        counts = np.rint(BLACK + unprocess.add_noise(clean, scene.noise, random) * (WHITE - BLACK)).clip(0, WHITE)
        planes.append((counts - BLACK) / (WHITE - BLACK))
    return [unprocess.to_uint8(unprocess.develop(plane, camera)) for plane in (*planes, clean)]


def _make_piece(root: Path, job: Job, *, seed: int, size: int, blocks: int, totals: Mapping[str, int]) -> Piece:
    """Make one scene: the folder of a train scene, or the blocks of an image, which go to the scratch folder."""
    pixels = job.photograph.read()
    random = RandomState([seed, SPLITS.index(job.split), job.index])
    scene = draw_scene(job.photograph.name, job.index, totals[job.split], random)
    if job.split == "train":
        files = write_files(root, _make_folder(job.index, pixels, scene, size, random))
    else:
        stream = io.BytesIO()
        np.save(stream, _make_blocks(pixels, scene, blocks, random))
        path = _scratch(root, job.split, job.index).relative_to(root).as_posix()
        files = write_files(root, {path: stream.getvalue()})
    return {"files": files, **facts_of(job.photograph.name, pixels), "scene": asdict(scene)}


def _make_folder(index: int, pixels: Pixels, scene: Scene, size: int, random: RandomState) -> dict[str, bytes]:
    """Return the files of one train folder: two shots of one crop."""
    height, width = (min(side, size) // 2 * 2 for side in pixels.shape[:2])
    crop = _crop(pixels, height, width, random)
    instance = f"{FIRST_INSTANCE + index}"
    folder = f"{TRAIN_FOLDER}/{instance}_901_ZB_{scene.iso:05}_00100_5500_N"
    *shots, clean = (encode_image(p, format="PNG", compress_level=3) for p in take(crop, scene, random, len(FRAMES)))
    files = {}
    for frame, noisy in zip(FRAMES, shots):
        for side, content in (("NOISY", noisy), ("GT", clean)):
            files[f"{folder}/{instance}_{side}_SRGB_{frame}.PNG"] = content
    return files


def _make_blocks(pixels: Pixels, scene: Scene, count: int, random: RandomState) -> NDArray[np.uint8]:
    """Return blocks (2, count, 256, 256, 3), noisy and clean: crops, some mirrored, each with its own noise."""
    image = pad_symmetric(pixels, BLOCK)
    blocks = np.empty((2, count, BLOCK, BLOCK, 3), np.uint8)
    for number in range(count):
        crop = _crop(image, BLOCK, BLOCK, random)
        blocks[:, number] = take(crop[:, ::-1] if random.randint(2) else crop, scene, random)
    return blocks


def _crop(image: Pixels, height: int, width: int, random: RandomState) -> Pixels:
    top, left = (int(random.randint(side - size + 1)) for side, size in zip(image.shape[:2], (height, width)))
    return image[top : top + height, left : left + width]


def _scratch(root: Path, split: str, index: int) -> Path:
    return root / SCRATCH / f"{split}-{index}.npy"


def _encode_mat(variable: str, blocks: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    savemat(stream, {variable: blocks}, do_compression=True)
    # The first 116 bytes are free text; scipy writes the time there, but the same seed must give the same bytes.
    return b"MATLAB 5.0 MAT-file, synthetic, written by zoo-bench".ljust(116) + stream.getvalue()[116:]
