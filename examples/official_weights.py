"""Measure official weights: the figures of leaderboards/official.yaml, and the compact ISP networks on sample pairs.

    python examples/official_weights.py WEIGHTS AWGN [--ultraisp DIR] [--rhid DIR] [--sidd DIR]
        [--polyu DIR] -o runs/official
    zoo-bench results keep runs/official -o leaderboards/results/official.jsonl

WEIGHTS holds the published files, in any folders and under any names: they are known by their digests. AWGN holds the
folders Set12 and CBSD68, as cszn/FFDNet has them. ``--ultraisp`` and ``--rhid`` are folders of RAW mosaics raw_*.png or
raw_*.raw with pictures rgb_*.png. ``--sidd`` (scene folders, as SIDD has them) and ``--polyu`` (*_real.JPG and
*_mean.JPG) are real noise: there the denoisers of colour pictures, whose noise FFDNet estimates, stand beside the small
networks that ship and the noisy picture itself. Nothing is timed. A run that is stopped goes on when the same command
is given again.
Time for all of it: 1.7 hours with one thread of a server's processor.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark import run
from benchmark.conditions import Conditions
from benchmark.config import read_settings
from benchmark.leaderboard.official import OfficialFigures
from zoo import get_card
from zoo.official import OfficialFile, official_files_in

FIGURES = Path(__file__).parent.parent / "leaderboards" / "official.yaml"
SHIPPED = ("vdn_w8", "hypervdn_8")
FROM_ULTRAISP = "pictures of UltraISP, perhaps among those that the networks trained on it have seen"
# Folder and conversion to gray of the sets by their names in official.yaml.
SETS = {"set12": ("Set12", None), "bsd68": ("CBSD68", "matlab"), "cbsd68": ("CBSD68", None)}


def label_of(file: OfficialFile) -> str:
    """Return a label for a row, of at most 40 signs: what the weights are, and for denoisers also the repository."""
    repository = file.repository.rpartition("/")[2] if get_card(str(file.model)).task != "raw2rgb" else ""
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{repository} {file.what.partition(' and ')[0]}").strip("-")


def awgn_runs(found: list[tuple[OfficialFile, Path]]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield dataset, split and weights of each run for the figures of ``official.yaml``."""
    by_name = {(file.repository, file.path): (file, path) for file, path in found}
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for part in read_settings(FIGURES, OfficialFigures).files:
        if (part.repository, part.path) in by_name:
            file, path = by_name[part.repository, part.path]
            for figure in part.figures:
                wanted.setdefault((figure.dataset, figure.split), {})[f"{file.model}@{label_of(file)}"] = str(path)
    for (dataset, split), weights in wanted.items():
        yield dataset, split, weights


def main() -> None:
    """Run what the arguments allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("awgn", type=Path)
    parser.add_argument("--ultraisp", type=Path)
    parser.add_argument("--rhid", type=Path)
    parser.add_argument("--sidd", type=Path)
    parser.add_argument("--polyu", type=Path)
    parser.add_argument("-o", "--out", default="runs/official")
    given = parser.parse_args()
    found = [(file, path) for file, path in official_files_in(given.weights) if "no result" not in file.what]
    common: dict[str, Any] = {"out": given.out, "sizes": ["none"]}
    for dataset, split, weights in awgn_runs(found):
        name = dataset.partition("(")[2].rstrip(")")
        folder, gray = SETS[name]
        if not (given.awgn / folder).is_dir():
            print(f"{dataset}, {split}: left out, there is no {given.awgn / folder}")
            continue
        noise = split.split("-")
        conditions = Conditions(sigma=float(noise[0].removeprefix("sigma")))
        how: dict[str, Any] = {"gray": gray, "clip": "clip" in noise, "name": name, "conditions": conditions}
        run("awgn", data_root=given.awgn / folder, weights=weights, models=_models(weights), **how, **common)
    raw = [(file, path) for file, path in found if get_card(str(file.model)).task == "raw2rgb"]
    weights = {f"{file.model}@{label_of(file)}": str(path) for file, path in raw}
    samples: dict[str, tuple[Path | None, dict[str, Any]]] = {
        "ultraisp-sample": (given.ultraisp, {"black": 256, "white": 4092, "remark": FROM_ULTRAISP}),
        "rhid-sample": (given.rhid, {"black": 0, "white": 4095, "raw_size": "512x512"}),
    }
    for name, (folder, levels) in samples.items():
        if folder is not None:
            rule: dict[str, Any] = {"pairs": "raw_* -> rgb_*", "cfa": "RGGB", "name": name, **levels}
            models = ["bilinear", *_models(weights)]
            run("raw-pairs", data_root=folder, weights=weights, models=models, **rule, **common)
    run_real_noise(found, given.sidd, given.polyu, common)


def run_real_noise(
    found: list[tuple[OfficialFile, Path]], sidd: Path | None, polyu: Path | None, common: dict[str, Any]
) -> None:
    """Run the denoisers of colour pictures on real noise; a part of SIDD is named as the part that it is."""
    weights = {f"{name}@shipped": "shipped" for name in SHIPPED}
    for file, path in found:
        if get_card(str(file.model)).task == "denoise_rgb" and file.model not in SHIPPED:
            weights[f"{file.model}@{label_of(file)}"] = str(path)
    how: dict[str, Any] = {
        "weights": weights,
        "models": ["identity", *_models(weights)],
        "conditions": Conditions(sigma="estimate"),
    }
    if sidd is not None:
        run("sidd", data_root=sidd, split="train", partial=True, **how, **common)
    if polyu is not None:
        rule = {"pairs": "*_real.* -> *_mean.*", "scene": r"^(.*?)_*\d*_real", "name": "polyu"}
        run("pairs", data_root=polyu, **rule, **how, **common)


def _models(weights: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(name.partition("@")[0] for name in weights))


if __name__ == "__main__":
    main()
