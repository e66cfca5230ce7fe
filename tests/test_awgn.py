"""Pictures with Gaussian noise: the protocol to the bit, gray images, and networks that are told the noise."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from skimage.restoration import estimate_sigma

from benchmark import evaluate, load_results
from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions
from benchmark.datacheck.checking import check_dataset
from benchmark.datasets.awgn import GRAYS
from benchmark.htmlpage.data import document
from benchmark.imaging.noise import estimated_sigma
from benchmark.leaderboard.boards import boards
from benchmark.metrics import METRICS, chosen_ids
from benchmark.opening import card_at, dataset_card
from benchmark.regression.matching import identity_of
from benchmark.results.store import Store, read_results
from benchmark.running.inference import infer
from benchmark.scoring.evaluation import run_sample, with_sigma
from benchmark.training.batches import Cut, Stored
from benchmark.types import Sample
from zoo import get_card
from zoo.convention import InputSpec
from zoo.errors import UserError

GRAY = InputSpec(layout="gray", output_scale=1.0)
TOLD = InputSpec(layout="gray", output_scale=1.0, noise_level=True)


def pixels(seed: int, *shape: int) -> np.ndarray:
    """A smooth picture with some grain, 8 bits."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [128 + 90 * np.sin(rows / (5 + seed)) * np.cos(columns / (4 + shift)) for shift in range(3)]
    picture = np.stack(waves, axis=2) + np.random.RandomState(seed).uniform(-20, 20, (*shape[:2], 3))
    return picture.astype(np.uint8) if len(shape) == 3 else picture[..., 0].astype(np.uint8)


def make(folder: Path, *shape: int, names=("1", "2", "10")) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(pixels(seed, *shape)).save(folder / f"{name}.png")
    (folder / "README.md").write_text("not a picture")
    return folder


@pytest.fixture
def gray(tmp_path: Path) -> Path:
    return make(tmp_path / "gray", 33, 40)


@pytest.fixture
def colour(tmp_path: Path) -> Path:
    return make(tmp_path / "colour", 33, 40, 3)


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))


def opened(root: Path, **options):
    card = card_at("awgn", root, **{"sigma": 25, **options})
    return card.open(root, card.default_split)


def run(root: Path, out: Path, dataset: str = "awgn", **more):
    quick = {"isolate": False, "sizes": ["none"], "conditions": Conditions(sigma=25), "models": "identity_gray"}
    return run_as_users_do(dataset, data_root=root, out=out, **{**quick, **more})


def as_array(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


# --- the protocol ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(33, 40), (33, 40, 3)])
@pytest.mark.parametrize("seed", [0, 7])
def test_noise_is_that_of_the_protocol_to_the_last_bit(tmp_path: Path, shape, seed: int) -> None:
    dataset = opened(make(tmp_path / "x", *shape), noise_seed=seed or None)
    assert list(dataset.ids) == list(dataset.scenes) == ["1", "2", "10"]
    for number, sample in enumerate(dataset):
        u = pixels(number, *shape)
        x = np.float32(u / 255.0)[..., None] if u.ndim == 2 else np.float32(u / 255.0)
        noisy = np.copy(x)
        np.random.seed(seed)
        noisy += np.random.normal(0, 25 / 255.0, x.shape)
        assert sample.input.dtype == sample.target.dtype == torch.float32
        np.testing.assert_array_equal(as_array(sample.target), x)
        np.testing.assert_array_equal(as_array(sample.input), noisy)
        assert sample.input.min() < 0 or sample.input.max() > 1
        assert (sample.sigma, sample.is_raw) == (25, False)


def test_a_clipped_picture_has_whole_levels_of_8_bits(gray: Path) -> None:
    plain, clipped = opened(gray)[0].input, opened(gray, clip="True")[0].input
    assert torch.equal(clipped, (plain.clamp(0, 1) * 255).round() / 255)


def test_conversions_are_those_that_are_named(colour: Path) -> None:
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), axis=-1).reshape(-1, 52, 3).astype(np.uint8)
    red, green, blue = (every[..., plane].astype(np.float64) for plane in range(3))
    matlab = np.floor(0.298936021293775 * red + 0.587043074451121 * green + 0.114020904255103 * blue + 0.5)
    np.testing.assert_array_equal(GRAYS["matlab"][0](every), matlab)
    pillow = (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536
    np.testing.assert_array_equal(GRAYS["pillow"][0](every), pillow)
    sample = opened(colour, gray="matlab")[0]
    assert sample.target.shape == (1, 1, 33, 40)
    np.testing.assert_array_equal(as_array(sample.target)[..., 0] * 255, GRAYS["matlab"][0](pixels(0, 33, 40, 3)))


def test_scores_are_those_of_8_bits_and_the_mean_is_one_of_decibels(gray: Path, tmp_path: Path) -> None:
    (record,) = run(gray, tmp_path / "out", name="mine")
    by_hand = []
    for sample in opened(gray):
        rounded = np.round(sample.input.double().clamp(0, 1).numpy() * 255)
        error = np.mean((rounded - np.round(sample.target.double().numpy() * 255)) ** 2)
        by_hand.append(10 * math.log10(255**2 / error))
    assert record.measurements["psnr[gray]"].value == pytest.approx(np.mean(by_hand), abs=1e-9)
    assert (record.dataset, record.split, record.protocol.name) == ("awgn (mine)", "sigma25", "awgn")
    assert list(record.spec.metrics) == ["psnr[gray]", "ssim[gaussian11,gray]"]
    assert record.num_scenes == 3
    data = {key: record.data[key] for key in ("sigma", "noise_seed", "label", "folder")}
    assert data == {"sigma": 25, "noise_seed": 0, "label": "mine", "folder": "gray"}
    (alone,) = [one for one in evaluate("identity_gray", "awgn", data_root=gray, sigma=25) if one["id"] == "2"]
    assert alone["scores"]["psnr[gray]"] == pytest.approx(by_hand[1], abs=1e-9)


def test_colours_are_scored_together(colour: Path, tmp_path: Path) -> None:
    (record,) = run(colour, tmp_path / "out", models="identity", exact=True)
    values = []
    for sample in opened(colour):
        rounded = np.round(sample.input.double().clamp(0, 1).numpy() * 255)
        values.append(np.mean((rounded - np.round(sample.target.double().numpy() * 255)) ** 2))
    expected = np.mean([10 * math.log10(255**2 / value) for value in values])
    assert record.measurements["psnr[rgb]"].value == pytest.approx(expected, abs=1e-9)


# --- records ---------------------------------------------------------------------------------------------------------


def test_sigma_seed_clip_conversion_and_name_decide_the_key_and_what_is_compared(colour: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "out", {"models": "identity"}
    gray = {"models": "identity_gray", "gray": "matlab"}
    variants = [
        (plain, "sigma25"),
        (plain | {"conditions": Conditions(sigma=12.5)}, "sigma12.5"),
        (plain | {"noise_seed": 1}, "sigma25-seed1"),
        (plain | {"clip": True}, "sigma25-clip"),
        (plain | {"name": "mine"}, "sigma25"),
        (gray, "sigma25-gray-matlab"),
        (gray | {"gray": "pillow", "clip": True, "noise_seed": 3}, "sigma25-clip-seed3-gray-pillow"),
    ]
    records = []
    for more, split in variants:
        (record,) = run(colour, out, **more)
        assert record.split == split
        records.append(record)
    assert len({record.key for record in records}) == len({identity_of(record) for record in records}) == len(records)
    again = [run(colour, out, **more)[0].key for more, _ in variants]
    assert again == [record.key for record in records]
    assert len(read_results(out / "results.jsonl")) == len(records)


def test_tables_and_the_page_say_how_the_noise_was_made(colour: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(colour, out, models="identity_gray", gray="matlab", clip=True, name="b", noise_seed=3)
    results = Store(out).results()
    board = boards(results, "awgn (b)")[0]
    assert board.title == "awgn (b), sigma25-clip-seed3-gray-matlab: 3 images, 3 scenes: too few to rank"
    noise, gray = (next(line for line in board.lead if title in line) for title in ("Noise added", "Gray pictures"))
    for part in ("standard deviation 25 ", "RandomState(3)", "clipped to [0, 1] and rounded to 8 bits"):
        assert part in noise.replace("\\", "")
    assert "by matlab: floor(0.298936021293775 R" in gray.replace("\\", "")
    page = document(results).content
    assert "RandomState(3)" in json.dumps(page)
    command = page["records"][0]["commands"][-1]
    words = shlex.split(command)
    for part in (["--sigma", "25"], ["--noise-seed", "3"], ["--gray", "matlab"], ["--name", "b"], ["--clip"]):
        assert any(words[at : at + len(part)] == part for at in range(len(words)))
    assert words[words.index("--dataset") + 1] == "awgn"


def test_gray_pictures_are_shown(gray: Path, tmp_path: Path) -> None:
    (record,) = run(gray, tmp_path / "out")
    with Image.open(tmp_path / "out" / record.pictures) as sheet:
        assert sheet.size == (1160, 40 + 3 * 310)
    index = json.loads((tmp_path / "out" / record.gallery / "pictures.json").read_text())
    with Image.open(tmp_path / "out" / record.gallery / index["images"][0]["files"]["target"]) as target:
        shown = np.asarray(target)
    assert shown.shape == (33, 40, 3)
    assert np.ptp(shown.astype(int), axis=2).max() <= 2


# --- what does not fit -----------------------------------------------------------------------------------------------


def refused(root: Path, *parts: str, **options) -> None:
    with pytest.raises(UserError) as caught:
        list(opened(root, **options))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"sigma": None}, ["--sigma not given", "--sigma 25"]),
        ({"sigma": "estimate"}, ["--sigma estimate", "adds the noise itself"]),
        ({"sigma": -1}, ["--sigma -1", "0 to 255"]),
        ({"sigma": 256}, ["--sigma 256", "0 to 255"]),
        ({"sigma": math.nan}, ["--sigma nan", "0 to 255"]),
        ({"noise_seed": -1}, ["--noise-seed -1", "0 to 4294967295"]),
        ({"noise_seed": 2**32}, ["--noise-seed 4294967296"]),
        ({"gray": "matlap"}, ["--gray", "'matlap'", "did you mean matlab"]),
        ({"gray": "matlab"}, ["--gray matlab", "gray already", "1.png"]),
        ({"rule": "a* -> b*"}, ["no option 'rule'", "--noise-seed"]),
    ],
)
def test_values_that_no_noise_has_are_refused(gray: Path, options, parts) -> None:
    refused(gray, *parts, **options)


def test_folders_that_are_not_one_kind_of_picture_are_refused(gray: Path, colour: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no picture", "--data-root")
    Image.fromarray(pixels(1, 33, 40, 3)).save(gray / "3.png")
    refused(gray, "gray pictures (1.png) and others (3.png)", "one kind")
    document = check_dataset("awgn", gray)
    assert [(Path(one["file"]).name, one["kind"], one["what"]) for one in document["problems"]] == [
        ("3.png", "depth", "8-bit RGB PNG")
    ]
    for path in colour.glob("*.png"):
        Image.fromarray(np.repeat(pixels(1, 33, 40)[..., None], 3, axis=2)).save(path)
    refused(colour, "gray stored as RGB", "--gray matlab")
    assert opened(colour, gray="matlab")[0].target.shape == (1, 1, 33, 40)


def test_other_depths_and_alpha_are_named(gray: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(1, 33, 40).astype(np.uint16) * 257).save(gray / "2.png")
    refused(gray, "2.png is a 16-bit gray PNG", "8 bits")
    with pytest.raises(UserError, match=r"1 of 3 images are bad.*2\.png: 16-bit gray PNG; expected 8-bit gray"):
        run(gray, tmp_path / "out")
    (record,) = run(gray, tmp_path / "out", skip_bad=True)
    assert (record.n, record.num_skipped) == (2, 1)
    (tmp_path / "alpha").mkdir()
    Image.fromarray(np.dstack([pixels(1, 9, 9, 3), pixels(1, 9, 9)])).save(tmp_path / "alpha" / "1.png")
    refused(tmp_path / "alpha", "RGB with alpha PNG", "expected RGB")


def test_a_gray_network_is_refused_colours_and_the_other_way_round(gray: Path, colour: Path, tmp_path: Path) -> None:
    for root, model, tasks in ((colour, "dncnn_17", ("gray", "rgb")), (gray, "dncnn_20_color", ("rgb", "gray"))):
        with pytest.raises(UserError, match="{} is a denoise_{} model, awgn needs denoise_{}".format(model, *tasks)):
            run(root, tmp_path / "out", models=model)


def test_metrics_of_three_colours_are_refused_for_gray_images(gray: Path, tmp_path: Path) -> None:
    words = r"compares three colours, and these images are gray; expected msssim\[gray"
    for metric in ("psnr[rgb]", "error", "ssim[gaussian11,rgb,aligned]"):
        with pytest.raises(UserError, match=words):
            run(gray, tmp_path / "out", metrics=[metric])
    (record,) = run(gray, tmp_path / "out", metrics=["protocol", "ssim[matlab2d,gray]"])
    assert list(record.spec.metrics) == ["psnr[gray]", "ssim[gaussian11,gray]", "ssim[matlab2d,gray]"]


def test_gray_metrics_equal_those_of_equal_channels_and_scikit_image() -> None:
    output, target = (pixels(seed, 180, 190)[..., None] / 255 for seed in (1, 2))
    equal = [np.repeat(image, 3, axis=2) for image in (output, target)]
    ids = chosen_ids(["psnr[gray]", "ssim[gaussian11,gray]", "msssim[gray]", "ssim[matlab2d,gray]"], (), gray=True)
    for id, alike in zip(ids, ("psnr[rgb]", "ssim[gaussian11,rgb]", "msssim[perchannel]", None)):
        value = METRICS.get(id).function(output, target)
        # The luma of equal channels of 8 bits is these values again.
        assert value == pytest.approx(METRICS.get(id).function(*equal), abs=1e-9)
        if alike:
            assert value == pytest.approx(METRICS.get(alike).function(*equal), abs=1e-9)
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    _, full = structural_similarity(output[..., 0], target[..., 0], **how)
    assert METRICS.get("ssim[gaussian11,gray]").function(output, target) == pytest.approx(full[5:-5, 5:-5].mean())


def test_folders_of_gray_pictures_are_scored(gray: Path, tmp_path: Path, zoo_bench) -> None:
    outputs = make(tmp_path / "outputs", 33, 40)
    for number, name in ((3, "1"), (4, "2"), (5, "10")):
        Image.fromarray(pixels(number, 33, 40)).save(outputs / f"{name}.png")
    outcome = zoo_bench("score", outputs, gray, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)["scores"]
    assert list(found) == ["psnr[gray]", "ssim[gaussian11,gray]"]
    errors = [np.mean((pixels(at, 33, 40) / 255.0 - pixels(at + 3, 33, 40) / 255.0) ** 2) for at in range(3)]
    assert found["psnr[gray]"] == pytest.approx(np.mean([-10 * math.log10(error) for error in errors]))
    every = json.loads(zoo_bench("score", outputs, gray, "--all", "--json").out)["scores"]
    assert every == {**found, "msssim[gray]": None, "ssim[matlab2d,gray]": every["ssim[matlab2d,gray]"]}
    refused = zoo_bench("score", outputs, gray, "--metrics", "psnr[rgb]")
    assert (refused.code, "these images are gray" in refused.err) == (2, True)
    Image.fromarray(pixels(1, 33, 40, 3)).save(outputs / "2.png")
    refused = zoo_bench("score", outputs, gray)
    assert (refused.code, "2.png is a RGB PNG; expected gray" in refused.err) == (2, True)


# --- networks that are told the noise --------------------------------------------------------------------------------


def echo_of_the_level(planes: torch.Tensor) -> torch.Tensor:
    return planes[:, 1:]


def test_a_network_is_told_the_level_of_the_data(gray: Path) -> None:
    sample = opened(gray, sigma=12.5)[0]
    assert torch.equal(run_sample(echo_of_the_level, sample, TOLD), torch.full((1, 1, 33, 40), 12.5 / 255))
    # The data know it; no other level replaces it, and other networks are told nothing.
    assert with_sigma(sample, TOLD, 50.0).sigma == 12.5
    plain = Sample("1", sample.input, sample.target)
    assert with_sigma(plain, GRAY, 50.0).sigma is None
    assert with_sigma(plain, TOLD, 50.0).sigma == 50
    assert with_sigma(plain, TOLD, "estimate").sigma == estimated_sigma(sample.input)


def test_the_estimate_is_scikit_images_mean_over_channels() -> None:
    clean = np.stack([pixels(seed, 120, 130) for seed in range(3)]) / 255
    smooth = (clean + np.roll(clean, 1, 1) + np.roll(clean, 1, 2) + np.roll(clean, 3, 1)) / 4
    noisy = smooth + np.random.RandomState(0).normal(0, 20 / 255, smooth.shape)
    image = torch.from_numpy(noisy)[None].float()
    expected = np.mean([estimate_sigma(image[0, plane].double().numpy()) for plane in range(3)])
    assert estimated_sigma(image) == pytest.approx(255 * expected, rel=1e-12)
    assert estimated_sigma(image) == pytest.approx(20, rel=0.1)
    assert estimated_sigma(torch.zeros(1, 1, 16, 16)) == 0
    assert estimated_sigma(torch.full((1, 1, 3, 3), 0.5)) < 1e-9


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for side in ("input", "target"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for seed in range(2):
            Image.fromarray(pixels(seed, 33, 40, 3)).save(tmp_path / "pairs" / side / f"{seed}.png")
    return tmp_path / "pairs"


def test_real_noise_needs_a_level_that_the_key_holds_for_networks_that_are_told(pairs: Path, tmp_path: Path) -> None:
    out, models = tmp_path / "out", "ffdnet_color,dncnn_20_color,identity"
    small = {"options": {"ffdnet_color.width": "8", "dncnn_20_color.width": "8"}}
    with pytest.raises(UserError, match=r"ffdnet_color.* is told the level of the noise, which pairs does not say"):
        run(pairs, out, "pairs", models=models, conditions=Conditions(), **small)
    assert not (out / "results.jsonl").exists()
    keys, names = [], []
    for sigma in (15, "estimate", 15.5):
        records = run(pairs, out, "pairs", models=models, conditions=Conditions(sigma=sigma), **small)
        keys.append([record.key for record in records])
        names.append([one.spec.conditions.words() for one in records])
    told, *others = zip(*keys)
    assert len(set(told)) == 3
    assert all(len(set(one)) == 1 for one in others)
    assert names == [[["sigma 15"], [], []], [["sigma estimate"], [], []], [["sigma 15.5"], [], []]]
    assert len(read_results(out / "results.jsonl")) == 5
    assert set(load_results(out, form="wide")["sigma"].dropna()) == {"15", "15.5", "estimate"}


def test_the_record_holds_the_estimates(pairs: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    card = get_card("ffdnet_color")
    torch.save(card.create({"width": 8}).state_dict(), weights)
    out = tmp_path / "out"
    more = {"models": "ffdnet_color", "weights": {"ffdnet_color": str(weights)}, "options": {"width": "8"}}
    (record,) = run(pairs, out, "pairs", conditions=Conditions(sigma="estimate"), **more)
    found = Store(out).journal(record.key).sigmas()
    dataset = dataset_card("pairs").open(pairs, "test")
    assert found == {sample.id: estimated_sigma(sample.input) for sample in dataset}
    least, most = sorted(found.values())
    note = f"sigma estimated by scikit-image, mean over channels: median {(least + most) / 2:.2f}, {least:.2f} to"
    assert record.notes[0].startswith(note)
    assert json.loads(record.model_dump_json())["spec"]["sigma"] == "estimate"
    (record,) = run(pairs, out, "pairs", conditions=Conditions(sigma=9), **more)
    assert Store(out).journal(record.key).sigmas() == {}
    assert record.spec.conditions.flags()[-2:] == ["--sigma", "9"]


@pytest.mark.parametrize("sigma", ["-1", "256", "nan", "much", "1e999", ""])
def test_levels_that_no_noise_has_are_refused_before_anything_is_measured(pairs: Path, zoo_bench, sigma: str) -> None:
    outcome = zoo_bench(
        "run", "--dataset", "pairs", "--data-root", str(pairs), "--models", "identity", f"--sigma={sigma}"
    )
    assert outcome.code == 2
    assert f"--sigma {sigma}" in outcome.err
    assert "0 to 255, or estimate" in outcome.err
    assert outcome.err.count("\n") == 1


# --- infer -----------------------------------------------------------------------------------------------------------


def test_infer_tells_the_network_about_pictures_and_arrays(gray: Path, tmp_path: Path) -> None:
    small, out = {"options": {"width": 8}, "seed": 3, "random_weights": True}, tmp_path / "out"
    (written,) = infer("ffdnet_gray", [gray / "1.png"], out, sigma=25, **small)
    with Image.open(written) as picture:
        shown = np.asarray(picture)
    x = (pixels(0, 33, 40) / 255).astype(np.float32)[None, None]
    np.save(tmp_path / "x.npy", np.concatenate([x, x[:, :, ::-1].copy()]))
    level = np.full_like(x, 25 / 255)
    np.save(tmp_path / "whole.npy", np.concatenate([x, level], axis=1))
    arrays = [np.load(path) for path in infer("ffdnet_gray", [tmp_path / "x.npy"], out, sigma=25, **small)]
    arrays += [np.load(path) for path in infer("ffdnet_gray", [tmp_path / "whole.npy"], out, **small)]
    assert [one.shape for one in arrays] == [(2, 1, 33, 40), (1, 1, 33, 40)]
    np.testing.assert_allclose(arrays[0][:1], arrays[1], atol=1e-6)
    np.testing.assert_array_equal(shown, np.round(arrays[1][0, 0].clip(0, 1) * 255))
    (path,) = infer("ffdnet_gray", [tmp_path / "x.npy"], out, sigma="estimate", **small)
    told = estimated_sigma(torch.from_numpy(x)) / 255
    np.save(tmp_path / "whole.npy", np.concatenate([x, np.full_like(x, told)], axis=1))
    (whole,) = infer("ffdnet_gray", [tmp_path / "whole.npy"], out, **small)
    np.testing.assert_allclose(np.load(path)[:1], np.load(whole), atol=1e-6)


def test_infer_refuses_what_does_not_fit_in_one_line(gray: Path, colour: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", np.zeros((1, 1, 16, 16), np.float32))
    np.save(tmp_path / "whole.npy", np.zeros((1, 2, 16, 16), np.float32))
    for model, file, more, parts in (
        ("ffdnet_gray", gray / "1.png", {}, ["is told the level of the noise", "1.png", "--sigma 15"]),
        ("ffdnet_gray", gray / "1.png", {"sigma": 256}, ["--sigma 256", "0 to 255"]),
        ("ffdnet_gray", colour / "1.png", {"sigma": 5}, ["1.png: expected a gray picture, found a RGB PNG", "convert"]),
        ("dncnn_17", colour / "1.png", {}, ["1.png: expected a gray picture, found a RGB PNG"]),
        ("dncnn_20_color", gray / "1.png", {}, ["1.png: expected an RGB picture, found a gray PNG"]),
        ("ffdnet_gray", tmp_path / "bare.npy", {}, ["(N, 2, H, W)", "(N, 1, H, W) with --sigma", "(1, 1, 16, 16)"]),
        ("ffdnet_gray", tmp_path / "whole.npy", {"sigma": 5}, ["last channel is the level", "leave --sigma out"]),
        ("dncnn_17", tmp_path / "whole.npy", {"sigma": 5}, ["expected float32 (N, 1, H, W)"]),
    ):
        with pytest.raises(UserError) as caught:
            infer(model, [file], tmp_path / "out", random_weights=True, **more)
        assert "\n" not in str(caught.value)
        for part in parts:
            assert part in str(caught.value)


# --- training --------------------------------------------------------------------------------------------------------


def test_each_window_gets_its_own_noise_of_a_level_in_the_range(gray: Path) -> None:
    card = card_at("awgn", gray, sigma="clean")
    sample = card.open(gray, card.default_split)[0]
    assert torch.equal(sample.input, sample.target)
    assert sample.sigma is None
    cut = Cut(TOLD, 24, augment=False, seed=1, noise=(5.0, 75.0))
    batches = [cut.apply(Stored(sample), epoch, place) for epoch in range(4) for place in range(40)]
    levels = [255 * float(batch.planes[0, 1, 0, 0]) for batch in batches]
    assert 5 <= min(levels) < 12
    assert 68 < max(levels) <= 75
    measured = [255 * float((batch.planes[:, :1] - batch.target).std()) for batch in batches]
    np.testing.assert_allclose(measured, levels, rtol=0.15)
    again = cut.apply(Stored(sample), 2, 3)
    assert torch.equal(again.planes, batches[2 * 40 + 3].planes)
    fixed = Cut(GRAY, 24, augment=False, seed=1, noise=(25.0, 25.0)).apply(Stored(sample), 0, 0)
    assert fixed.planes.shape == (1, 1, 24, 24)
    assert 255 * float((fixed.planes - fixed.target).std()) == pytest.approx(25, rel=0.15)


RECIPE = {
    "options.width": 8, "max_steps": 2, "batch_size": 2, "crop": 16, "checkpoint_every": 2, "workers": 0,
    "validation.limit": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", ["ffdnet_gray", "dncnn_17"])
def test_recipes_train_on_a_folder_of_pictures(gray: Path, tmp_path: Path, zoo_bench, name: str) -> None:
    sets = [part for key, value in RECIPE.items() for part in ("--set", f"{key}={value}")]
    other = make(tmp_path / "other", 20, 24)
    where = ["--set", f"data_root={gray}", "--set", f"validation.data_root={other}", "--set", f"data_name={name}"]
    outcome = zoo_bench("train", name, "-o", str(tmp_path / "t"), *sets, *where)
    assert outcome.code == 0, outcome.err
    weights = tmp_path / "t" / "weights.safetensors"
    (record,) = run(gray, tmp_path / "out", models=name, weights={name: str(weights)})
    assert record.evidence == "trained"
    assert record.weights["recipe"] == name
    log = [json.loads(line) for line in (tmp_path / "t" / "log.jsonl").read_text().splitlines()]
    (validation,) = [line for line in log if line["kind"] == "validation"]
    assert validation["split"] == "sigma25"
    assert validation["dataset"] == f"awgn ({name})"


@pytest.mark.parametrize(
    ("sets", "part"),
    [
        (["sigma=null"], "recipe: sigma: awgn needs the level of the noise"),
        (["sigma=[75,0]"], "expected a level of noise from 0 to 255, or the lowest and the highest"),
        (["sigma=300"], "expected a level of noise from 0 to 255"),
        (["validation.sigma=null"], "recipe: validation.sigma: expected one level of the range [0, 75], as 25"),
        (['validation.metrics=["psnr[rgb]"]'], "compares three colours, and these images are gray"),
        (["model=ffdnet_color"], "ffdnet_color is a denoise_rgb model, awgn needs denoise_gray"),
        (["gray=matlab"], "gray already"),
        (["dataset=pairs"], "pairs: no option 'sigma'"),
        (["dataset=sidd", "sigma=null", "data_root=null", "model=ffdnet_color"], "which sidd does not know"),
    ],
)
def test_recipes_without_sense_are_refused_before_the_first_step(
    gray: Path, tmp_path: Path, zoo_bench, sets, part: str
) -> None:
    given = [one for text in (f"data_root={gray}", *sets) for one in ("--set", text)]
    outcome = zoo_bench("train", "ffdnet_gray", "-o", str(tmp_path / "t"), *given)
    assert outcome.code == 2
    assert part in outcome.err
    assert outcome.err.strip().count("\n") == 0
