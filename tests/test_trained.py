"""The weights that ship: small, traceable, and better than the floor that they are shown beside."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

import zoo.trained
from benchmark import evaluate, selection
from benchmark.datasets import DATASETS
from benchmark.opening import dataset_card, open_dataset
from benchmark.results.store import read_results
from benchmark.selection import entry_of, with_shipped_weights
from benchmark.sweeping.points import expand
from benchmark.sweeping.searching import rule_text
from benchmark.sweeping.settings import load_sweep
from benchmark.training.recipe import recipe_digest
from zoo import create_model
from zoo.card import get_card
from zoo.weights import read_checkpoint, save_state

ROOT = Path(__file__).parent.parent
FILES = sorted(Path(zoo.trained.__file__).parent.glob("*.safetensors"))
FLOORS = {"zrr": "bilinear", "sidd": "identity"}
SWEEPS = {"zrr": "standin_raw2rgb", "sidd": "standin_denoise"}


def dataset_of(file: Path) -> str:
    task = get_card(file.stem).task
    return next(card.name for card in DATASETS if card.name in FLOORS and card.task == task)


def mean_ssim(model: str, dataset: str, *, limit: int, weights: Path | None = None) -> float:
    """PSNR would not do: the colours of two photographs decide it, and some networks miss those of one."""
    images = evaluate(model, dataset, limit=limit, weights=weights, metrics=["ssim[gaussian11,rgb]"])
    return math.fsum(image["scores"]["ssim[gaussian11,rgb]"] for image in images) / len(images)


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
def test_they_are_what_the_sweep_of_their_dataset_makes(file: Path) -> None:
    metadata = read_checkpoint(file).metadata
    assert {"model", "options", "evidence", "recipe", "seed", "data_digest", "scores", "step"} <= set(metadata)
    assert (metadata["model"], metadata["evidence"], metadata["recipe"]) == (
        file.stem,
        "trained",
        SWEEPS[dataset_of(file)],
    )
    plan = load_sweep(metadata["recipe"])
    search = plan.sweep.search
    assert search is not None
    (point,) = (point for point in expand(plan) if point.card.name == file.stem)
    recipe = point.recipe.model_copy(update={"lr_rule": rule_text(search, str(point.recipe.validation.split))})
    assert json.loads(metadata["options"]) == point.options
    assert (metadata["seed"], metadata["step"]) == (str(recipe.seed), str(recipe.max_steps))
    # One digest for all networks of a sweep: only the learning rate differs, which the rule chose.
    assert (metadata["recipe_digest"], metadata["lr_rule"]) == (recipe_digest(recipe), recipe.lr_rule)
    assert float(metadata["lr"]) in search.lr
    assert json.loads(metadata["scores"])["dataset"].endswith("-standin")


def test_each_network_of_the_sweeps_ships() -> None:
    names = {family.model for sweep in SWEEPS.values() for family in load_sweep(sweep).sweep.families}
    assert names == {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_they_beat_their_floor(file: Path) -> None:
    dataset = dataset_of(file)
    limit = 12 if dataset == "zrr" else 16
    floor = mean_ssim(FLOORS[dataset], dataset, limit=limit)
    assert mean_ssim(file.stem, dataset, limit=limit, weights=file) > floor + 0.02


def test_they_are_used_for_their_options_only(tmp_path, monkeypatch) -> None:
    name = FILES[0].stem
    entry = with_shipped_weights(entry_of(name, None, {}))
    assert (entry.evidence, entry.evaluate) == ("trained", True)
    assert entry.checkpoint is not None
    assert with_shipped_weights(entry_of("pynet", None, {})).evidence == "untrained"
    assert with_shipped_weights(entry_of("unet_w8", None, {"width": 4})).evidence == "untrained"
    narrow = {"model": "dped", "options": '{"width": 6}', "evidence": "trained"}
    save_state(tmp_path / "dped.safetensors", create_model("dped", width=6).state_dict(), narrow)
    monkeypatch.setattr(selection, "shipped_weights", lambda name: tmp_path / f"{name}.safetensors")
    assert with_shipped_weights(entry_of("dped", None, {"width": 6})).evidence == "trained"
    assert with_shipped_weights(entry_of("dped", None, {})).evidence == "untrained"
