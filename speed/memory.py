"""Predicted peak memory of one pass against the measured one, at sizes of about 400 MB.

    python -m speed memory [MODEL ...]           # goal: within 15 %, or the reason below
    python -m speed memory --tiles [MODEL ...]   # goal: what infer foresees for tiles covers what they take

Two predictions (the live tensors: ``peak_activation_bytes``; with the convolution library's workspace:
``predicted_rss_bytes``) and two measurements of what a pass adds to the resident memory (as glibc's heap is by default;
with every freed tensor given back to the system, which is the measurement of record, ``peak_rss_bytes``). The input,
which exists before the pass, is added to the last three. The ratio is prediction with workspace to measurement of
record.

The live tensors alone are 0.43-0.75 of what is measured on the CPU, for two reasons, neither of them a tensor:

- **oneDNN's own layout.** In the plain memory format a convolution copies its input into blocks of 16 channels and
  computes into such blocks, which are then copied into the output tensor: what lives beside the tensors at the peak
  is the larger of (input's copy + blocks - output) and the blocks; a transposed convolution holds twice its output.
  Measured on single convolutions of kernel size 1 to 9 (64 -> 64 at 512x512 adds 135 MB for an output of 67 MB;
  in channels_last, where nothing is copied, 67 MB). ``Trace.peak_workspace_bytes`` counts it.
- **The C library's heap.** glibc moves blocks of up to 32 MB from mappings of their own to the heap once one was
  freed, and keeps freed pieces there between live ones: up to half as much again, more the more sizes a network has
  (UNet, AWNet, PyNET), little where all layers have one size (DPED). It differs from run to run, so the measurement
  of record is made with freed tensors given back; then measurement and prediction agree to about 1 %.

With ``--tiles``: what ``infer`` foresees for tiles (``Choice.need_bytes``, live tensors of the crops under way times
``HEAP_FACTOR``, and ``RESERVE_BYTES``) against the growth of the process's resident peak, from the moment at which the
tiles are decided to the end of an image of 3x3 tiles, read from and written to mapped files: one tile with all threads,
and as many tiles at once as there are threads. ``given back`` is with the heap as ``infer`` sets it where
``--memory-limit`` leaves little more than the need, the ratio is foreseen / measured: below 1, a limit would not be
kept. ``kept`` is the heap as ``infer`` sets it without a limit, in which freed pieces lie between live ones, and ``x
time`` what that saves: seconds given back / kept.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.costs.prediction import predict
from benchmark.costs.profiling import size_for
from benchmark.fullres.deciding import decide
from benchmark.fullres.execution import Tiles
from benchmark.fullres.files import map_input, new_array
from benchmark.fullres.memory import RESERVE_BYTES, set_heap
from benchmark.fullres.subject import subject_of
from benchmark.fullres.tiles.run import Workers
from benchmark.host import machine
from benchmark.host.isolation import run_isolated
from benchmark.selection import entry_of
from benchmark.timing.child import measure_model
from benchmark.timing.messages import Job, Request
from benchmark.units import shape_text
from speed.figures import Figure
from zoo.card import get_card

MODELS = ["bilinear", "unet", "plainunet_64", "hyperunet_32_16_2048", "awnet_4ch", "vdn", "dped", "pynet"]
TARGET_BYTES = 400e6
TILED, TILE_SIDES = ["plainunet_64", "hyperunet_32_16_2048", "vdn", "hypervdn_21", "unet_w8"], (192, 384)


def main() -> list[Figure]:
    """Print predictions, measurements and their ratio, in MB; return the ratios."""
    names = [name for name in sys.argv[1:] if name != "--tiles"]
    if "--tiles" in sys.argv:
        return compare_tiles(names or TILED)
    figures = []
    print(
        f"{'model':22} {'planes':>10} {'tensors':>8} {'+workspace':>10} {'default heap':>12}"
        f" {'measured':>9} {'ratio':>6}"
    )
    for name in names or MODELS:
        size = size_for(get_card(name))
        side = 32 * round(size[0] * math.sqrt(TARGET_BYTES / predict(name, size, {}).peak_activation_bytes) / 32)
        predicted = predict(name, (side, side), {})
        default = added_by_a_pass(name, predicted.shape, own_process=False)
        measured = added_by_a_pass(name, predicted.shape)
        tensors, held = predicted.peak_activation_bytes / 1e6, predicted.peak_workspace_bytes / 1e6
        print(
            f"{name:22} {shape_text(predicted.shape[-2:]):>10} {tensors:8.1f} {held:10.1f}"
            f" {default:12.1f} {measured:9.1f} {held / measured:6.3f}",
            flush=True,
        )
        figures.append(Figure(f"{name}: predicted / measured", held / measured, "x", at_least=0.85, at_most=1.15))
    return figures


def added_by_a_pass(name: str, shape: Sequence[int], *, own_process: bool = True) -> float:
    """Return input and what one pass adds in MB; nan if it failed, which is printed."""
    # With a budget that the pass which measures memory exceeds, there is no other.
    request = Request(job=Job(model=name), sizes={"": list(shape)}, budgets={"": 1e-9}, own_process=own_process)
    outcome = measure_model.isolated(request, threads=2)
    if outcome.status != "ok":
        print(f"{name}: {outcome.status}: {outcome.error}", file=sys.stderr)
        return math.nan
    memory = outcome.value.memory[""]
    return float(memory.peak_rss_bytes + memory.peak_rss.input_bytes) / 1e6


def compare_tiles(names: Sequence[str]) -> list[Figure]:
    """Print what is foreseen for tiles, what they take, and the ratio, in MB; return the ratios."""
    ratios = []
    heads = ("at once", "need", "+reserve", "given back", "ratio", "kept", "ratio", "x time")
    print(f"{'model':22} {'tile':>8} {' '.join(f'{head:>10}' for head in heads)}")
    for name in names:
        for side in TILE_SIDES:
            for workers in (1, 2):
                given, kept = (tiles_of(name, side, workers, keep=keep) for keep in (False, True))
                foreseen = given["need"] + RESERVE_BYTES / 1e6
                figures = [
                    *(given["need"], foreseen, given["added"], foreseen / given["added"]),
                    *(kept["added"], foreseen / kept["added"], given["seconds"] / kept["seconds"]),
                ]
                text = " ".join(f"{value:10.2f}" if value < 10 else f"{value:10.0f}" for value in figures)
                print(f"{name:22} {f'{side}x{side}':>8} {workers:10} {text}", flush=True)
                case = f"{name}, {workers} at once of {side}x{side}: foreseen / taken"
                ratios.append(Figure(case, foreseen / given["added"], "x", at_least=1))
    return ratios


def tiles_of(name: str, side: int, workers: int, *, keep: bool) -> dict[str, float]:
    """Return what ``run_tiles`` does in a process of its own, nan if it failed, which is printed."""
    arguments = {"name": name, "side": side, "workers": workers, "keep": keep}
    outcome = run_isolated("speed.memory:run_tiles", arguments, threads=2)
    if outcome.status != "ok":
        print(f"{name}: {outcome.status}: {outcome.error}", file=sys.stderr)
        return dict.fromkeys(("need", "added", "seconds"), math.nan)
    found: dict[str, float] = outcome.value
    return found


def run_tiles(*, name: str, side: int, workers: int, keep: bool, emit: Callable[[Any], None]) -> dict[str, float]:
    """Run an image of 3x3 tiles as ``infer`` runs an array; return MB foreseen and added, and seconds."""
    set_heap(keep=keep)
    if not keep:
        machine.give_blocks_back()
    entry = entry_of(name, None, {})
    subject = subject_of(entry, entry.build(seed=0))
    with tempfile.TemporaryDirectory() as folder:
        shape = (1, subject.channels, 3 * side, 3 * side)
        with new_array(Path(folder, "in.npy"), shape) as array:
            array.tensor.uniform_()
        source = map_input(Path(folder, "in.npy"))
        how = decide(subject, source.tensor, tile=(side, side), mapped_output=True)
        assert isinstance(how, Tiles)
        assert how.need_bytes is not None
        need = how.need_bytes * workers // how.workers.count
        how = replace(how, workers=Workers(workers))
        machine.return_free_memory()
        machine.reset_peak_resident()
        resting = machine.resident_bytes() or 0
        began = time.perf_counter()
        with new_array(Path(folder, "out.npy"), how.output) as target:

            def forget() -> None:
                source.forget()
                target.forget()

            how.run(source.tensor, target.tensor, after_piece=forget)
        seconds = time.perf_counter() - began
        return {"need": need / 1e6, "added": ((machine.peak_resident_bytes() or 0) - resting) / 1e6, "seconds": seconds}
