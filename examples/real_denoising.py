"""Do small VDN and HyperVDN learn to denoise real photographs? Train on half of the scenes, test on the other half.

    python examples/real_denoising.py SIDD_SMALL_OR_POLYU [--steps 5000] [--out runs/real]

The folder holds scene folders of SIDD-Small sRGB (``0001_001_S6_.../NOISY_SRGB_010.PNG``, ``GT_SRGB_010.PNG``) or the
pairs of PolyU (``*_real.JPG``, ``*_mean.JPG``). No scene is in both halves: shots of one scene are nearly the same
picture. Both networks take the recipe of the stand-in with the same steps; ``identity`` is the floor. Results on a
part of a dataset compare with nothing but each other.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmark import run, train
from benchmark.reporting import Reporter
from benchmark.types import Result

MODELS = ("vdn_w8", "hypervdn_8")
SIDD_FOLDER = re.compile(r"\d{4}_(\d{3})_.*")
POLYU_FILE = re.compile(r"(.*?)_*\d*_(real|mean)\.\w+")
POLYU_RULE, POLYU_SCENE = "*_real.* -> *_mean.*", r"^(.*?)_*\d*_real"


def scenes_of(folder: Path) -> tuple[str, dict[str, list[Path]]]:
    """Return the dataset's name and its entries (scene folders or files) by scene; exits where there are none."""
    scenes: dict[str, list[Path]] = defaultdict(list)
    for name, pattern in (("sidd", SIDD_FOLDER), ("pairs", POLYU_FILE)):
        for place in (folder, folder / "Data"):
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                match = pattern.fullmatch(path.name)
                if match:
                    scenes[match[1]].append(path)
        if len(scenes) > 1:
            return name, dict(scenes)
    raise SystemExit(f"{folder}: expected scene folders of SIDD-Small or PolyU's *_real and *_mean pictures.")


def halves(scenes: dict[str, list[Path]]) -> tuple[list[Path], list[Path]]:
    """Return the entries of two halves: each scene, in order, goes to the half that has less."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    for scene in sorted(scenes):
        min(parts, key=len).extend(scenes[scene])
    return parts


def link(entries: Sequence[Path], folder: Path) -> Path:
    """Make a folder that has the entries, and nothing else, as links."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for entry in entries:
        (folder / entry.name).symlink_to(entry.resolve())
    return folder


def experiment(data: Path, out: Path, steps: int, reporter: Reporter) -> list[Result]:
    """Train both networks and return the records of them and of the floor on the other half."""
    name, scenes = scenes_of(data)
    first, second = halves(scenes)
    to_train, to_test = link(first, out / "data" / "train"), link(second, out / "data" / "test")
    rule = {"pairs": POLYU_RULE, "task": "denoise_rgb"} if name == "pairs" else {}
    split = "test" if name == "pairs" else "train"
    num_tested = sum(entries[0] in second for entries in scenes.values())
    scene = POLYU_SCENE if name == "pairs" and num_tested > 1 else None
    weights = {}
    for model in MODELS:
        overrides = {
            **rule,
            "model": model,
            "dataset": name,
            "data_root": str(to_train),
            # Half of the scenes are a part of the dataset: the weights and the records say so.
            "partial": name == "sidd",
            "split": split,
            "max_steps": steps,
            "checkpoint_every": max(1, steps // 2),
            # The test half is looked at once, at the end; during training only what is trained on.
            "validation.split": split,
            "validation.every": max(1, steps // 3),
            "validation.limit": 4,
        }
        done = train("standin_denoise", out / model, overrides=overrides, resume=True, reporter=reporter)
        weights[model] = str(done["weights"])
    return run(
        name,
        data_root=to_test,
        split=split,
        partial=name == "sidd",
        models=["identity", *MODELS],
        weights=weights,
        sizes=["none"],
        out=out / "results",
        scene=scene,
        reporter=reporter,
        **rule,
    )


def main() -> None:
    """Run the experiment and print one line per network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of SIDD-Small sRGB or PolyU")
    parser.add_argument("--steps", type=int, default=5000, help="training steps of each network")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    given = parser.parse_args()
    for result in experiment(given.data, given.out, given.steps, Reporter()):
        scores = {id: m for id, m in result.measurements.items() if m.kind == "score"}
        texts = [f"{id} {m.value:.4f} {m.unit}".strip() for id, m in scores.items() if m.value is not None]
        print(f"{result.model:12} {result.status:6} {result.n} images of the other half: {', '.join(texts)}")


if __name__ == "__main__":
    main()
