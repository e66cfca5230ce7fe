"""The shipped recipes load and build; a wrong one names file, key and the nearest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.costs.profiling import meta_model
from benchmark.datasets import DATASETS
from benchmark.training.optimizing import Clipper
from benchmark.training.recipe import Recipe, Term, find_recipe, load_recipe, recipe_files
from zoo.card import get_card
from zoo.errors import UserError

ROOT = Path(__file__).parent.parent
FILES = recipe_files()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_recipe_loads_and_builds(file: Path) -> None:
    recipe = load_recipe(file)
    card = get_card(recipe.model)
    dataset = DATASETS.get(recipe.dataset)
    assert card.task == dataset.task
    assert (recipe.split in dataset.splits, recipe.validation.split in dataset.splits) == (True, True)
    Clipper(meta_model(card, recipe.options), recipe.clip)
    spec = card.input_for(recipe.options)
    assert recipe.crop is not None
    assert recipe.crop % spec.multiple == 0
    if any(term.name == "msssim" for term in recipe.loss):
        assert recipe.crop * spec.output_scale >= 176


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_recipe_opens_with_command_hardware_time_and_result(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# zoo-bench train configs/recipes/{file.name}")
    header = "\n".join(line for line in lines[:8] if line.startswith("#"))
    assert all(word in header for word in ("Hardware:", "Time:", "Result:"))


def test_the_recipes_of_the_paper_say_what_is_assumed() -> None:
    for name in ("paper_large", "paper_double_descent"):
        text = find_recipe(name).read_text(encoding="utf-8")
        assumed = [line.split(":")[0].strip(" -{") for line in text.splitlines() if "assumed" in line.partition("#")[2]]
        assert {"lr", "schedule", "clip", "augment", "precision", "seed", "ema"} <= set(assumed)
    large = load_recipe("paper_large")
    vgg = next(term for term in large.loss if term.name == "vgg")
    assert [epoch for epoch in range(30) if vgg.active(epoch, 1)] == list(range(20, 30))
    assert not vgg.active(25, 2)
    assert [(o.name, o.from_epoch) for o in large.optimizers] == [("adam", 0), ("sgd", 25)]


def test_list_recipes_names_them_all(zoo_bench) -> None:
    rows = json.loads(zoo_bench("list", "recipes", "--json").out)
    names = {row["name"] for row in rows}
    assert {"paper_large", "paper_double_descent", "vdn", "hypervdn", "pynet_level_0", "standin_hypervdn_8"} <= names
    assert all(row["summary"] and row["model"] for row in rows)


def test_recipes_are_found_by_name_and_by_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("vdn") == find_recipe("configs/recipes/vdn.yaml")
    with pytest.raises(UserError, match="did you mean vdn"):
        find_recipe("vdnn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 4", "unknown key 'batchsize'; did you mean batch_size"),
        ("schedule: {milestone: [3]}", "unknown key 'schedule.milestone'; did you mean milestones"),
        ("loss: [{name: mse, wieght: 2}]", "unknown key 'loss.wieght'; did you mean weight"),
        ("loss: [{name: l1}]", "loss.0.name: Input should be 'mse', 'msssim'"),
        ("lr: fast", "lr: Input should be a valid number"),
        ("lr: -1", "lr: Input should be greater than 0"),
        ("max_steps: 1.5", "max_steps: Input should be a valid integer"),
        ("max_steps: null", "epochs or max_steps is needed"),
        ("optimizers: [{name: adam, from_epoch: 3}]", "the first begins at epoch 0"),
        ("loss: [{name: mse, from_epoch: 3}]", "at least one term must count at every step"),
    ],
)
def test_a_wrong_recipe_names_file_key_and_nearest(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    base = {"model": "unet_w8", "dataset": "zrr", "max_steps": "1", "batch_size": "1", "lr": "1e-3"}
    base.pop(text.partition(":")[0], None)
    file.write_text("\n".join([*(f"{key}: {value}" for key, value in base.items()), text]))
    with pytest.raises(UserError) as error:
        load_recipe(file)
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_overrides_reach_into_the_recipe_and_are_named(tmp_path) -> None:
    recipe = load_recipe("standin_vdn_w8", {"schedule.floor": "1e-5", "options.width": 4})
    assert (recipe.schedule.floor, recipe.schedule.cosine, recipe.options) == (1e-5, True, {"width": 4})
    with pytest.raises(UserError, match=r"--set schedule.flor=1: unknown key 'flor'; did you mean floor"):
        load_recipe("standin_vdn_w8", {"schedule.flor": 1})
    with pytest.raises(UserError, match=r"--set lr=fast: Input should be a valid number"):
        load_recipe("standin_vdn_w8", {"lr": "fast"})


def test_a_term_counts_on_every_nth_step_of_its_epochs() -> None:
    term = Term(name="vgg", from_epoch=2, until_epoch=4, every=2)
    assert [epoch for epoch in range(6) if term.active(epoch, 1)] == [2, 3]
    assert [step for step in range(6) if term.active(2, step)] == [1, 3, 5]


def test_every_key_is_documented_where_a_user_looks() -> None:
    assert Recipe.__doc__ is not None
    assert all(name in Recipe.__doc__ for name in ("crop", "init", "perceptual"))


def test_the_keys_of_a_mapping_are_names_and_its_values_are_checked() -> None:
    from benchmark.config import Strict, settings_of

    class Column(Strict):
        unit: str

    class Table(Strict):
        columns: dict[str, Column]

    assert settings_of({"columns": {"params": {"unit": "M"}}}, Table, "t.yaml").columns["params"].unit == "M"
    with pytest.raises(UserError, match=r"t\.yaml: unknown key 'columns\.unti'; did you mean unit"):
        settings_of({"columns": {"params": {"unti": "M"}}}, Table, "t.yaml")
