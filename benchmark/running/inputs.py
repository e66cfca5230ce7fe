"""What a user gives ``infer``: files and folders, how mosaics are stored, and the planes that a network receives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.conditions import ESTIMATE, Sigma
from benchmark.fullres.files import MappedArray, map_input
from benchmark.imaging import mosaics
from benchmark.imaging.imagefiles import SUFFIXES as PICTURES
from benchmark.imaging.imagefiles import Picture, read_content, read_picture
from benchmark.imaging.levels import Depths, bits_used, clip_to_white, scaled, white_level
from benchmark.imaging.noise import told_sigma
from benchmark.pairing import natural
from benchmark.reporting import Reporter
from benchmark.sensor import Sensor, red_of
from zoo.convention import ZRR_LEVELS, InputSpec
from zoo.errors import UserError, reason_of
from zoo.raw import to_network

# The RAW networks of this zoo were trained on the scale of counts of ZRR's sensor.
ZRR_BLACK, ZRR_WHITE = ZRR_LEVELS
# Suffixes of further pictures that are read.
_MORE_PICTURES = (".bmp", ".ppm", ".pgm", ".webp")


@dataclass(frozen=True)
class Levels:
    """Sensor data that a RAW picture does not contain: colour filter array, black and white level in counts.

    Without ``white``, the white level is 1023 for a mosaic, and the largest value of 16 bits for a picture.
    ``raw_size`` is that of files without a header.
    """

    cfa: str = "RGGB"
    black: float = ZRR_BLACK
    white: float | None = None
    raw_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise UserError for values that no sensor has."""
        red_of(self.cfa)
        # This is also false for NaN.
        if not self.black < self.mosaic_white < math.inf:
            raise UserError(f"--white {self.mosaic_white:g} must be above --black {self.black:g}.")

    @property
    def sensor(self) -> Sensor:
        """How a mosaic is stored."""
        return Sensor(self.cfa.upper(), self.black, self.mosaic_white, self.raw_size)

    @property
    def mosaic_white(self) -> float:
        """The white level of a mosaic, in counts."""
        return ZRR_WHITE if self.white is None else self.white

    def red(self, spec: InputSpec) -> tuple[int, int]:
        """Return where the red pixel of the first 2x2 block lies, for a network that takes RAW."""
        return red_of(self.cfa) if spec.is_raw else (0, 0)


def input_files(inputs: Iterable[str | Path], spec: InputSpec) -> list[Path]:
    """Return the files among ``inputs``, and those in the folders among them that a network could take, by name.

    These are mosaics for a network that takes RAW, pictures for the others, and arrays. Hidden files and folders in
    folders are left out. Raises UserError for a folder without such files.
    """
    files: list[Path] = []
    suffixes = mosaics.SUFFIXES if spec.is_raw else (*PICTURES, *_MORE_PICTURES, ".npy")
    for path in map(Path, inputs):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in path.iterdir() if file.name[0] != "." and file.is_file()]
        found = [file for file in inside if file.suffix.lower() in suffixes]
        if not found:
            raise UserError(
                f"infer: no {'mosaic' if spec.is_raw else 'picture'} ({', '.join(suffixes)}) in the folder {path};"
                " expected at least one. Folders in it are not searched."
            )
        files += sorted(found, key=lambda file: natural(file.name))
    return files


def refuse_equal_names(files: Sequence[Path]) -> None:
    """Raise UserError for files that do not exist, or whose outputs would have one name."""
    seen: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"infer: no file at {file}; expected .png or .npy files.")
        if file.stem in seen:
            raise UserError(f"infer: {seen[file.stem]} and {file} would be written to the same name; rename one.")
        seen[file.stem] = file


def target_of(file: Path, folder: Path, spec: InputSpec) -> Path:
    """Return the output path for a file: an array for an array, a PNG for everything else."""
    return folder / f"{file.stem}{'.npy' if is_array(file, spec) else '.png'}"


def is_array(file: Path, spec: InputSpec) -> bool:
    """Whether a file holds what the bare network receives; one with the whole numbers (H, W) of a mosaic does not."""
    if file.suffix != ".npy" or not spec.is_raw:
        return file.suffix == ".npy"
    try:
        array = map_input(file).array
    except Exception:
        return True  # it is refused by name when it is read
    return not (array.ndim == 2 and array.dtype.kind in "ui")


def read_image(file: Path, spec: InputSpec, levels: Levels, reporter: Reporter) -> Picture:
    """Return the picture in a file, or for a network that takes RAW the mosaic, as the dataset raw-pairs reads it."""
    if not spec.is_raw or file.suffix.lower() not in (".raw", ".npy", mosaics.DNG):
        return read_picture("infer", file)
    sensor = levels.sensor
    mosaics.check_readable("infer", file, sensor)
    picture = mosaics.decode_mosaic("infer", file, read_content("infer", file), sensor)
    if picture.levels not in ("", sensor.levels):
        reporter.note(f"{file}: the file states {picture.levels}; {sensor.levels} are used (--black, --white).")
    return picture


def read_array(file: Path, spec: InputSpec, sigma: Sigma | None = None) -> MappedArray:
    """Map an array that the bare network receives; raises UserError naming the file for any other one."""
    try:
        with np.errstate(over="ignore"):
            source = map_input(file)
    except Exception as error:
        # The header is a Python literal with any content, so its errors may be exceptions of any class.
        what = f"{file}: not a complete .npy file of numbers ({reason_of(error)})"
        raise UserError(f"{what}. Save a float32 array by numpy.save.") from None
    array = source.array
    whole = array.ndim == 4 and array.shape[1] == spec.channels
    # Without its last channel, the level of the noise.
    lacks = array.ndim == 4 and spec.noise_level and array.shape[1] == spec.channels - 1
    if array.dtype != np.float32 or not (whole or (lacks and sigma is not None)):
        hint = f", or (N, {spec.channels - 1}, H, W) with --sigma" if spec.noise_level else ""
        raise UserError(
            f"{file}: expected float32 (N, {spec.channels}, H, W) as the bare network receives it{hint},"
            f" found {array.dtype} {array.shape}."
        )
    if not array.size:
        raise UserError(f"{file}: holds no values, shape {array.shape}; expected at least one image.")
    if whole and spec.noise_level and sigma is not None:
        raise UserError(f"{file}: its last channel is the level of the noise; leave --sigma out.")
    return source


def read_input(file: Path, spec: InputSpec, levels: Levels) -> Tensor:
    """Return the network's input for a file, before padding; raises UserError for a file that does not fit."""
    if is_array(file, spec):
        return read_array(file, spec).tensor.clone()
    return planes_of(file, read_image(file, spec, levels, Reporter()), spec, levels, Reporter())


def planes_of(
    file: Path, picture: Picture, spec: InputSpec, levels: Levels, reporter: Reporter, sigma: Sigma | None = None
) -> Tensor:
    """Return the planes (1, C, H, W) of a picture or mosaic, before padding; notes go to ``reporter``.

    Raises UserError naming the file if it does not fit the network or the levels.
    """
    black, white = levels.black, levels.mosaic_white
    array = picture.pixels
    wanted = {"rgb": "an RGB picture", "gray": "a gray picture"}.get(spec.layout, "a RAW mosaic (gray, 8 or 16 bits)")
    if array.ndim != (3 if spec.layout == "rgb" else 2):
        raise UserError(
            f"{file}: expected {wanted}, found a {picture.words}, an array of shape {array.shape}. Choose a model that"
            " takes it, or convert it."
        )
    try:
        if not spec.is_raw:
            values, clipped = scaled(array, white_level(levels.white), np.float32)
        else:
            array, clipped = clip_to_white(array, white)
    except ValueError as error:
        raise UserError(f"{file}: {error}; pass the sensor's white level.") from None
    if clipped:
        reporter.note(f"{file}: {clipped}.")
    if not spec.is_raw:
        if levels.white is None and array.dtype == np.uint16:
            depths = Depths()
            depths.take("input", bits_used(array))
            for remark in depths.unused().values():
                reporter.note(f"{file}: {remark}.")
        channels = values if values.ndim == 3 else values[..., None]
        image = torch.from_numpy(channels).permute(2, 0, 1)[None].contiguous()
        told = told_sigma(image, sigma) if spec.noise_level else None
        if sigma == ESTIMATE and told is not None:
            reporter.note(f"{file}: sigma estimated: {told:.2f}.")
        return to_network(image, spec, sigma=told)
    mosaic = torch.from_numpy(array.astype(np.float32))[None, None]
    try:
        return to_network(mosaic, spec, black=black, white=white, red=levels.red(spec))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
