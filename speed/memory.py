"""Predicted peak memory of one pass against the measured one, at sizes of about 400 MB.

    python speed/memory.py [MODEL ...]        # goal: within 15 %, or the reason below

Two predictions (the live tensors: ``peak_activation_bytes``; with the convolution library's workspace) and two
measurements of what a pass adds to the resident memory (as the process is; with MALLOC_MMAP_THRESHOLD_ fixed at
128 KiB, so that every freed tensor goes back to the system). The input, which exists before the pass, is added to
the measured ones. The last column is the prediction with workspace over the last measurement.

The live tensors alone are 0.43-0.75 of what is measured on the CPU, for two reasons, neither of them a tensor:

- **oneDNN's own layout.** In the plain memory format a convolution copies its input into blocks of 16 channels and
  computes into such blocks, which are then copied into the output tensor: what lives beside the tensors at the peak
  is the larger of (input's copy + blocks - output) and the blocks; a transposed convolution holds twice its output.
  Measured on single convolutions of kernel size 1 to 9 (64 -> 64 at 512x512 adds 135 MB for an output of 67 MB;
  in channels_last, where nothing is copied, 67 MB). ``Trace.peak_workspace_bytes`` counts it.
- **The C library's heap.** glibc moves blocks of up to 32 MB from mappings of their own to the heap once one was
  freed, and keeps freed pieces there between live ones: up to half as much again, more the more sizes a network has
  (UNet, AWNet, PyNET), little where all layers have one size (DPED). It is what a process really takes, so the
  measurement of record has it; with the threshold fixed, measurement and prediction agree to about 1 %.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence

from benchmark.engine import Limits, run_isolated
from benchmark.measure import Job
from benchmark.prediction import predict
from benchmark.profiling import default_size
from zoo.card import get_card

MODELS = ["unet", "plainunet_64", "hyperunet_32_16_2048", "awnet_4ch", "vdn", "dped", "pynet"]
TARGET_BYTES = 400e6


def main() -> None:
    """Print predictions, measurements and their ratio, in MB."""
    print(
        f"{'model':22} {'planes':>10} {'tensors':>8} {'+workspace':>10} {'measured':>9} {'fixed heap':>10} {'ratio':>6}"
    )
    for name in sys.argv[1:] or MODELS:
        size = default_size(get_card(name))
        side = 32 * round(size[0] * math.sqrt(TARGET_BYTES / predict(name, size, {}).peak_activation_bytes) / 32)
        predicted = predict(name, (side, side), {})
        measured = added_by_a_pass(name, predicted.shape)
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 17)
        fixed = added_by_a_pass(name, predicted.shape)
        del os.environ["MALLOC_MMAP_THRESHOLD_"]
        tensors, held = predicted.peak_activation_bytes / 1e6, predicted.peak_workspace_bytes / 1e6
        print(
            f"{name:22} {'x'.join(map(str, predicted.shape[-2:])):>10} {tensors:8.1f} {held:10.1f}"
            f" {measured:9.1f} {fixed:10.1f} {held / fixed:6.3f}",
            flush=True,
        )


def added_by_a_pass(name: str, shape: Sequence[int]) -> float:
    """Return input and what one pass adds in MB; nan if it failed, which is printed."""
    # With a budget that the pass which measures memory exceeds, there is no other.
    arguments = {"job": vars(Job(name)), "sizes": {"": list(shape)}, "budgets": {"": 1e-9}}
    outcome = run_isolated("benchmark.measure:measure_model", arguments, limits=Limits(threads=2))
    if outcome.status != "ok":
        print(f"{name}: {outcome.status}: {outcome.error}", file=sys.stderr)
        return math.nan
    return float(outcome.value[""]["peak_rss_bytes"] + outcome.value[""]["peak_rss"]["input_bytes"]) / 1e6


if __name__ == "__main__":
    main()
