"""Time and memory of a network on a whole image in bands of rows, in a process of its own.

    python -m speed bands awnet_4ch --size 1536x2048          # goals: resident within 1.2x of the network's own peak of
    python -m speed bands pynet --size 384x512 --whole        # live tensors; no slower than the whole image

Prints what a run adds to the resident memory of a process that holds network and input (the input is added, as the
predictions count it), the plan's own prediction, the network's (``peak_activation_bytes``), and with ``--whole`` time
and memory of the ordinary pass in a second process, and the largest difference relative to the largest value.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.costs.prediction import predict
from benchmark.fullres.bands.plan import plan_bands
from benchmark.fullres.bands.run import run_bands
from benchmark.host import machine
from benchmark.host.isolation import run_isolated
from benchmark.timing.messages import Job
from benchmark.units import GIB
from speed.figures import Figure


def measure(*, job: dict[str, Any], shape: list[int], banded: bool, path: str, emit: Callable[[Any], None]) -> Any:
    """Run once in this process, write the output to ``path`` and return seconds and bytes."""
    network, x = Job.model_validate(job).network(), Job.model_validate(job).planes(shape)
    plan_seconds, plan = None, None
    small = torch.rand(1, shape[1], 64, 64)
    if banded:
        began = time.perf_counter()
        plan = plan_bands(network, shape)
        plan_seconds = time.perf_counter() - began
        run_bands(network, small, plan_bands(network, small.shape))
    with torch.inference_mode():
        if plan is None:
            network(small)
        machine.return_free_memory()
        machine.reset_peak_resident()
        resting = machine.resident_bytes() or 0
        began = time.perf_counter()
        y = run_bands(network, x, plan) if plan else network(x)
        seconds = time.perf_counter() - began
    added = (machine.peak_resident_bytes() or 0) - resting + x.nbytes
    torch.save(y, path)
    planned = plan.peak_bytes if plan else None
    return {"seconds": seconds, "bytes": added, "resident": resting + added, "planned": planned, "plan": plan_seconds}


def main() -> list[Figure]:
    """Print one line per way of running; return memory and time as ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--size", default="384x512")
    parser.add_argument("--whole", action="store_true", help="run the ordinary pass too")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    predicted = predict(options.model, (height, width), {})
    own = predicted.peak_activation_bytes
    print(f"{options.model} {options.size}: live tensors of the network itself {own / GIB:.2f} GiB")
    outputs, seconds, figures = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for banded in (True, False)[: 1 + options.whole]:
            name = "banded" if banded else "whole"
            path = Path(folder) / name
            arguments = {
                "job": Job(model=options.model).model_dump(mode="json"),
                "shape": list(predicted.shape),
                "banded": banded,
            }
            outcome = run_isolated(
                "speed.bands:measure",
                {**arguments, "path": str(path)},
                threads=options.threads,
            )
            if outcome.status != "ok":
                print(f"  {name}: {outcome.status}: {outcome.error}")
                continue
            found, outputs[name] = outcome.value, torch.load(path)
            seconds[name] = found["seconds"]
            line = (
                f"  {name}: {found['seconds']:.2f} s, adds {found['bytes'] / GIB:.3f} GiB ({found['bytes'] / own:.2f}x)"
            )
            line += f", resident {found['resident'] / GIB:.2f} GiB"
            if banded:
                line += f"; planned {found['planned'] / GIB:.3f} GiB in {found['plan']:.1f} s"
                figures.append(Figure("memory / the network's live tensors", found["bytes"] / own, "x", at_most=1.2))
            print(line, flush=True)
    if len(outputs) == 2:
        whole = outputs["whole"]
        difference = float((outputs["banded"] - whole).abs().max() / whole.abs().max())
        figures += [
            Figure("time / whole image", seconds["banded"] / seconds["whole"], "x", at_most=1.0),
            Figure("largest difference", difference, at_most=1e-4),
        ]
    return figures
