"""Run a model on a user's own images: RAW mosaics, RGB pictures, or arrays for the bare network."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.conditions import ESTIMATE, Conditions, Limits, Sigma, sigma_of
from benchmark.fullres.files import MappedArray, map_input, new_array, room_text
from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.host.child import is_out_of_memory
from benchmark.host.turns import work_turns
from benchmark.imaging.imagefiles import Picture, read_picture
from benchmark.imaging.levels import Depths, bits_used, clip_to_white, scaled, white_level
from benchmark.imaging.noise import told_sigma
from benchmark.placing import check
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.selection import Entry, entry_of
from benchmark.sensor import red_of
from zoo.convention import ZRR_LEVELS, InputSpec
from zoo.errors import SizeError, UserError, reason_of
from zoo.raw import apply_model, to_network
from zoo.surroundings import kept
from zoo.trained import shipped_weights
from zoo.writing import whole_file

# The RAW networks of this zoo were trained on the scale of counts of ZRR's sensor.
ZRR_BLACK, ZRR_WHITE = ZRR_LEVELS
_ORIENTATION = 274


@dataclass(frozen=True)
class Levels:
    """Sensor data that a RAW picture does not contain: colour filter array, black and white level in counts.

    Without ``white``, the white level is 1023 for a mosaic, and the largest value of 16 bits for a picture.
    """

    cfa: str = "RGGB"
    black: float = ZRR_BLACK
    white: float | None = None

    def __post_init__(self) -> None:
        """Raise UserError for values that no sensor has."""
        red_of(self.cfa)
        # This is also false for NaN.
        if not self.black < self.mosaic_white < math.inf:
            raise UserError(f"--white {self.mosaic_white:g} must be above --black {self.black:g}.")

    @property
    def mosaic_white(self) -> float:
        """The white level of a mosaic, in counts."""
        return ZRR_WHITE if self.white is None else self.white

    def red(self, spec: InputSpec) -> tuple[int, int]:
        """Return where the red pixel of the first 2x2 block lies, for a network that takes RAW."""
        return red_of(self.cfa) if spec.is_raw else (0, 0)


# Images of any size are run, in pieces if these are exact.
INFER_CONDITIONS = Conditions(tile="auto")


def infer(
    model: str,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    cfa: str = "RGGB",
    black: float = ZRR_BLACK,
    white: float | None = None,
    sigma: Sigma | None = None,
    seed: int = 0,
    conditions: Conditions = INFER_CONDITIONS,
    memory_limit: int | None = None,
    freeze_filters: bool = False,
    mlp_precision: str = "fp32",
    own_process: bool = False,
    random_weights: bool = False,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Run a model on files and write ``out/<stem>.npy`` or ``out/<stem>.png``; return the paths.

    ``.npy`` holds float32 (N, C, H, W) exactly as the bare network receives it, and the output is an array too: no
    padding, no mapping, no clamping. A PNG is a RAW mosaic for RAW models (grey, counts; ``cfa``, ``black`` and
    ``white`` describe it, and counts are mapped to the levels for which the network's convention holds) and an RGB or
    gray picture for the others, of 16 bits with ``white`` as 1 if that is given; the output is clamped to 8 bits. A
    network that is told the level of the noise is told ``sigma``, on the scale of 8-bit values, or with "estimate" that
    of each picture; an array has it in its last channel, or lacks that and gets it from ``sigma``. Pixels are
    used as they are stored; the orientation for viewers (in EXIF data or a TIFF) and the colour profile of an RGB
    picture are copied into the output. Hot pixels above ``white`` are clipped, which is reported.

    ``conditions`` gives what runs the network (backend, an engine's precision) and how large images run: with ``tile``
    "auto" (the default) in strips or tiles that give the output of the whole image, with "off" always whole, with
    (height, width) in tiles of this size; ``approximate`` allows tiles that are not exact, and measures the seams.
    ``memory_limit`` is in resident bytes. ``freeze_filters`` uses the filters that a hyper-network predicts for the
    first image for all images; ``mlp_precision`` "bf16" predicts them in bfloat16. ``own_process``: this process does
    nothing else and may keep freed memory, which is faster; under a limit it is given back. ``random_weights`` accepts
    a network without trained weights; on arrays, one of a plug-in is also accepted without it. Raises UserError for
    files that do not fit, before anything is written for them, and for conditions that cannot be kept.
    """
    reporter = reporter or Reporter()
    entry = entry_of(model, weights, options or {})
    sigma = sigma_of(sigma)
    if conditions.by_torch and not conditions.is_plain:
        raise UserError(
            f"--precision {conditions.precision}: torch runs infer only in fp32; choose an engine with --backend."
        )
    if mlp_precision != "fp32" and not conditions.by_torch:
        raise UserError(f"--mlp-precision {mlp_precision}: only torch has this; leave --backend out.")
    if conditions.approximate and not conditions.is_tiled:
        raise UserError("--approximate: --tile off cuts no tiles; leave one of the two out.")
    # Nothing is compared here, so approximate tiles may have an automatic size.
    check(conditions.model_copy(update={"approximate": False, "sigma": sigma}), Limits(memory_limit))
    files, folder = [Path(file) for file in inputs], Path(out)
    _refuse_equal_stems(files)
    refuse_inputs(f"infer: -o {out}", (_target(file, folder) for file in files), [*files, weights])
    if not (entry.scored or random_weights):
        _refuse_random(entry, files)
    levels = Levels(cfa, black, white)
    spec = entry.card.input_for(entry.options)
    for file in files:
        if file.suffix != ".npy":
            entry.check_noise(file, sigma)
    if own_process or memory_limit is not None:
        # This must happen before any thread has a heap of its own.
        set_heap(keep=memory_limit is None)
    runner = FullNetwork(
        subject_of(entry, entry.build(seed=seed)),
        conditions,
        memory_limit,
        reporter,
        freeze_filters=freeze_filters,
        mlp_precision=mlp_precision,
    )
    entry.tell_notes(reporter)
    if sigma is not None and not spec.noise_level:
        reporter.note(f"{entry.label} is not told the level of the noise; --sigma changes nothing.")
    if not entry.scored:
        reporter.note(f"{entry.label}: untrained, with random weights; its output means nothing. Pass --weights.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {out}: cannot be made ({error.strerror}); name a folder that you may write to.") from None
    # A network may change the working directory while it runs.
    folder = Path(os.path.abspath(folder))
    written = []
    with work_turns() as turn:
        for file in files:
            title = f"infer {entry.label}: {file.name}"
            if file.suffix == ".npy":
                with turn(), kept(), runner.reporting(reporter, title):
                    written.append(_infer_array(runner, spec, file, _target(file, folder), sigma))
            else:
                picture = read_picture("infer", file)
                planes, red = _planes(file, picture, spec, levels, reporter, sigma), levels.red(spec)
                carried = _carried(file, picture, spec, reporter)
                with turn(), kept(), runner.reporting(reporter, title):
                    written.append(_infer_image(runner, spec, planes, red, _target(file, folder), carried))
    if freeze_filters and len(files) > 1:
        reporter.note(f"{entry.label}: filters predicted for {files[0].name} were used for all {len(files)} images")
    return [Path(out) / path.name for path in written]


def _refuse_random(entry: Entry, files: Sequence[Path]) -> None:
    """Raise UserError, except for arrays and a plug-in: so one tries the sizes that a network of one's own takes."""
    if entry.card.is_builtin or any(file.suffix != ".npy" for file in files):
        known = "shipped, or " if shipped_weights(entry.card.name) and entry.card.is_builtin else ""
        raise UserError(
            f"infer: {entry.label} has no weights, and with random ones its output means nothing. Pass --weights"
            f" {known}FILE (`zoo-bench show {entry.card.name}` says what is known), or --random-weights to run it so."
        )


def _refuse_equal_stems(files: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"infer: no file at {file}; expected .png or .npy files.")
        if file.stem in seen:
            raise UserError(f"infer: {seen[file.stem]} and {file} would be written to the same name; rename one.")
        seen[file.stem] = file


def _target(file: Path, folder: Path) -> Path:
    """Return the output path for a file: an array for an array, a PNG for everything else."""
    return folder / f"{file.stem}{'.npy' if file.suffix == '.npy' else '.png'}"


def _infer_array(runner: FullNetwork, spec: InputSpec, file: Path, path: Path, sigma: Sigma | None) -> Path:
    source = _read_array(file, spec, sigma)
    planes = source.tensor
    if planes.shape[1] < spec.channels:
        levels = [torch.full_like(one[:, :1], (told_sigma(one, sigma) or 0.0) / 255) for one in planes.split(1)]
        planes = torch.cat([planes, torch.cat(levels)], dim=1)
    shape = runner.plan(planes, mapped_output=True).output
    with _refusals(file, tuple(planes.shape)):
        if shape is None:
            output = runner(planes)
            with new_array(path, tuple(output.shape)) as target:
                target.tensor.copy_(output)
        else:
            with new_array(path, shape) as target:

                def forget() -> None:
                    source.forget()
                    target.forget()

                runner(planes, target.tensor, after_piece=forget)
    return path


@contextmanager
def _refusals(file: Path, shape: tuple[int, ...]) -> Iterator[None]:
    """Name the file in an error that a network's own code raises; errors of the tool's code are already UserErrors."""
    try:
        yield
    except SizeError as error:
        raise SizeError(f"{file.stem}: {error}") from None
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(f"{file}: not enough memory for an input of {shape}; pass --memory-limit.") from error
        raise UserError(f"{file}: the bare network refuses {shape}: {reason_of(error, 300)}") from error


def _read_array(file: Path, spec: InputSpec, sigma: Sigma | None = None) -> MappedArray:
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
    if file.suffix == ".npy":
        return _read_array(file, spec).tensor.clone()
    return _planes(file, read_picture("infer", file), spec, levels, Reporter())


def _planes(
    file: Path, picture: Picture, spec: InputSpec, levels: Levels, reporter: Reporter, sigma: Sigma | None = None
) -> Tensor:
    black, white = levels.black, levels.mosaic_white
    array = picture.pixels
    wanted = {"rgb": "an RGB picture", "gray": "a gray picture"}.get(spec.layout, "a RAW mosaic (grey, 8 or 16 bits)")
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


def _carried(file: Path, picture: Picture, spec: InputSpec, reporter: Reporter) -> dict[str, Any]:
    """Return what a PNG copies from its input: the orientation for viewers, and the profile of an RGB picture."""
    carried: dict[str, Any] = {}
    if picture.orientation != 1:
        exif = Image.Exif()
        exif[_ORIENTATION] = picture.orientation
        carried["exif"] = exif
    if picture.profile is not None and spec.layout == "rgb":
        # These bytes of an ICC profile identify it as a profile, and as one for RGB.
        if picture.profile[36:40] == b"acsp" and picture.profile[16:20] == b"RGB ":
            carried["icc_profile"] = picture.profile
        else:
            reporter.note(f"{file}: its colour profile is damaged or not of RGB; the output has none.")
    return carried


def _infer_image(
    runner: FullNetwork, spec: InputSpec, planes: Tensor, red: tuple[int, int], path: Path, carried: Mapping[str, Any]
) -> Path:
    with torch.inference_mode(), _refusals(path, tuple(planes.shape)):
        output = apply_model(runner, planes, spec, red=red)[0]
    if not torch.isfinite(output).all():
        raise UserError(f"{path.stem}: the model returned NaN or infinite values.")
    pixels = (output.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    try:
        with whole_file(path) as partial:
            Image.fromarray(pixels).save(partial, format="PNG", compress_level=1, **carried)
    except OSError as error:
        raise UserError(room_text(path, pixels.nbytes, error)) from error
    return path
