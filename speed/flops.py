"""Print how long other counters take for a small image, beside ours for a 12 MP one, and what they count.

python -m speed flops [--models GLOB] [--repeat N]    # goal: at least 5 times faster than the fastest for PyNET

Every network of both published tables: ours at 12 MP (packed 1536x2048 for RAW, 3072x4096 for RGB), building the
network included; thop, ptflops and fvcore at 224x224, on a network built before. Imports are not timed. Counters
take turns, the time is the median of the turns. The right half is each count divided by ours, at 224x224.
Counters that are not installed print "-", they come with ``pip install 'zoo-bench[audit]'``; so do those that fail.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import functools
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.costs.profiling import profile
from benchmark.leaderboard.published import read_published
from speed.figures import Figure
from zoo import create_model, get_card

PUBLISHED = Path(__file__).parent.parent / "leaderboards" / "published"
GOAL_MODEL, GOAL = "pynet", 5.0
SMALL = (224, 224)
Count = Callable[[nn.Module, Tensor], float | None]


def thop_counter() -> Count:
    """Return thop's count; ImportError if it is not installed."""
    import thop

    return lambda model, planes: thop.profile(model, inputs=(planes,), verbose=False)[0]


def ptflops_counter() -> Count:
    """Return ptflops' count; ImportError if it is not installed."""
    from ptflops import get_model_complexity_info

    return lambda model, planes: get_model_complexity_info(
        model, tuple(planes.shape[1:]), print_per_layer_stat=False, as_strings=False
    )[0]


def fvcore_counter() -> Count:
    """Return fvcore's count; ImportError if it is not installed."""
    from fvcore.nn import FlopCountAnalysis

    return lambda model, planes: FlopCountAnalysis(model, planes).total()


def installed() -> dict[str, Count]:
    """Return the counters that are installed, imported."""
    found = {}
    for name, make in (("thop", thop_counter), ("ptflops", ptflops_counter), ("fvcore", fvcore_counter)):
        with contextlib.suppress(ImportError):
            found[name] = make()
    return found


def timed(call: Callable[[], float | None]) -> tuple[float, float] | None:
    """Return the seconds that ``call`` takes and what it returns, without what it prints; None if it fails."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        start = time.perf_counter()
        try:
            value = call()
        except Exception:
            # Whatever breaks inside a counter is one of its results.
            return None
        return None if value is None else (time.perf_counter() - start, value)


def measure(name: str, counters: dict[str, Count], repeat: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of every turn and the counts divided by ours, both by counter."""
    card = get_card(name)
    large = (1536, 2048) if card.task == "raw2rgb" else (3072, 4096)
    record = profile(name, size=SMALL)
    planes = torch.rand(record["input_shape"])
    model = create_model(name).eval()
    turns: dict[str, Callable[[], float | None]] = {"ours": lambda: profile(name, size=large)["macs"]}
    turns |= {counter: functools.partial(count, model, planes) for counter, count in counters.items()}
    seconds: dict[str, list[float]] = {}
    ratios = {}
    for _ in range(repeat):
        for counter in list(turns):
            with torch.no_grad():
                outcome = timed(turns[counter])
            if outcome is None:
                del turns[counter]
                continue
            seconds.setdefault(counter, []).append(outcome[0])
            ratios[counter] = outcome[1] / record["macs"]
    return seconds, ratios


def models(pattern: str) -> list[str]:
    """Return the networks of the published tables, once each."""
    tables = [table for publication in read_published(PUBLISHED).values() for table in publication.tables]
    names = dict.fromkeys(row.model for table in tables for row in table.rows)
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def main() -> list[Figure]:
    """Print one line per network; return how much faster than all others ours is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="*", metavar="GLOB")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    counters = installed()
    for warm in ("plainunet_8", "vdn_w8"):
        measure(warm, counters, 1)
    others = ("thop", "ptflops", "fvcore")
    print(f"{'seconds: ours at 12 MP, the others at 224x224':>67} {'faster':>8}   {'counted / ours, at 224x224':>26}")
    print(f"{'model':22} {'ours':>10}", *(f"{name:>10}" for name in others), f"{'than all':>9}  ", end="")
    print(*(f"{name:>8}" for name in others))
    speedups = {}
    for name in models(arguments.models):
        seconds, ratios = measure(name, counters, arguments.repeat)
        median = {counter: statistics.median(values) for counter, values in seconds.items()}
        fastest = min((median[counter] for counter in others if counter in median), default=float("nan"))
        speedups[name] = fastest / median["ours"]
        times = [f"{median[o]:10.3f}" if o in median else f"{'-':>10}" for o in ("ours", *others)]
        shares = [f"{ratios[o]:8.3f}" if o in ratios else f"{'-':>8}" for o in others]
        print(f"{name:22}", *times, f"{speedups[name]:8.1f}x  ", *shares, flush=True)
    return [
        Figure(f"{name}: fastest other / ours", value, "x", at_least=GOAL if name == GOAL_MODEL else None)
        for name, value in speedups.items()
    ]
