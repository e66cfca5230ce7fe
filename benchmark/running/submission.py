"""Run a model on the benchmark blocks of SIDD and write the files for its two sites: a MATLAB file and a CSV.

The old site's template saves v7.3; we save v5, which MATLAB also loads and which scipy can write: a cell array of all
1280 blocks in single precision is 1.0 GB, which v5 can hold.
"""

from __future__ import annotations

import base64
import csv
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from benchmark.conditions import Conditions, Sigma, sigma_of
from benchmark.datasets.sidd import BLOCKS, SiddBenchmark
from benchmark.imaging.noise import told_sigma
from benchmark.placing import check
from benchmark.replacing import naming, refuse_inputs, replacing
from benchmark.reporting import Reporter
from benchmark.selection import entry_of
from zoo.errors import UserError
from zoo.raw import apply_model, to_network

MAT_FILE, CSV_FILE = "SubmitSrgb.mat", "SubmitSrgb.csv"
MEGAPIXEL = 1024 * 1024
TASK = "denoise_rgb"

Blocks = NDArray[np.float32]


@dataclass(frozen=True)
class Method:
    """What the sites show next to a submission: the fields of the template's ``OptionalData``."""

    name: str
    authors: str = ""
    paper: str = ""
    venue: str = ""


def submit(
    model: str,
    data_root: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    method: Method | None = None,
    sigma: Sigma | None = None,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Run a model over the benchmark blocks and write both files into ``out``; return their paths.

    ``sigma`` is what a network is told that takes the level of the noise. Raises UserError for a model of another task
    or without weights, for a level that is missing, and for every fault in the blocks.
    """
    reporter, folder = reporter or Reporter(), Path(out)
    paths = [folder / MAT_FILE, folder / CSV_FILE]
    refuse_inputs(f"submit: -o {out}", paths, [weights, *Path(data_root).glob("*.mat")])
    entry = entry_of(model, weights, options or {})
    if entry.card.task != TASK:
        raise UserError(f"submit: {model} is a {entry.card.task} model; SIDD needs {TASK}.")
    entry.tell_notes(reporter)
    if not entry.scored:
        raise UserError(f"submit: {model} is untrained; its output would mean nothing. Pass --weights.")
    sigma = sigma_of(sigma)
    check(Conditions(sigma=sigma))
    entry.check_noise("SIDD", sigma)
    benchmark = SiddBenchmark(Path(data_root))
    if benchmark.provenance["standin"]:
        reporter.note(f"submit: {benchmark.name} is synthetic: use these files for a trial only, not for the sites.")
    network, spec = entry.build(), entry.card.input_for(entry.options)
    blocks = np.empty((benchmark.num_images, BLOCKS, 256, 256, 3), np.float32)
    # The time of the network only, without reading and writing.
    seconds = 0.0
    with reporter.progress(f"submit {entry.label}", len(benchmark)) as advance:
        for number in range(len(benchmark)):
            block = benchmark[number]
            told = told_sigma(block.input, sigma) if spec.noise_level else None
            start = time.perf_counter()
            with torch.inference_mode():
                output = apply_model(network, to_network(block.input, spec, sigma=told), spec)
            seconds += time.perf_counter() - start
            if output.shape != block.input.shape or not torch.isfinite(output).all():
                raise UserError(
                    f"submit: block {block.id}: the output has another shape or values that are not finite."
                )
            blocks[divmod(number, BLOCKS)] = output[0].clamp(0, 1).permute(1, 2, 0).numpy()
            advance()
    with naming(folder, "-o"):
        folder.mkdir(parents=True, exist_ok=True)
    write_mat(paths[0], blocks, seconds=seconds, method=method or Method(entry.label))
    write_csv(paths[1], blocks.reshape(-1, *blocks.shape[2:]))
    return paths


def write_mat(path: Path, blocks: Blocks, *, seconds: float, method: Method) -> None:
    """Write ``SubmitSrgb.mat``: a cell per block, ``blocks`` (images, 32, H, W, 3) single in [0, 1].

    ``TimeMPSrgb`` is the time for 1024 x 1024 pixels; ``seconds`` is the time for all blocks.
    """
    _check_blocks(blocks.reshape(-1, *blocks.shape[2:]))
    cells = np.empty(blocks.shape[:2], object)
    for place in np.ndindex(*cells.shape):
        cells[place] = np.asarray(blocks[place], np.float32)
    content = {
        "DenoisedBlocksSrgb": cells,
        "TimeMPSrgb": float(seconds * MEGAPIXEL / (blocks.size / 3)),
        "OptionalData": {
            "MethodName": method.name,
            "Authors": method.authors,
            "PaperTitle": method.paper,
            "Venue": method.venue,
        },
    }
    with replacing(path, "-o") as partial, partial.open("wb") as stream:
        savemat(stream, content, do_compression=True)


def write_csv(path: Path, blocks: Iterable[Blocks]) -> None:
    """Write the Kaggle CSV: ID counts the blocks row by row, BLOCK is the base64 of their bytes, rounded to uint8."""
    with replacing(path, "-o") as partial, partial.open("w", newline="", encoding="ascii") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ID", "BLOCK"])
        for number, block in enumerate(blocks):
            _check_blocks(np.asarray(block)[None])
            pixels = np.rint(np.asarray(block, np.float64) * 255).astype(np.uint8)
            writer.writerow([number, base64.b64encode(pixels.tobytes()).decode("ascii")])


def _check_blocks(blocks: Blocks) -> None:
    if blocks.ndim != 4 or blocks.shape[-1] != 3 or blocks.min() < 0 or blocks.max() > 1:
        raise ValueError(f"expected RGB blocks (N, H, W, 3) in [0, 1], found {blocks.shape}")
