"""The shipped recipes load and build; a wrong one names file, key and the nearest."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.config import shipped_files
from benchmark.costs.profiling import meta_model
from benchmark.datasets import DATASETS
from benchmark.results.store import read_folders
from benchmark.sweeping.searching import rule_text
from benchmark.sweeping.settings import load_sweep
from benchmark.training.optimizing import Clipper
from benchmark.training.recipe import Recipe, Term, find_recipe, load_recipe, recipe_digest, recipe_files
from benchmark.types import Result
from tests.documents import reference
from tests.sample_records import make_record, measurement
from zoo.card import get_card
from zoo.errors import UserError
from zoo.trained import shipped_weights

ROOT = Path(__file__).parent.parent
FILES = recipe_files()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_recipe_loads_and_builds(file: Path) -> None:
    recipe = load_recipe(file)
    card = get_card(recipe.model)
    dataset = DATASETS.get(recipe.dataset)
    if dataset.adds_noise:  # to any folder of pictures, which decides the task
        assert card.task in ("denoise_gray", "denoise_rgb")
        assert recipe.noise_range() is not None
    else:
        assert card.task == dataset.task
        assert (recipe.split in dataset.splits, recipe.validation.split in dataset.splits) == (True, True)
    Clipper(meta_model(card, recipe.options), recipe.clip)
    spec = card.input_for(recipe.options)
    # Whole windows of a mosaic are twice as large as the planes that a network receives.
    planes = recipe.crop or (recipe.window or 0) // 2
    assert planes > 0
    assert planes % spec.multiple == 0
    if any(term.name == "msssim" for term in recipe.loss):
        assert planes * spec.output_scale >= 176


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_recipe_opens_with_command_hardware_time_and_result(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# zoo-bench train configs/recipes/{file.name}")
    header = "\n".join(line for line in lines[:8] if line.startswith("#"))
    assert all(word in header for word in ("Hardware:", "Time:", "Result:"))


def swept(name: str, recipe: Recipe) -> list[str]:
    """Return the digest of the recipe with the rule of the sweep of its name, if there is such a sweep with a rule."""
    search = load_sweep(name).sweep.search if name in shipped_files("sweep") else None
    if search is None:
        return []
    rule = rule_text(search, str(recipe.validation.split))
    return [recipe_digest(recipe.model_copy(update={"lr_rule": rule}))]


def contradictions(comment: str, name: str, recipe: Recipe, records: Sequence[Result]) -> list[str]:
    """Return in words where the opening comment of a recipe says another result than ``records``.

    A result names the images ("12 test images"), metrics with their scores ("psnr[rgb] 21.57 dB") and, if it likes,
    other models by the first metric ("bilinear: 18.99"). Of several seeds the mean counts, of one seed the newest.
    Records of the recipe's own model and options count, also those of the sweep that has the recipe's name.
    """
    result = " ".join(line.lstrip("# ") for line in comment.splitlines()).partition("Result:")[2].strip()
    # Later records say by which version of the recipe their weights were trained.
    versions = (None, recipe_digest(recipe), *swept(name, recipe))
    records = [r for r in records if r.status == "ok" and r.spec.conditions.precision == "fp32"]
    own = [r for r in records if r.model == recipe.model and r.weights and r.weights.get("recipe") == name]
    own = [r for r in own if r.weights and r.weights.get("recipe_digest") in versions]
    # A sweep may vary an option of the network; the recipe names one value of it.
    asked = get_card(recipe.model).all_options(recipe.options)
    own = [r for r in own if all(asked.get(name, value) == value for name, value in r.options.items())]
    if result.startswith("not measured yet"):
        return [f"{len(own)} records of a recipe that is not measured yet"] if own else []
    images = re.search(r"(\d+) (\w+) (?:images|blocks)", result)
    stated = re.findall(r"(\w+\[[\w,]+\]) (\d+\.\d+)", result)
    if images is None or not stated:
        return ["expected for example 'psnr[rgb] 21.57 dB on 12 test images', or 'not measured yet'"]
    own, records = ([r for r in some if (r.n, r.split) == (int(images[1]), images[2])] for some in (own, records))
    if not own:
        return [f"no record of {images[0]}"]
    found = [_other_score(metric, text, own, metric) for metric, text in stated]
    for model, text in re.findall(r"\b([a-z]\w*): (\d+\.\d+)", result):
        found.append(_other_score(model, text, [r for r in records if r.model == model], stated[0][0]))
    unbacked = set(re.findall(r"(\d+\.\d+) dB", result)) - {text for _, text in stated}
    found += [f"{text} dB has no record" for text in unbacked]
    if "ship in zoo/trained" in result:
        file = shipped_weights(recipe.model)
        shipped = hashlib.sha256(file.read_bytes()).hexdigest() if file else None
        found += ["the record is not of the weights that ship"] * all(r.weights["sha256"] != shipped for r in own)
    return [one for one in found if one]


def _other_score(what: str, text: str, records: Sequence[Result], metric: str) -> str:
    """Return in words that ``text`` is not the score of ``records``, or nothing if it is."""
    newest = {(r.weights or {}).get("seed"): r for r in sorted(records, key=lambda r: r.created)}
    values = [float(r.measurements[metric].value) for r in newest.values() if metric in r.measurements]
    mean = math.fsum(values) / len(values) if values else math.nan
    return (
        "" if f"{mean:.{len(text.partition('.')[2])}f}" == text else f"{what} is {mean:.4f} in the records, not {text}"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_result_of_a_recipe_is_what_the_records_say(file: Path) -> None:
    comment = re.match(r"(?:#.*\n)+", file.read_text(encoding="utf-8"))
    records = read_folders([ROOT / "leaderboards" / "results"])
    assert comment is not None
    assert contradictions(comment[0], file.stem, load_recipe(file), records) == []


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("psnr[rgb] 21.25 dB on the stand-in's 12 test images (bilinear: 18.99).", ""),
        (
            "psnr[rgb] 21.26 dB on the stand-in's 12 test images (bilinear: 18.99).",
            "psnr[rgb] is 21.2500 in the records, not 21.26",
        ),
        ("psnr[rgb] 21.25 dB on the stand-in's 12 test images (bilinear: 18.98).", "bilinear is 18.9870"),
        ("psnr[rgb] 21.25 dB on the stand-in's 12 test images (identity: 18.99).", "identity is nan"),
        ("psnr[rgb] 21.25 dB on the stand-in's 13 test images.", "no record of 13 test"),
        ("psnr[rgb] 21.25 dB on\n# 12 test images. With fewer steps 18.04 dB.", "18.04 dB has no record"),
        ("psnr[rgb] 21.25 dB on 12 test images; these weights ship in zoo/trained.", "not of the weights that ship"),
        ("it looks good on 12 test images.", "expected for example"),
        ("psnr[rgb] 21.25 dB.", "expected for example"),
        ("not measured yet.", "4 records"),
    ],
)
def test_a_result_that_contradicts_the_records_is_found(result: str, found: str) -> None:
    recipe = load_recipe("standin_raw2rgb", {"model": "unet_w8"})
    digest = recipe_digest(recipe)

    def trained(psnr: float, seed: str, created: str, digest: str) -> Result:
        weights = {"name": "w", "sha256": "0" * 64, "recipe": "mine", "seed": seed, "recipe_digest": digest}
        scores = {"psnr[rgb]": measurement(psnr)}
        return make_record("unet_w8", measurements=scores, n=12, weights=weights, created=created, evidence="trained")

    # Two seeds, an older record of one of them, one of another recipe of that name, and one of other images.
    records = [
        trained(21.0, "0", "2026-01-02", digest),
        trained(21.5, "1", "2026-01-02", digest),
        trained(20.0, "0", "2026-01-01", digest),
        trained(25.0, "2", "2026-01-03", "another"),
        trained(30.0, "0", "2026-01-04", digest).model_copy(update={"n": 100}),
        make_record("bilinear", measurements={"psnr[rgb]": measurement(18.987)}, n=12, evidence="parameter-free"),
    ]
    answers = contradictions(f"# Result: {result}\n", "mine", recipe, records)
    assert len(answers) == bool(found)
    assert found in "".join(answers)


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
    assert {"paper_large", "paper_double_descent", "vdn", "hypervdn", "pynet_level_0", "standin_denoise"} <= names
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
        ("loss: [{name: charbonier}]", "loss.0: no loss called 'charbonier'; did you mean charbonnier"),
        ("loss: [{name: xyz}]", "loss.0: no loss called 'xyz'; known: charbonnier, cosine, "),
        ("loss: [{name: l1, eps: 1e-3}]", "unknown key 'loss.eps'"),
        ("loss: [{name: edge, eps: 1e-2}]", "eps is an option of edge; expected it as options: {eps: ...}"),
        ("loss: [{name: edge, options: {esp: 1}}]", "loss edge has no option 'esp'; did you mean eps"),
        (
            "loss: [{name: fft, options: {norm: l2}}]",
            "option norm='l2' does not fit; expected norm: backward or ortho or",
        ),
        ("loss: [{name: edge, options: 3}]", "loss.0.options: Input should be a valid dictionary"),
        ("loss: [{name: vgg, options: {eps: 1}}]", "loss vgg has no option 'eps'"),
        ("lr: fast", "lr: Input should be a valid number"),
        ("lr: -1", "lr: Input should be greater than 0"),
        ("max_steps: 1.5", "max_steps: Input should be a valid integer"),
        ("max_steps: null", "epochs or max_steps is needed"),
        ("optimizers: [{name: adam, from_epoch: 3}]", "the first begins at epoch 0"),
        ("loss: [{name: mse, from_epoch: 3}]", "at least one term must count at every step"),
        ("loss: [{name: warm_up, until_epoch: 3}]", "at least one term must count at every step"),
        ("loss: [{name: mse, until_epoch: 3}, {name: psnr, from_epoch: 4}]", "at least one term must count at every"),
        ("loss: [{name: mse, until_epoch: 3}, {name: psnr, from_epoch: 3, every: 2}]", "at least one term must count"),
        ("schedule: {restart_after: 3}", "restart_after needs cosine: true"),
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
    recipe = load_recipe("standin_denoise", {"schedule.floor": "1e-5", "options.width": 4})
    assert (recipe.schedule.floor, recipe.schedule.cosine, recipe.options) == (1e-5, True, {"width": 4})
    with pytest.raises(UserError, match=r"--set schedule.flor=1: unknown key 'flor'; did you mean floor"):
        load_recipe("standin_denoise", {"schedule.flor": 1})
    with pytest.raises(UserError, match=r"--set lr=fast: Input should be a valid number"):
        load_recipe("standin_denoise", {"lr": "fast"})


def test_terms_may_follow_each_other() -> None:
    terms = [{"name": "warm_up", "until_epoch": 10}, {"name": "mse", "from_epoch": 10}]
    recipe = Recipe(model="mobileie", dataset="zrr", max_steps=1, batch_size=2, lr=1e-3, loss=terms)
    assert [term.name for epoch in (0, 9, 10) for term in recipe.loss if term.active(epoch, 0)] == [
        "warm_up",
        "warm_up",
        "mse",
    ]


def test_a_term_counts_on_every_nth_step_of_its_epochs() -> None:
    term = Term(name="vgg", from_epoch=2, until_epoch=4, every=2)
    assert [epoch for epoch in range(6) if term.active(epoch, 1)] == [2, 3]
    assert [step for step in range(6) if term.active(2, step)] == [1, 3, 5]


def test_every_key_is_documented_where_a_user_looks() -> None:
    page = reference().settings()
    recipe = page[page.index("## Recipe") : page.index("## Sweep")]
    for name in Recipe.model_fields:
        assert re.search(rf"^\| `{name}` \| .* \| [^|]*\w[^|]*\|$", recipe, re.M), name


def test_the_keys_of_a_mapping_are_names_and_its_values_are_checked() -> None:
    from benchmark.config import Strict, settings_of

    class Column(Strict):
        unit: str

    class Table(Strict):
        columns: dict[str, Column]

    assert settings_of({"columns": {"params": {"unit": "M"}}}, Table, "t.yaml").columns["params"].unit == "M"
    with pytest.raises(UserError, match=r"t\.yaml: unknown key 'columns\.unti'; did you mean unit"):
        settings_of({"columns": {"params": {"unti": "M"}}}, Table, "t.yaml")
