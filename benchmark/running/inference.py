"""Run a model on a user's own images: RAW mosaics, RGB pictures, or arrays for the bare network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmark.conditions import Conditions, Limits, Sigma, sigma_of
from benchmark.fullres.files import new_array, room_text
from benchmark.fullres.memory import set_heap
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.host.child import is_out_of_memory
from benchmark.host.turns import work_turns
from benchmark.imaging.imagefiles import Picture
from benchmark.imaging.mosaics import check_readable
from benchmark.imaging.noise import told_sigma
from benchmark.placing import INT8, check
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.running.inputs import (
    ZRR_BLACK,
    Levels,
    input_files,
    is_array,
    planes_of,
    read_array,
    read_image,
    refuse_equal_names,
    target_of,
)
from benchmark.running.quantizing.alone import for_images
from benchmark.selection import Entry, entry_of
from benchmark.sensor import raw_size_of
from zoo.convention import InputSpec
from zoo.errors import SizeError, UserError, place_of, reason_of
from zoo.raw import apply_model
from zoo.surroundings import kept
from zoo.trained import shipped_weights
from zoo.writing import whole_file

_ORIENTATION = 274
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
    raw_size: str | None = None,
    sigma: Sigma | None = None,
    seed: int = 0,
    conditions: Conditions = INFER_CONDITIONS,
    memory_limit: int | None = None,
    freeze_filters: bool = False,
    mlp_precision: str = "fp32",
    own_process: bool = False,
    random_weights: bool = False,
    written: Callable[[Path, Path], object] = lambda file, path: None,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Run a model on files and write ``out/<stem>.npy`` or ``out/<stem>.png``; return the paths.

    Of a folder among ``inputs`` all files are run that the model could take. ``written`` is called with each input and
    its output when that is there.

    ``.npy`` holds float32 (N, C, H, W) exactly as the bare network receives it, and the output is an array too: no
    padding, no mapping, no clamping. Everything else is a RAW mosaic for RAW models, and an RGB or gray picture for the
    others. A mosaic is read as by the dataset raw-pairs: ``cfa``, ``black`` and ``white`` describe it, ``raw_size``
    ("512x512") is that of files without a header, and counts are mapped to the levels for which the network's
    convention holds. In a picture of 16 bits ``white`` is 1 if it is given. The output is clamped to 8 bits. A network
    that is told the level of the noise is told ``sigma``, on the scale of 8-bit values, or with "estimate" that of each
    picture; an array has it in its last channel, or lacks that and gets it from ``sigma``. Pixels are used as they are
    stored; the orientation for viewers (in EXIF data or a TIFF) and the colour profile of an RGB picture are copied
    into the output. Hot pixels above ``white`` are clipped, which is reported.

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
    if freeze_filters and conditions.precision == INT8:
        raise UserError("--freeze-filters: a network in int8 predicts the filters of each image; leave it out.")
    if mlp_precision != "fp32" and not conditions.by_torch:
        raise UserError(f"--mlp-precision {mlp_precision}: only torch has this; leave --backend out.")
    if conditions.approximate and not conditions.is_tiled:
        raise UserError("--approximate: --tile off cuts no tiles; leave one of the two out.")
    levels = Levels(cfa, black, white, raw_size_of(raw_size))
    if conditions.precision == INT8:
        conditions = for_images(entry, conditions, levels, sigma, reporter)
    # Nothing is compared here, so approximate tiles may have an automatic size.
    check(conditions.model_copy(update={"approximate": False, "sigma": sigma}), Limits(memory_limit))
    spec, folder = entry.card.input_for(entry.options), Path(out)
    files = input_files(inputs, spec)
    refuse_equal_names(files)
    refuse_inputs(f"infer: -o {out}", (target_of(file, folder, spec) for file in files), [*files, weights])
    if not (entry.scored or random_weights):
        _refuse_random(entry, files, spec)
    for file in files:
        if not is_array(file, spec):
            entry.check_noise(file, sigma)
            if spec.is_raw:
                check_readable("infer", file, levels.sensor)
    if own_process or memory_limit is not None:
        # This must happen before any thread has a heap of its own.
        set_heap(keep=memory_limit is None)
    runner = FullNetwork(
        subject_of(entry, entry.build(seed=seed), entry.quantized_file(conditions)),
        conditions,
        memory_limit,
        reporter,
        freeze_filters=freeze_filters,
        mlp_precision=mlp_precision,
        own_heap=True,
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
    paths = []

    def done(file: Path, path: Path) -> None:
        paths.append(Path(out) / path.name)
        written(file, paths[-1])

    with work_turns() as turn, _Pictures(done, behind=memory_limit is None) as pictures:
        for file in files:
            title, path = f"infer {entry.label}: {file.name}", target_of(file, folder, spec)
            if is_array(file, spec):
                with turn(), kept(), runner.reporting(reporter, title):
                    _infer_array(runner, spec, file, path, sigma)
                pictures.finish()
                done(file, path)
            else:
                picture = read_image(file, spec, levels, reporter)
                planes, red = planes_of(file, picture, spec, levels, reporter, sigma), levels.red(spec)
                carried = _carried(file, picture, spec, reporter)
                with turn(), kept(), runner.reporting(reporter, title):
                    pixels = _infer_image(runner, spec, planes, red, path)
                pictures.write(file, path, pixels, carried)
    if freeze_filters and len(files) > 1:
        reporter.note(f"{entry.label}: filters predicted for {files[0].name} were used for all {len(files)} images")
    return paths


def _refuse_random(entry: Entry, files: Sequence[Path], spec: InputSpec) -> None:
    """Raise UserError, except for arrays and a plug-in: so one tries the sizes that a network of one's own takes."""
    if entry.card.is_builtin or not all(is_array(file, spec) for file in files):
        known = "shipped, or " if shipped_weights(entry.card.name) and entry.card.is_builtin else ""
        raise UserError(
            f"infer: {entry.label} has no weights, and with random ones its output means nothing. Pass --weights"
            f" {known}FILE (`zoo-bench show {entry.card.name}` says what is known), or --random-weights to run it so."
        )


def _infer_array(runner: FullNetwork, spec: InputSpec, file: Path, path: Path, sigma: Sigma | None) -> None:
    source = read_array(file, spec, sigma)
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
        reason = f"{reason_of(error, 300)}{place_of(error)}"
        raise UserError(f"{file}: the bare network refuses {shape}: {reason}") from error


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
    runner: FullNetwork, spec: InputSpec, planes: Tensor, red: tuple[int, int], path: Path
) -> NDArray[np.uint8]:
    """Return the output for planes (1, C, H, W) as pixels (H', W', 3), or (H', W') of a gray picture."""
    with torch.inference_mode(), _refusals(path, tuple(planes.shape)):
        output = apply_model(runner, planes, spec, red=red)[0]
    if not torch.isfinite(output).all():
        raise UserError(f"{path.stem}: the model returned NaN or infinite values.")
    pixels = (output.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


class _Pictures:
    """Writes pictures one after another; ``behind``: each in a thread of its own, while the next is read and run.

    ``done`` is called, in the caller's thread, for each file that has been written.
    """

    def __init__(self, done: Callable[[Path, Path], None], *, behind: bool) -> None:
        self._done, self._behind = done, behind
        self._pool = ThreadPoolExecutor(1)
        self._pending: tuple[Path, Path, Future[None]] | None = None

    def __enter__(self) -> _Pictures:
        return self

    def __exit__(self, *error: object) -> None:
        # What was computed before an error is written all the same.
        with self._pool:
            self.finish()

    def write(self, file: Path, path: Path, pixels: NDArray[np.uint8], carried: Mapping[str, Any]) -> None:
        """Write ``pixels`` as a PNG at ``path``, the output for ``file``; ``carried`` are its metadata."""
        self.finish()
        self._pending = file, path, self._pool.submit(_save, path, pixels, carried)
        if not self._behind:
            self.finish()

    def finish(self) -> None:
        """Wait until everything has been written."""
        if self._pending is not None:
            file, path, written = self._pending
            self._pending = None
            written.result()
            self._done(file, path)


def _save(path: Path, pixels: NDArray[np.uint8], carried: Mapping[str, Any]) -> None:
    try:
        # A lock of this thread: no timing begins while it writes.
        with work_turns() as turn, turn(), whole_file(path) as partial:
            Image.fromarray(pixels).save(partial, format="PNG", compress_level=1, **carried)
    except OSError as error:
        raise UserError(room_text(path, pixels.nbytes, error)) from error
