"""CPU time of the full-scale table: one pass over a full-scale image, each model in a process of its own.

    python -m speed table_times leaderboards/results/full-scale.jsonl [MODEL ...] [--tile auto] [--backend openvino]

RAW networks get a whole sensor frame of 2976x3968 pixels (packed 1488x1984, as Table 1), the others 1 MPix (1024x1024,
as Table 2). Nothing else should run. With `--tile auto` each image goes through in tiles or bands where that takes
less. Records are appended; `zoo-bench leaderboard` puts them into the tables. On two cores the networks of the paper
take 12 to 21 minutes, most of it PyNET and PyNET-CA; those up to 2 TFLOP of the others half a minute each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from speed.figures import Figure
from zoo import get_card, list_models

# Half a frame's sides, for which the size of every network's planes follows; pixels of the others.
HALF_FRAME, MPIX = (1488, 1984), (1024, 1024)


def sizes() -> dict[str, tuple[int, int]]:
    """Return the size of the planes of each network, in the order of names."""
    found = {}
    for card in map(get_card, list_models()):
        if card.task == "raw2rgb":
            found[card.name] = card.input.plane_size(HALF_FRAME)
        else:
            found[card.name] = MPIX
    return found


ONE = """
import sys
from pathlib import Path
from benchmark.conditions import Conditions
from benchmark.timing.fullscale import time_full_scale
from benchmark.results.jsonl import append_line
from benchmark.results.records import content_of
how = Conditions(tile=sys.argv[5], backend=sys.argv[6])
result = time_full_scale(sys.argv[2], (int(sys.argv[3]), int(sys.argv[4])), conditions=how)
append_line(Path(sys.argv[1]), content_of(result))
"""


def main() -> list[Figure]:
    """Time the models named, or all; print seconds, quartiles and GFLOP/s of each; return the seconds."""
    figures = []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--tile", default="off")
    parser.add_argument("--backend", default="torch")
    options = parser.parse_args()
    out = options.out
    of_model = sizes()
    for name in options.models or of_model:
        height, width = map(str, of_model[name])
        arguments = [out, name, height, width, options.tile, options.backend]
        done = subprocess.run([sys.executable, "-c", ONE, *arguments], check=False)
        if done.returncode:
            print(f"{name:24} ended with status {done.returncode}", flush=True)
            continue
        with open(out, encoding="utf-8") as file:
            record = json.loads(file.readlines()[-1])
        time = record["measurements"].get("latency_ms@fullscale")
        if time is None:
            print(f"{name:24} {record['status']}: {record['error']}", flush=True)
            continue
        flops = record["measurements"]["flops@fullscale"]["value"]
        seconds, n = time["value"] / 1000, time["n"]
        spread = f"{time['q1'] / 1000:.2f}-{time['q3'] / 1000:.2f}"
        share = record["measurements"].get("gemm_share@fullscale")
        reached = f", {100 * share['value']:.0f} % of sgemm" if share else ""
        how = "; ".join(one["text"] for one in record["tilings"])
        print(
            f"{name:24} {seconds:9.2f} s ({spread}, n={n}) {flops / seconds / 1e9:8.1f} GFLOP/s{reached}"
            f"{f' ({how})' if how else ''}",
            flush=True,
        )
        figures.append(Figure(name, seconds, "s"))
    return figures
