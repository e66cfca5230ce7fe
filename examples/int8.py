"""Measure what int8 costs: the records of leaderboards/results/int8.jsonl.

    python examples/int8.py [--weights DIR] [--awgn DIR] [--calibrate DIR] [--times] -o runs/int8
    zoo-bench results keep runs/int8 -o leaderboards/results/int8.jsonl
    zoo-bench leaderboard --results leaderboards/results --out leaderboards

The networks that ship run on the embedded stand-ins, calibrated with their train splits. With ``--weights``, a folder
of published files that are known by their digests, LAN and MobileIE for ZRR do too; with ``--awgn``, a folder that
holds Set12, and ``--calibrate``, a folder of other pictures, DnCNN runs on Set12. Give relative paths: the record names
the pictures that calibrated. Each network runs in float32 by torch and in int8 by ONNX Runtime and OpenVINO; with
``--times``, on a quiet machine, in float32 by both engines too. A run that is stopped goes on when the same command is
given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark import run
from benchmark.conditions import Conditions
from zoo.official import official_files_in

ENGINES = ("onnxruntime", "openvino")
SHIPPED = {"zrr": "plainunet_8,bilinear_colour,hyperunet_8_8_64,unet_w8", "sidd": "vdn_w8,hypervdn_8"}
COMPACT = {"lan_efficient": "ZRR, paired", "mobileie": "ZRR"}


def main() -> None:
    """Run what the arguments allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--awgn", type=Path)
    parser.add_argument("--calibrate")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("-o", "--out", default="runs/int8")
    given = parser.parse_args()
    found = official_files_in(given.weights) if given.weights else []
    common: dict[str, Any] = {"out": given.out, "timings": "here" if given.times else "none"}
    for dataset, models in SHIPPED.items():
        measure(dataset, given.times, None, models=models, **common)
    compact = {
        f"{file.model}@official": str(path)
        for file, path in found
        if file.model in COMPACT and file.what == COMPACT[file.model]
    }
    if compact:
        models = [name.partition("@")[0] for name in compact]
        measure("zrr", given.times, None, models=models, weights=compact, **common)
    if given.awgn and given.calibrate:
        for file, path in found:
            if file.model == "dncnn_17" and "sigma 25" in file.what and file.repository == "cszn/KAIR":
                own = {"data_root": given.awgn / "Set12", "name": "set12", "weights": {"dncnn_17@KAIR": str(path)}}
                calibrate = f"{given.calibrate},min-max,16"
                measure("awgn", given.times, calibrate, sigma=25.0, models="dncnn_17", **own, **common)


def measure(dataset: str, times: bool, calibrate: str | None, *, sigma: float | None = None, **how: Any) -> None:
    """Run models in float32 by torch, and in int8 by each engine."""
    floats = [Conditions(backend=backend, sigma=sigma) for backend in ("torch", *(ENGINES if times else ()))]
    int8 = [Conditions(backend=backend, sigma=sigma, precision="int8", calibrate=calibrate) for backend in ENGINES]
    for conditions in (*floats, *int8):
        run(dataset, conditions=conditions, **how)


if __name__ == "__main__":
    main()
