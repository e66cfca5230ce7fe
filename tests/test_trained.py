"""The weights that ship: small, traceable, and better than the floor that they are shown beside."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

import zoo.trained
from benchmark import evaluate
from benchmark.datasets import DATASETS
from benchmark.opening import dataset_card, open_dataset
from benchmark.results.store import read_results
from benchmark.selection import entry_of, with_shipped_weights
from benchmark.training.recipe import load_recipe
from zoo.card import get_card
from zoo.weights import read_checkpoint

ROOT = Path(__file__).parent.parent
FILES = sorted(Path(zoo.trained.__file__).parent.glob("*.safetensors"))
FLOORS = {"zrr": "bilinear", "sidd": "identity"}


def dataset_of(file: Path) -> str:
    task = get_card(file.stem).task
    return next(card.name for card in DATASETS if card.name in FLOORS and card.task == task)


def mean_psnr(model: str, dataset: str, *, limit: int, weights: Path | None = None) -> float:
    images = evaluate(model, dataset, limit=limit, weights=weights, metrics=["psnr[rgb]"])
    return math.fsum(image["scores"]["psnr[rgb]"] for image in images) / len(images)


def test_the_test_images_of_the_standins_never_change() -> None:
    """Committed records were measured on them. Pixels are compared: compressed bytes depend on Pillow's zlib."""
    digest = hashlib.sha256()
    for sample in open_dataset(dataset_card("zrr")):
        digest.update(sample.input.numpy().tobytes() + sample.target.numpy().tobytes())
    assert digest.hexdigest() == "9da79c4271fc5ddda872d7fa36ded3031d89dabf89d600991dda8fccd7d19a9e"
    # This digest is of pixels, and stands in the records.
    blocks = open_dataset(dataset_card("sidd")).digest()
    assert blocks == "247a313a9d98d8a545ca6dad33bc293535bd8da028feaafe662921112eb46f61"
    records = read_results(ROOT / "leaderboards" / "results" / "sidd-standin.jsonl")
    assert blocks in {record.spec.dataset_digest for record in records}


def test_they_are_small() -> None:
    assert FILES
    assert max(file.stat().st_size for file in FILES) < 3_000_000
    assert sum(file.stat().st_size for file in FILES) < 15_000_000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_they_say_where_they_come_from(file: Path) -> None:
    metadata = read_checkpoint(file).metadata
    assert {"model", "options", "evidence", "recipe", "seed", "data_digest", "scores", "step"} <= set(metadata)
    assert (metadata["model"], metadata["evidence"]) == (file.stem, "trained")
    recipe = load_recipe(metadata["recipe"])
    assert (recipe.model, str(recipe.seed), str(recipe.max_steps)) == (file.stem, metadata["seed"], metadata["step"])
    assert json.loads(metadata["scores"])["dataset"].endswith("-standin")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_they_beat_their_floor(file: Path) -> None:
    dataset = dataset_of(file)
    limit = 3 if dataset == "zrr" else 16
    floor = mean_psnr(FLOORS[dataset], dataset, limit=limit)
    assert mean_psnr(file.stem, dataset, limit=limit, weights=file) > floor + 0.5


def test_they_are_used_for_default_options_only() -> None:
    name = FILES[0].stem
    entry = with_shipped_weights(entry_of(name, None, {}))
    assert (entry.evidence, entry.evaluate) == ("trained", True)
    assert entry.checkpoint is not None
    assert with_shipped_weights(entry_of("pynet", None, {})).evidence == "untrained"
    assert with_shipped_weights(entry_of("unet_w8", None, {"width": 4})).evidence == "untrained"
