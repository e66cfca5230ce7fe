"""Time and memory of a network on a whole image in bands of rows, each way in a process of its own.

    python -m speed bands awnet_4ch --size 1536x2048          # goals: resident within 1.2x of the network's own peak of
    python -m speed bands pynet --size 384x512 --whole        # live tensors; no slower than the whole image
    python -m speed bands pynet --size 384x512 --operators    # the share of time that each operator takes

Prints what a run adds to the resident memory of a process that holds network and input (the input is added, as the
predictions count it), the plan's own prediction, and the network's (``peak_activation_bytes``). ``--exact`` adds bands
of the network's own operators, ``--whole`` the ordinary pass, and the largest difference from it relative to its
largest value. A time is the best of ``--passes``; the ways take turns, each time in a new process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.costs.prediction import predict
from benchmark.fullres.bands.plan import plan_bands
from benchmark.fullres.bands.run import run_bands
from benchmark.host import machine
from benchmark.host.isolation import run_isolated
from benchmark.timing.messages import Job
from benchmark.units import GIB
from speed.figures import Figure
from speed.fullres import show_ceiling

BANDS, EXACT, WHOLE = "bands", "bands, exact kernels", "whole image"
# As many operators are shown by name; the others share a line.
_MOST_OPERATORS = 10


def measure(
    *, job: dict[str, Any], shape: list[int], way: str, path: str, operators: bool, emit: Callable[[Any], None]
) -> dict[str, Any]:
    """Run once in this process, write the output to ``path`` and return seconds and bytes.

    ``operators``: run once more, and return the seconds of each operator without those that it calls.
    """
    network, x = Job.model_validate(job).network(), Job.model_validate(job).planes(shape)
    small = torch.rand(1, shape[1], 64, 64)

    def run_of(planes: Tensor) -> tuple[Callable[[], Tensor], int | None]:
        if way == WHOLE:
            return lambda: network(planes), None
        plan = plan_bands(network, planes.shape, exact_kernels=way == EXACT)
        return lambda: run_bands(network, planes, plan), plan.peak_bytes

    began = time.perf_counter()
    run, planned = run_of(x)
    plan_seconds = time.perf_counter() - began
    with torch.inference_mode():
        # Loads the libraries.
        run_of(small)[0]()
        machine.return_free_memory()
        machine.reset_peak_resident()
        resting = machine.resident_bytes() or 0
        began = time.perf_counter()
        y = run()
        seconds = time.perf_counter() - began
    added = (machine.peak_resident_bytes() or 0) - resting + x.nbytes
    torch.save(y, path)
    found = {"seconds": seconds, "bytes": added, "resident": resting + added, "planned": planned, "plan": plan_seconds}
    return {**found, "operators": seconds_of_operators(run) if operators else {}}


def seconds_of_operators(run: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of each operator in one run, those of others that it calls left out; the longest first."""
    with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return {event.key: event.self_cpu_time_total / 1e6 for event in events}


def main() -> list[Figure]:
    """Print one line per way of running; return memory and time as ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--size", default="384x512")
    parser.add_argument("--exact", action="store_true", help="run bands of the network's own operators too")
    parser.add_argument("--whole", action="store_true", help="run the ordinary pass too")
    parser.add_argument("--operators", action="store_true", help="show the share of time that each operator takes")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    predicted = predict(options.model, (height, width), {})
    own = predicted.peak_activation_bytes
    print(f"{options.model} {options.size}: live tensors of the network itself {own / GIB:.2f} GiB")
    arguments = {"job": Job(model=options.model).model_dump(mode="json"), "shape": list(predicted.shape)}
    ways = [BANDS, *([EXACT] if options.exact else []), *([WHOLE] if options.whole else [])]
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    outputs: dict[str, Tensor] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.passes):
            for way in ways:
                path = Path(folder) / "output"
                profiled = options.operators and way == BANDS and turn == 0
                given = {**arguments, "way": way, "path": str(path), "operators": profiled}
                outcome = run_isolated("speed.bands:measure", given, threads=options.threads)
                if outcome.status != "ok":
                    raise SystemExit(f"{way}: {outcome.status}: {outcome.error}")
                found[way].append(outcome.value)
                outputs[way] = torch.load(path)
    for way in ways:
        print(f"  {way}: {_line(found[way], own)}", flush=True)
    figures = [Figure("memory / the network's live tensors", found[BANDS][0]["bytes"] / own, "x", at_most=1.2)]
    best = {way: min(one["seconds"] for one in found[way]) for way in ways}
    if options.exact:
        figures.append(Figure("time / bands of plain operators", best[BANDS] / best[EXACT], "x"))
    if options.whole:
        figures.append(Figure("time / whole image", best[BANDS] / best[WHOLE], "x", at_most=1.0))
        whole = outputs[WHOLE]
        difference = float((outputs[BANDS] - whole).abs().max() / whole.abs().max())
        figures.append(Figure("largest difference", difference, at_most=1e-5))
    if options.operators:
        figures += _shares(found[BANDS][0]["operators"])
        gemm = show_ceiling(options.threads)
        figures.append(Figure("of sgemm", 100 * predicted.flops / best[BANDS] / 1e9 / gemm, "%"))
    return figures


def _line(found: list[dict[str, Any]], own: int) -> str:
    one = found[0]
    seconds = ", ".join(f"{each['seconds']:.2f}" for each in found)
    text = f"{seconds} s, adds {one['bytes'] / GIB:.3f} GiB ({one['bytes'] / own:.2f}x)"
    text += f", resident {one['resident'] / GIB:.2f} GiB"
    return text + (f"; planned {one['planned'] / GIB:.3f} GiB in {one['plan']:.1f} s" if one["planned"] else "")


def _shares(operators: dict[str, float]) -> list[Figure]:
    """Return the part of the time of the operators that take most, and of all others."""
    total = sum(operators.values())
    shares = [Figure(f"time of {name}", 100 * seconds / total, "%") for name, seconds in operators.items()]
    rest = sum(figure.value for figure in shares[_MOST_OPERATORS:])
    return [*shares[:_MOST_OPERATORS], Figure("time of other operators", rest, "%")]
