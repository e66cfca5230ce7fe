"""Train full-size networks on stand-ins from photographs of your own: hyper against plain, HyperVDN against VDN.

    python examples/full_size.py --train-photos DIR --test-photos DIR --out runs/full --device cuda

Makes stand-ins of ZRR and SIDD from both folders (train from one, test from the other), trains each network by its
recipe, scores all of them on the test stand-ins, and runs the double-descent sweep. Every step resumes: after any stop
the same command continues. Made for one GPU with 24 GB, where it has not been run yet; ``--models``, ``--steps`` and
``--no-sweep`` make it smaller. The questions: does the overparametrised network beat its plain twin at equal
FLOPs, and does HyperVDN keep VDN's fidelity? Stand-in scores can only be compared with each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark import run, train
from benchmark.opening import dataset_card
from benchmark.reporting import Reporter
from benchmark.sweeping.session import sweep
from benchmark.types import Result
from zoo.card import get_card

MODELS = "plainunet_64,hyperunet_32_16_2048,unet,vdn,hypervdn_21"
TASKS = {"zrr": "raw2rgb", "sidd": "denoise_rgb"}
FLOORS = {"zrr": "bilinear", "sidd": "identity"}
# The recipes of the small members: loss and schedule are theirs, network and length are ours.
RECIPES = {"zrr": "standin_raw2rgb", "sidd": "standin_denoise"}
SPLITS = {"zrr": "test", "sidd": "validation"}
# A learning rate at which large networks do not diverge.
RATE = 2e-4


class Printing(Reporter):
    """Prints on stdout what happens."""

    def note(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)


def make_standins(dataset: str, given: argparse.Namespace, reporter: Reporter) -> tuple[Path, Path]:
    """Return the roots of the stand-ins from the training and the test photographs, written where needed."""
    write = dataset_card(dataset).write_from_photos
    assert write is not None
    roots = (given.out / f"{dataset}-train", given.out / f"{dataset}-test")
    for root, photos, count in zip(roots, (given.train_photos, given.test_photos), (given.pairs, given.test_pairs)):
        write(root, photos, count, 0, reporter)
    return roots


def compare(dataset: str, models: list[str], given: argparse.Namespace, reporter: Reporter) -> list[Result]:
    """Train the models of one dataset and return their records and the floor's on the other photographs."""
    to_train, to_test = make_standins(dataset, given, reporter)
    weights = {}
    for model in models:
        overrides: dict[str, Any] = {
            "model": model,
            "data_root": str(to_train),
            "max_steps": given.steps,
            "lr": RATE,
            "device": given.device,
            "batch_size": given.batch,
            "crop": given.crop,
            "checkpoint_every": max(1, given.steps // 20),
            "validation.every": max(1, given.steps // 10),
        }
        done = train(RECIPES[dataset], given.out / model, overrides=overrides, resume=True, reporter=reporter)
        weights[model] = str(done["weights"])
    return run(
        dataset,
        data_root=to_test,
        split=SPLITS[dataset],
        models=[FLOORS[dataset], *models],
        weights=weights,
        sizes=["none"],
        out=given.out / "results",
        reporter=reporter,
    )


def main() -> None:
    """Run the experiments and print one line per network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train-photos", type=Path, required=True)
    parser.add_argument("--test-photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/full"))
    parser.add_argument("--models", default=MODELS, help="any registered networks, with commas")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=96, help="side of the planes that a network receives")
    parser.add_argument("--pairs", type=int, default=2000, help="pairs or pictures made of the training photographs")
    parser.add_argument("--test-pairs", type=int, default=600)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-sweep", action="store_true")
    given = parser.parse_args()
    reporter = Printing()
    tasks = {name: get_card(name).task for name in given.models.split(",") if name}
    for dataset, task in TASKS.items():
        models = [name for name in tasks if tasks[name] == task]
        for result in compare(dataset, models, given, reporter) if models else []:
            scores = [f"{id} {m.value:.4f}" for id, m in result.measurements.items() if m.kind == "score" and m.value]
            print(f"{result.dataset:13} {result.model:22} {result.status:6} n={result.n}  {', '.join(scores)}")
    if not given.no_sweep:
        settings = {"recipe.data_root": str(make_standins("zrr", given, reporter)[0]), "recipe.device": given.device}
        print("\n".join(sweep("double_descent", given.out / "sweep", overrides=settings, reporter=reporter)["files"]))


if __name__ == "__main__":
    main()
