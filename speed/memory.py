"""Predicted peak memory of one pass against the measured one, at sizes of about 400 MB.

    python speed/memory.py [MODEL ...]        # goal: within 15 %, or the reason below

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
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from benchmark.costs.prediction import predict
from benchmark.costs.profiling import default_size
from benchmark.host.engine import Limits, run_isolated
from benchmark.timing.job import Job
from zoo.card import get_card

MODELS = ["bilinear", "unet", "plainunet_64", "hyperunet_32_16_2048", "awnet_4ch", "vdn", "dped", "pynet"]
TARGET_BYTES = 400e6


def main() -> None:
    """Print predictions, measurements and their ratio, in MB."""
    print(
        f"{'model':22} {'planes':>10} {'tensors':>8} {'+workspace':>10} {'default heap':>12}"
        f" {'measured':>9} {'ratio':>6}"
    )
    for name in sys.argv[1:] or MODELS:
        size = default_size(get_card(name))
        side = 32 * round(size[0] * math.sqrt(TARGET_BYTES / predict(name, size, {}).peak_activation_bytes) / 32)
        predicted = predict(name, (side, side), {})
        default = added_by_a_pass(name, predicted.shape, own_process=False)
        measured = added_by_a_pass(name, predicted.shape)
        tensors, held = predicted.peak_activation_bytes / 1e6, predicted.peak_workspace_bytes / 1e6
        print(
            f"{name:22} {'x'.join(map(str, predicted.shape[-2:])):>10} {tensors:8.1f} {held:10.1f}"
            f" {default:12.1f} {measured:9.1f} {held / measured:6.3f}",
            flush=True,
        )


def added_by_a_pass(name: str, shape: Sequence[int], *, own_process: bool = True) -> float:
    """Return input and what one pass adds in MB; nan if it failed, which is printed."""
    # With a budget that the pass which measures memory exceeds, there is no other.
    arguments = {
        "job": vars(Job(name)),
        "sizes": {"": list(shape)},
        "budgets": {"": 1e-9},
        "own_process": own_process,
    }
    outcome = run_isolated("benchmark.timing.measure:measure_model", arguments, limits=Limits(threads=2))
    if outcome.status != "ok":
        print(f"{name}: {outcome.status}: {outcome.error}", file=sys.stderr)
        return math.nan
    return float(outcome.value[""]["peak_rss_bytes"] + outcome.value[""]["peak_rss"]["input_bytes"]) / 1e6


if __name__ == "__main__":
    main()
