"""Any folder of pictures with Gaussian noise added: the protocol behind the tables of DnCNN and FFDNet.

A picture u of 8 bits, gray or RGB, becomes x = u / 255 in float32. Normal noise of standard deviation sigma / 255 is
drawn in float64 for each pixel and channel, by a generator that is seeded anew for each picture, and the sum is
float32: neither clipped nor rounded. With ``clip`` it is clipped to [0, 1] and rounded to 8 bits, which is another
protocol, for networks that were trained for it. Pictures are read as they are stored; ``gray`` makes gray pictures of
colour ones by a named conversion. Each picture is a scene.

The noise is a part of the data: the split is named after it, and it decides the digest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmark.conditions import CLEAN, ESTIMATE, sigma_of
from benchmark.datasets import register_dataset
from benchmark.imaging.filters import to_gray
from benchmark.imaging.imagefiles import FORMATS, kind_of, read_picture
from benchmark.layout import Defect, DefectsError, PairDigest, left_out
from benchmark.pairing import Pattern, check_options, find_pictures, natural, remark_of
from benchmark.protocols import GRAY_METRICS
from benchmark.standin.kinds import named
from benchmark.types import DatasetCard, EvaluationProtocol, Sample
from zoo.errors import UserError, nearest, printable, shortened

NAME = "awgn"
OPTIONS = ("sigma", "noise_seed", "clip", "gray", "name", "remark")
_MAX_SEED = 2**32 - 1

AWGN = EvaluationProtocol(
    name="awgn",
    version=1,
    text="output clamped to [0, 1] and rounded to 8 bits, halves to even; target of 8 bits; one score per image, then"
    " the mean over images",
    clamp=True,
    round_uint8=True,
    metrics=("psnr[rgb]", "ssim[gaussian11,rgb]"),
)


def _by_matlab(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(to_gray(pixels / 255.0) * 255.0).astype(np.uint8)


def _by_pillow(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("L"))


# Conversions of RGB (H, W, 3) to gray (H, W) by name, with their definitions. The first makes BSD68 of CBSD68.
GRAYS: dict[str, tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], str]] = {
    "matlab": (_by_matlab, "floor(0.298936021293775 R + 0.587043074451121 G + 0.114020904255103 B + 0.5), as rgb2gray"),
    "pillow": (_by_pillow, "(19595 R + 38470 G + 7471 B + 32768) / 65536 rounded down, as convert('L')"),
}


@dataclass(frozen=True)
class Noise:
    """The noise that is added to a picture; ``sigma`` on the scale of 8-bit values, None: no noise."""

    sigma: float | None
    seed: int = 0
    clip: bool = False

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Noise:
        """Return the noise that a user's ``options`` describe; raises UserError for values that no noise has."""
        sigma = None if options.get("sigma") in (None, CLEAN) else sigma_of(options["sigma"])
        if sigma == ESTIMATE:
            raise UserError(f"--sigma {ESTIMATE}: {NAME} adds the noise itself; expected its level, as --sigma 25.")
        seed = options.get("noise_seed", "0")
        if not (seed.isascii() and seed.isdecimal() and len(seed) <= 10 and int(seed) <= _MAX_SEED):
            raise UserError(f"--noise-seed {shortened(seed)}: expected a whole number from 0 to {_MAX_SEED}.")
        return cls(sigma, int(seed), "clip" in options)

    def added_to(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image (H, W, C) with noise, float32."""
        if self.sigma is None:
            return image
        noise = np.random.RandomState(self.seed).normal(0, self.sigma / 255, image.shape)
        noisy: NDArray[np.float32] = (image + noise).astype(np.float32)
        return np.rint(noisy.clip(0, 1) * np.float32(255)) / np.float32(255) if self.clip else noisy

    @property
    def words(self) -> str:
        """The noise in words, for tables."""
        return (
            f"normal, standard deviation {self.sigma:.10g} on the scale of 8-bit values, for each pixel and channel;"
            f" drawn by NumPy's RandomState({self.seed}) anew for each picture;"
            f" {'then clipped to [0, 1] and rounded to 8 bits' if self.clip else 'neither clipped nor rounded'}"
        )

    def split(self, gray: str | None) -> str:
        """Return the name of the split: what is not the usual stands in it."""
        parts = [CLEAN if self.sigma is None else f"sigma{self.sigma:.10g}"]
        parts += ["clip"] * self.clip + [f"seed{self.seed}"] * bool(self.seed) + ([f"gray-{gray}"] if gray else [])
        return "-".join(parts)


class NoisyPictures:
    """The pictures of a folder with noise, sorted by name (numbers by value); all are gray, or all are RGB."""

    def __init__(
        self,
        root: Path,
        noise: Noise,
        *,
        gray: str | None = None,
        label: str | None = None,
        remark: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        """Find the pictures; raises UserError for an empty or mixed folder. ``gray`` is one of ``GRAYS``."""
        defects: list[Defect] = []
        self._pictures = pictures_in(root, defects)
        if defects and not (skip_bad and self._pictures):
            raise DefectsError(NAME, defects, {id: (("picture", path),) for id, path in self._pictures.items()})
        self._kind = _kind_of_all(root, list(self._pictures.values()), gray)
        self.left_out = left_out(defects)
        self.name, self.split, self.root = named(NAME, label), noise.split(gray), root
        self.ids: Sequence[str] = list(self._pictures)
        self.scenes: Sequence[str] = self.ids
        self._noise, self._gray = noise, gray
        own: dict[str, Any] = {"standin": False, "folder": printable(root.resolve().name)}
        own |= {
            "remark": remark,
            "label": label,
            "gray": gray,
            "conversion": f"by {gray}: {GRAYS[gray][1]}" if gray else None,
        }
        if noise.sigma is not None:
            sigma = int(noise.sigma) if noise.sigma.is_integer() else noise.sigma
            own |= {"sigma": sigma, "noise_seed": noise.seed, "clip": noise.clip or None, "noise": noise.words}
        self.provenance: Mapping[str, Any] = {key: value for key, value in own.items() if value is not None}
        self.digest = PairDigest(NAME, self.ids, self.paths, skip_bad=skip_bad, levels=self.split)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return picture ``index`` with noise, and as it is, (1, 3, H, W) or gray (1, 1, H, W)."""
        id = self.ids[index]
        image = (self._pixels(self._pictures[id]) / 255).astype(np.float32)
        noisy = self._noise.added_to(image)
        return Sample(id, _to_tensor(noisy), _to_tensor(image), scene=id, sigma=self._noise.sigma)

    def paths(self, id: str) -> tuple[Path]:
        """Return the file of a picture."""
        return (self._pictures[id],)

    def _pixels(self, path: Path) -> NDArray[np.uint8]:
        """Return the pixels (H, W, C) of a file; raises UserError naming it if it does not fit."""
        picture = read_picture(NAME, path, formats=FORMATS, kinds=(self._kind,))
        if picture.bits != 8:
            raise UserError(f"{NAME}: {path} is a {picture.words}; expected 8 bits, as scores are rounded. Convert it.")
        pixels = picture.pixels if self._gray is None else GRAYS[self._gray][0](picture.pixels)
        return pixels if pixels.ndim == 3 else pixels[..., None]


def pictures_in(root: Path, defects: list[Defect]) -> dict[str, Path]:
    """Return the pictures of a folder by name; files that are none are added to ``defects``."""
    found = find_pictures(NAME, root, Pattern("*"), defects, expected="a folder of pictures")
    return {id: found[id] for id in sorted(found, key=natural)}


def kinds_of(pictures: Sequence[Path]) -> dict[str, Path]:
    """Return the first picture of each kind, ``gray`` or ``RGB``, by the files' headers; most frequent kind first."""
    kinds = {path: kind for path in pictures if (kind := kind_of(path))}
    grays = [path for path, kind in kinds.items() if kind.startswith("gray")]
    others = [path for path in kinds if path not in {*grays}]
    sides = sorted((("gray", grays), ("RGB", others)), key=lambda side: -len(side[1]))
    return {kind: paths[0] for kind, paths in sides if paths}


def _kind_of_all(root: Path, pictures: Sequence[Path], gray: str | None) -> str:
    """Return the kind of all pictures; raises UserError if they differ, or do not fit the conversion ``gray``."""
    if not pictures:
        raise UserError(f"{NAME}: no picture ({', '.join(FORMATS)}) in {root}. Pass another --data-root.")
    kinds = kinds_of(pictures)
    if len(kinds) == 2:
        raise UserError(
            f"{NAME}: {root} holds gray pictures ({kinds['gray'].name}) and others ({kinds['RGB'].name}); expected one"
            " kind. Move one of them to another folder."
        )
    kind = next(iter(kinds), "RGB")
    if kind == "gray" and gray is not None:
        raise UserError(f"--gray {gray}: the pictures in {root} are gray already ({pictures[0].name}); leave it out.")
    if kind == "RGB" and gray is None and not any(_has_colours(path) for path in pictures):
        raise UserError(
            f"{NAME}: all pictures in {root} are gray stored as RGB, with three equal channels; pass --gray matlab,"
            " which makes gray pictures of them without changing a value."
        )
    return kind


def _has_colours(path: Path) -> bool:
    try:
        pixels = read_picture(NAME, path, formats=FORMATS, kinds=("RGB",)).pixels
    except UserError:
        return True  # it is refused by name when it is read
    return bool((pixels != pixels[..., :1]).any())


def _to_tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()


def open_awgn(
    root: Path,
    split: str,
    *,
    noise: Noise | None = None,
    gray: str | None = None,
    label: str | None = None,
    remark: str | None = None,
    skip_bad: bool = False,
) -> NoisyPictures:
    """Open the pictures of a folder with noise; the only split is the one that is named after it."""
    if noise is None:
        raise UserError(f"{NAME}: --sigma not given; expected the level of the noise, 0 to 255, as --sigma 25.")
    if split != noise.split(gray):
        raise UserError(f"{NAME}: no split '{split}' with this noise; expected {noise.split(gray)}.")
    return NoisyPictures(root, noise, gray=gray, label=label, remark=remark, skip_bad=skip_bad)


def configure(options: Mapping[str, str]) -> DatasetCard:
    """Return the card with the user's ``OPTIONS``."""
    check_options(NAME, options, OPTIONS)
    noise, gray = Noise.of(options), options.get("gray")
    if gray is not None and gray not in GRAYS:
        raise UserError(f"--gray: no conversion '{shortened(gray)}'{nearest(gray, GRAYS)}")
    split = noise.split(gray)
    given = noise if "sigma" in options else None
    opener = functools.partial(open_awgn, noise=given, gray=gray, label=options.get("name"), remark=remark_of(options))
    return replace(
        CARD, splits=(split,), default_split=split, open=opener, at_root=functools.partial(_at_root, gray=gray)
    )


def _at_root(card: DatasetCard, root: Path, *, gray: str | None) -> DatasetCard:
    """Return the card with the task that the pictures of a folder decide."""
    if gray is None and _kind_of_all(root, list(pictures_in(root, []).values()), gray) == "RGB":
        return card
    return replace(card, task="denoise_gray", protocol=replace(AWGN, metrics=GRAY_METRICS))


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task="denoise_rgb",
        summary="any folder of pictures with Gaussian noise added (gray ones for denoise_gray): --sigma 25",
        protocol=AWGN,
        splits=("sigma",),  # with a level: sigma25
        default_split="sigma",
        plane_size=(256, 256),
        full_size=(3072, 4096),
        open=open_awgn,
        configure=configure,
        options=OPTIONS,
        adds_noise=True,
    )
)
