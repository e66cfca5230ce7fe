"""Torch, ONNX Runtime and OpenVINO on the same networks at 1 MPix: time, memory of a pass, what stays resident.

    python speed/engines.py [MODEL[:key=value,...] ...] [--size HxW]     # about a minute each

Each line is a process of its own (``benchmark.timing.measuring``): median of the passes, the ratio to torch's line,
what a pass adds to the resident memory, what compiling and the engine's libraries leave there, and the seconds of
compiling.
bf16 is tried where the processor has it. Ratios hold within one run; a tainted line is marked.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmark.backends import ENGINES
from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import predict
from benchmark.timing.measuring import measure
from zoo.errors import UserError

MODELS = ["plainunet_64:width=32", "plainunet_64"]
# Of packed planes, whose image has twice the sides.
SIZE = (512, 512)
HOW = [("torch", "fp32"), *((name, precision) for name, one in ENGINES.items() for precision in one.precisions)]
SECONDS = 6.0


def main() -> None:
    """Print one line per network, engine and precision."""
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
                document = measure(
                    model, {"": predicted}, options=options, conditions=conditions, limits=Limits(seconds=SECONDS)
                )[""]
            except UserError as error:
                print(f"{name:24} {backend + ' ' + precision:18} {error}", flush=True)
                continue
            base = base or (document["latency_ms"] or {}).get("median")
            print(f"{name:24} {backend + ' ' + precision:18} {line(document, base)}", flush=True)


def arguments(words: list[str]) -> tuple[list[str], tuple[int, int]]:
    """Return the networks and the size of the planes that the command line names."""
    size = SIZE
    if "--size" in words:
        at = words.index("--size")
        height, width = map(int, words[at + 1].split("x"))
        size, words = (height, width), words[:at] + words[at + 2 :]
    return words or MODELS, size


def line(document: dict[str, Any], base: float | None) -> str:
    """Return the figures of one measurement as a line of the table."""
    latency, engine = document["latency_ms"], document["engine"] or {}
    if latency is None or base is None:
        return str(document["measurement"]["error"])
    sizes = [document["peak_rss_bytes"], engine.get("compile_rss_bytes"), engine.get("library_rss_bytes")]
    figures = " ".join(f"{'-' if value is None else f'{value / 1e6:.0f}':>8}" for value in sizes)
    compiling = f"{engine['compile_ms'] / 1000:6.1f}" if engine else f"{'-':>6}"
    tainted = "  tainted" if document["tainted"] else ""
    return f"{latency['median']:8.0f} {latency['median'] / base:8.2f} {figures} {compiling}{tainted}"


if __name__ == "__main__":
    main()
