"""Lists whose lines fit, cards of everything, and what both say of weights."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
import torch

from benchmark.catalogue import card_document, card_text, catalogue, formula
from benchmark.catalogue.cards import SETTINGS, document_of, names_of, text_of
from benchmark.fitting import width_of
from zoo.card import MODELS
from zoo.official import official_files
from zoo.raw import to_network
from zoo.trained import shipped_models, shipped_weights

KINDS = ("models", "datasets", "metrics", "losses", "profilers", "recipes", "suites", "sweeps", "weights")

PLUGIN = """
import torch.nn as nn
from zoo import register_model


@register_model(task="denoise_rgb", params=7)
def my_denoiser(width: int = 4) -> nn.Module:
    \"\"\"Mine, with ``width`` channels.\"\"\"
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1))
"""


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path / "mine.py"


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_list_has_a_line_each_that_fits(zoo_bench, monkeypatch, what: str, columns: int) -> None:
    rows = catalogue(what)
    assert rows
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = zoo_bench("list", what).out.splitlines()
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    assert all(width_of(line) <= columns for line in lines)
    assert what == "profilers" or any(line.endswith("…") for line in lines)


def test_the_card_of_a_loss_shows_how_a_recipe_names_it(zoo_bench) -> None:
    for given in (["charbonnier"], ["loss", "charbonnier"], ["losses", "charbonnier"]):
        assert "loss: [{name: charbonnier, options: {eps: 1e-08}}]" in " ".join(zoo_bench("show", *given).out.split())
    assert zoo_bench("show", "vgg").out.startswith("vgg: Mean squared error of VGG-19 features")


def test_a_list_can_be_narrowed(zoo_bench) -> None:
    def names(*arguments: str) -> list[str]:
        return [row["name"] for row in json.loads(zoo_bench("list", *arguments, "--json").out)]

    assert names("models", "unet*", "identity") == ["identity", "unet", "unet_w8"]
    assert names("models", "ident*", "--task", "denoise_gray") == ["identity_gray"]
    assert names("metrics", "psnr[rgb]", "*pynet]") == ["msssim[pynet]", "psnr[rgb]"]
    # Other tests of this process may have registered more.
    assert {*names("datasets", "--task", "raw2rgb")} - {"tiny"} == {"raw-pairs", "zrr"}
    assert names("sweeps", "--task", "denoise_rgb") == ["arena_denoise", "standin_denoise"]
    assert set(names("recipes", "--task", "denoise_gray")) == {"dncnn_17", "ffdnet_gray"}
    assert set(names("weights", "--task", "raw2rgb")) > {"unet_w8", "lan_robust"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "unett"), "list models: nothing matches 'unett'; did you mean unet"),
        (("models", "--task", "raw2rbg"), "--task: no task 'raw2rbg'; did you mean raw2rgb?"),
        (("metrics", "--task", "raw2rgb"), "metrics are for every task"),
        (("models", "unet*", "--task", "denoise_rgb"), "nothing matches 'unet*'"),
    ],
)
def test_a_list_of_nothing_says_why(zoo_bench, arguments, message: str) -> None:
    outcome = zoo_bench("list", *arguments)
    assert (outcome.code, outcome.out, message in outcome.err) == (2, "", True)


@pytest.mark.parametrize("kind", ["metric", "dataset", "profiler", *SETTINGS])
def test_everything_has_a_card_that_fits(zoo_bench, monkeypatch, kind: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in names_of(kind):
        document = json.loads(json.dumps(document_of(kind, name)))
        assert document["name"] == name
        lines = text_of(document, 80).splitlines()
        assert all(width_of(line) <= 80 for line in lines)
        assert lines[0].startswith(name)
    outcome = zoo_bench("show", kind, names_of(kind)[0])
    assert (outcome.code, outcome.out.split(":")[0].split("\n")[0]) == (0, names_of(kind)[0])


def test_cards_say_what_decides_a_number(zoo_bench) -> None:
    metric = json.loads(zoo_bench("show", "ssim[gaussian11,rgb]", "--json").out)
    assert "11x11 Gaussian window" in metric["definition"]
    assert {"awgn", "sidd", "zrr"} <= {*metric["protocols_of"]}
    dataset = zoo_bench("show", "zrr").out
    assert "not rounded; target JPEG / 255" in dataset
    assert "test (default)" in dataset
    recipe = json.loads(zoo_bench("show", "recipe", "vdn", "--json").out)
    assert recipe["settings"]["schedule"]["gamma"] == 0.5
    assert recipe["command"].startswith("zoo-bench train ")
    assert "Hardware: one GPU with 16 GB" in recipe["notes"]
    assert "{name: adam, betas: [0.9, 0.999]}" in zoo_bench("show", "recipes", "vdn").out
    # Two commands in its header, and a summary of two lines.
    suite = json.loads(zoo_bench("show", "ci", "--json").out)
    assert " && zoo-bench check --baseline" in suite["command"]
    assert suite["summary"].endswith("timed at the dataset's size only.")
    assert json.loads(zoo_bench("show", "double_descent_toy", "--json").out)["points"] == 12


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("psnr[rbg]",), "nothing called 'psnr[rbg]' to show; did you mean psnr[rgb]"),
        (("standin_raw2rgb",), "it is a recipe and a sweep; write `zoo-bench show recipe standin_raw2rgb`"),
        (("metric", "zrr"), "no metric called 'zrr'"),
        (("suite", "quik"), "no suite called 'quik'; did you mean quick?"),
        (("metrik", "zrr"), "expected a NAME, or one of model, metric"),
        (("a", "b", "c"), "expected a NAME, or one of model, metric"),
        (("x" * 99_999,), "no model called"),
    ],
)
def test_show_of_what_is_not_there_says_what_is(zoo_bench, names, message: str) -> None:
    outcome = zoo_bench("show", *names)
    assert (outcome.code, outcome.out, message in outcome.err) == (2, "", True)


def test_a_model_goes_first_and_the_others_are_named(zoo_bench) -> None:
    outcome = zoo_bench("show", "vdn")
    assert outcome.out.startswith("vdn: VDN denoiser")
    assert "also a recipe: zoo-bench show recipe vdn" in outcome.err


def test_parameters_are_counted_and_nothing_is_published_of_a_users_own_model(zoo_bench, plugin) -> None:
    text = zoo_bench("--plugin", plugin, "show", "my_denoiser").out
    assert "published" not in text
    assert "official" not in text
    assert "origin        a model of your own" in text
    assert "parameters    223 (counted; the card states 7)" in text
    assert "Mine, with `width` channels." in text
    document = json.loads(zoo_bench("--plugin", plugin, "show", "my_denoiser", "--json").out)
    assert (document["params"], document["weights"]) == (223, [])


@pytest.mark.parametrize("name", [card.name for card in MODELS if card.input.is_raw])
def test_the_formula_of_the_input_is_that_of_the_code(name: str) -> None:
    spec = MODELS.get(name).input
    counts = np.random.RandomState(0).randint(0, 1200, (1, 1, 4, 4)).astype(np.float64)
    black, white = spec.levels
    planes = to_network(torch.from_numpy(counts), spec, black=black, white=white).double().numpy()
    text = re.sub(r"\((\d[^()]*,[^()]*)\)", r"np.array([\1]).reshape(-1, 1, 1)", formula(spec)).replace(
        "max", "np.maximum"
    )
    if spec.layout == "bayer_packed":
        counts = np.stack([counts[0, 0, row::2, column::2] for row, column in spec.planes])[None]
        expected = eval(text, {"np": np, "counts": counts, "black": black, "white": white})
    else:
        whole = np.broadcast_to(eval(text, {"np": np, "counts": counts, "black": black, "white": white}), planes.shape)
        expected = np.where(planes == spec.missing, spec.missing, whole)
    np.testing.assert_allclose(planes, expected, atol=1e-6)


def test_known_weights_say_what_they_are_and_how_to_pass_them(zoo_bench) -> None:
    rows = catalogue("weights")
    assert {row["name"] for row in rows if row["kind"] == "shipped"} == {*shipped_models()}
    known = [file for file in official_files() if file.model]
    assert len([row for row in rows if row["kind"] == "official"]) == len(known)
    for row in rows:
        assert len(row["sha256"]) == 64
        assert row["licence"]
        assert row["argument"].startswith(f"{row['name']}=")
    text = card_text("ffdnet_gray", 80)
    assert "14c231e87a44 models/FFDNet_gray.mat of cszn/FFDNet (no licence" in text
    assert "https://github.com/cszn/FFDNet/raw/d174d6a/models/FFDNet_gray.mat\n" in text
    assert card_document("unet_w8")["weights"][0]["argument"] == "unet_w8=shipped"
    digest = hashlib.sha256(shipped_weights("unet_w8").read_bytes()).hexdigest()
    assert f"shipped: {digest[:12]}" in zoo_bench("show", "unet_w8").out
    # Nothing to pass.
    assert "--weights" not in card_text("bilinear")


def test_addresses_of_published_files_keep_their_signs() -> None:
    (file,) = [file for file in official_files() if file.path == "model/specifics/sigma=25.mat"]
    assert file.address == "https://github.com/cszn/DnCNN/raw/1d4355a/model/specifics/sigma=25.mat"
    (file,) = [file for file in official_files() if file.path.endswith("MicroISP.ckpt")]
    assert file.address.endswith("/pretrained_weights/MicroISP.ckpt.index")
    (file,) = [file for file in official_files() if file.path.endswith("zrr_best_slim.pkl")]
    assert file.address.startswith("https://github.com/ndbao2002/MobileIE/raw/")


def test_suites_go_by_name(zoo_bench, tmp_path, monkeypatch) -> None:
    from benchmark.running.suite import load_suite

    assert load_suite("quick").models == load_suite("configs/suites/quick.yaml").models
    outcome = zoo_bench("run", "--suite", "quik", "--out", tmp_path)
    assert (outcome.code, "none shipped under that name; did you mean quick?" in outcome.err) == (2, True)
