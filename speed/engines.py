"""Torch, ONNX Runtime, OpenVINO and ExecuTorch on the same networks at 1 MPix: time, memory of a pass, what stays.

    python -m speed engines [MODEL[:key=value,...] ...] [--size HxW]     # about a minute each

Each line is a process of its own (``benchmark.timing.session``): median of the passes, the ratio to torch's line,
what a pass adds to the resident memory, what compiling and the engine's libraries leave there, and the seconds of
compiling.
bf16 is tried where the processor has it. Ratios hold within one run; a tainted line is marked.
"""

from __future__ import annotations

import sys

from benchmark.backends import ENGINES
from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import predict
from benchmark.measured import Measured
from benchmark.timing.session import measure
from speed.figures import Figure
from zoo.errors import UserError

MODELS = ["plainunet_64:width=32", "plainunet_64"]
# Of packed planes, whose image has twice the sides.
SIZE = (512, 512)
HOW = [("torch", "fp32"), *((name, precision) for name, one in ENGINES.items() for precision in one.precisions)]
SECONDS = 6.0


def main() -> list[Figure]:
    """Print one line per network, engine and precision; return the times as ratios to torch."""
    figures = []
    names, size = arguments(sys.argv[1:])
    heads = ("ms", "x torch", "pass MB", "held MB", "libs MB")
    print(f"{'network':24} {'backend':18} {' '.join(f'{head:>8}' for head in heads)} {'s':>6}")
    for name in names:
        model, _, given = name.partition(":")
        options = dict(part.split("=", 1) for part in given.split(",")) if given else {}
        predicted = predict(model, size, options)
        base = None
        for backend, precision in HOW:
            conditions = Conditions(backend=backend, precision=precision)
            try:
                measured = measure(
                    model, {"": predicted}, options=options, conditions=conditions, limits=Limits(seconds=SECONDS)
                )[""]
            except UserError as error:
                print(f"{name:24} {backend + ' ' + precision:18} {error}", flush=True)
                continue
            base = base or (measured.timing.latency_ms.median if measured.timing else None)
            print(f"{name:24} {backend + ' ' + precision:18} {line(measured, base)}", flush=True)
            if base and measured.timing and backend != "torch":
                ratio = measured.timing.latency_ms.median / base
                figures.append(Figure(f"{name}, {backend} {precision}: time / torch", ratio, "x"))
    return figures


def arguments(words: list[str]) -> tuple[list[str], tuple[int, int]]:
    """Return the networks and the size of the planes that the command line names."""
    size = SIZE
    if "--size" in words:
        at = words.index("--size")
        height, width = map(int, words[at + 1].split("x"))
        size, words = (height, width), words[:at] + words[at + 2 :]
    return words or MODELS, size


def line(measured: Measured, base: float | None) -> str:
    """Return the figures of one measurement as a line of the table."""
    timing, memory, engine = measured.timing, measured.memory, measured.prepared.engine
    if timing is None or memory is None or base is None:
        return str(measured.measurement.error)
    held = (engine.compile_rss_bytes, engine.library_rss_bytes) if engine else (None, None)
    sizes = [memory.peak_rss_bytes, *held]
    figures = " ".join(f"{'-' if value is None else f'{value / 1e6:.0f}':>8}" for value in sizes)
    compiling = f"{engine.compile_ms / 1000:6.1f}" if engine else f"{'-':>6}"
    tainted = "  tainted" if timing.tainted else ""
    median = timing.latency_ms.median
    return f"{median:8.0f} {median / base:8.2f} {figures} {compiling}{tainted}"
