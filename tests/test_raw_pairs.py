"""RAW mosaics with RGB pictures of one's own camera: file formats, levels, every misfit by name; names for own data."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import evaluate
from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions
from benchmark.datacheck.checking import check_dataset
from benchmark.htmlpage.data import document
from benchmark.leaderboard.boards import boards
from benchmark.leaderboard.pages import pages
from benchmark.opening import dataset_card
from benchmark.results.store import read_results
from benchmark.scoring.evaluation import run_sample
from benchmark.training.loop import train
from tests.deep_images import dng
from zoo import create_model, get_card
from zoo.errors import UserError

BLACK, WHITE = 256, 4092
SENSOR = {"cfa": "RGGB", "black": BLACK, "white": WHITE}
RULE = "raw_* -> rgb_*"


def counts_of(seed: int, size=(64, 64)) -> np.ndarray:
    """Counts of 10 bits that are stored times 4, as some cameras do: smooth, so that a picture can be seen."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 0.5 + 0.4 * np.sin(rows / (7 + seed)) * np.cos(columns / (5 + seed))
    noise = np.random.RandomState(seed).uniform(-0.1, 0.1, size)
    return (64 + (waves + noise) * 959).clip(64, 1023).astype(np.uint16) * 4


def picture_of(counts: np.ndarray) -> np.ndarray:
    """An RGB picture of the mosaic's size, brighter where the mosaic is."""
    gray = ((counts - BLACK) / (WHITE - BLACK) * 255).astype(np.uint8)
    return np.stack([gray, gray, gray], axis=2)


def write(path: Path, counts: np.ndarray) -> None:
    if path.suffix == ".raw":
        path.write_bytes(counts.astype("<u2").tobytes())
    elif path.suffix == ".npy":
        np.save(path, counts)
    elif path.suffix == ".dng":
        path.write_bytes(dng(counts))
    else:
        Image.fromarray(counts).save(path)


def make(folder: Path, suffix: str = ".png", seeds=(1, 2), size=(64, 64)) -> Path:
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        counts = counts_of(seed, size)
        write(folder / f"raw_{seed}{suffix}", counts)
        Image.fromarray(picture_of(counts)).save(folder / f"rgb_{seed}.png")
    (folder / "README.md").write_text("not a picture")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "camera")


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))


def opened(root: Path, **options):
    return dataset_card("raw-pairs", **{"rule": RULE, **SENSOR, **options}).open(root, "test")


def refused(root: Path, *parts: str, **options) -> None:
    with pytest.raises(UserError) as caught:
        list(opened(root, **options))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def run(root: Path, out: Path, **more):
    quick = {"isolate": False, "sizes": ["none"], "conditions": Conditions(), "models": "bilinear", "pairs": RULE}
    (record,) = run_as_users_do("raw-pairs", data_root=root, out=out, **{**quick, **SENSOR, **more})
    return record


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".raw", ".dng"])
def test_counts_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    if suffix == ".dng":
        pytest.importorskip("rawpy")
    dataset = opened(make(tmp_path / "x", suffix), raw_size="64x64" if suffix == ".raw" else None)
    assert (dataset.name, dataset.split, list(dataset.ids)) == ("raw-pairs", "test", ["1", "2"])
    sample = dataset[0]
    assert (sample.id, sample.scene, sample.input.dtype) == ("1", "1", torch.float32)
    np.testing.assert_array_equal(sample.input[0, 0], counts_of(1))
    np.testing.assert_allclose(sample.target[0].permute(1, 2, 0), picture_of(counts_of(1)) / 255, rtol=1e-6)
    assert (sample.black, sample.white, sample.red) == (256.0, 4092.0, (0, 0))


def test_eight_bits_and_other_whole_numbers(tmp_path: Path) -> None:
    make(tmp_path, seeds=[1])
    counts = (counts_of(1) >> 4).astype(np.uint8)
    for array in (counts, counts.astype(np.int32), counts.astype(">u2")):
        (tmp_path / "raw_1.png").unlink(missing_ok=True)
        np.save(tmp_path / "raw_1.npy", array)
        np.testing.assert_array_equal(opened(tmp_path, black=16, white=255)[0].input[0, 0], counts)
    (tmp_path / "raw_1.npy").unlink()
    Image.fromarray(counts).save(tmp_path / "raw_1.png")
    np.testing.assert_array_equal(opened(tmp_path, black=16, white=255)[0].input[0, 0], counts)


def test_what_the_user_states_is_in_the_record_and_its_levels_in_the_digest(root: Path) -> None:
    plain = opened(root)
    assert plain.provenance == {"standin": False, "rule": RULE, "folder": "camera", **SENSOR}
    others = [opened(root, **{key: value}) for key, value in (("cfa", "BGGR"), ("black", 255.5), ("white", 4095))]
    assert len({dataset.digest() for dataset in (plain, *others)}) == 4
    assert opened(root, name="mine", scene="(.)[.]").digest() == plain.digest()
    assert others[1].provenance["black"] == 255.5


@pytest.mark.parametrize(("cfa", "flip"), [("GRBG", (1,)), ("GBRG", (0,)), ("BGGR", (0, 1))])
def test_another_colour_filter_gives_the_same_picture(tmp_path: Path, cfa: str, flip: tuple[int, ...]) -> None:
    """A mirrored mosaic begins with another colour, and the output is the mirrored one, but for the border."""
    counts = counts_of(1)
    counts[::2, ::2] = counts_of(5)[::2, ::2]  # red shows another thing
    outputs = {}
    for name, array in (("straight", counts), ("mirrored", np.flip(counts, flip))):
        np.save(make(tmp_path / name, seeds=()) / "raw_1.npy", array)
        Image.fromarray(picture_of(array)).save(tmp_path / name / "rgb_1.png")
    spec, model = get_card("bilinear").input, create_model("bilinear").eval()
    for name, filter in (("straight", "RGGB"), ("mirrored", cfa), ("mirrored", "RGGB")):
        output = run_sample(model, opened(tmp_path / name, cfa=filter)[0], spec)[0].permute(1, 2, 0)
        outputs[name, filter] = np.flip(output.numpy(), flip if name == "mirrored" else ())[4:-4, 4:-4]
    # The model's gray world sees a border that is repeated.
    np.testing.assert_allclose(outputs["mirrored", cfa], outputs["straight", "RGGB"], atol=5e-3)
    assert np.abs(outputs["mirrored", "RGGB"] - outputs["straight", "RGGB"]).mean() > 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cfa": None}, "--cfa not given; expected the colour filter and both levels"),
        ({"cfa": None, "black": None, "white": None}, "--cfa and --black and --white not given"),
        ({"cfa": "RGBG"}, "--cfa RGBG: expected one of RGGB, GRBG, GBRG, BGGR"),
        ({"black": "dark"}, "--black dark: expected a level in counts, 0 to 65535"),
        ({"black": -1}, "--black -1: expected a level"),
        ({"white": "nan"}, "--white nan: expected a level"),
        ({"white": 70000}, "--white 70000: expected a level"),
        ({"black": 4092}, "--white 4092: expected a whole number above --black 4092"),
        ({"white": 1023.5}, "--white 1023.5: expected a whole number"),
        ({"raw_size": "64"}, "--raw-size 64: expected HxW"),
        ({"raw_size": "63x64"}, "--raw-size 63x64: expected HxW, for example 3000x4000, both even"),
        ({"raw_size": "64x64"}, "--raw-size 64x64 is for .raw files"),
        ({"task": "raw2rgb"}, "raw-pairs: no option 'task'"),
        ({"rule": "raw_* -> nothing_*"}, "no picture (.png, .jpg, .jpeg, .tif, .tiff) matches 'nothing_*'"),
        ({"rule": "no_* -> rgb_*"}, "no picture (.png, .tif, .tiff, .npy, .raw, .dng) matches 'no_*'"),
    ],
)
def test_options_that_no_sensor_has(root: Path, options: dict, words: str) -> None:
    refused(root, words, **options)


def test_sensor_flags_are_not_for_pictures(zoo_bench, root: Path) -> None:
    outcome = zoo_bench("run", "--dataset", "pairs", "--data-root", root, "--cfa", "RGGB")
    assert (outcome.code, "pairs: no option 'cfa'; expected rule (--pairs)" in outcome.err) == (2, True)
    outcome = zoo_bench("run", "--dataset", "zrr", "--raw-size", "64x64")
    assert "zrr takes no raw_size; those are for --dataset raw-pairs" in outcome.err


def test_files_that_do_not_fit(root: Path) -> None:
    raw, rgb = root / "raw_1.png", root / "rgb_1.png"
    Image.fromarray(counts_of(1)[:-1]).save(raw)
    refused(root, f"{raw} has 63x64 pixels; a Bayer mosaic has an even height and width")
    Image.fromarray(picture_of(counts_of(1))).save(raw)
    refused(root, f"{raw} is a RGB PNG; expected a mosaic: gray with 8 or 16 bits")
    write(raw, counts_of(1))
    Image.fromarray(picture_of(counts_of(1))[::2, ::2]).save(rgb)
    refused(root, f"{rgb} has 32x32 pixels, its mosaic {raw} has 64x64; expected the same size: one RGB pixel for each")
    rgb.unlink()
    refused(root, f"{raw} has no partner; expected 'rgb_1'")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((64, 64, 4), np.uint16), "holds uint16 (64, 64, 4); expected the counts of a mosaic"),
        (np.zeros((64, 64), np.float32), "holds float32 (64, 64); expected the counts of a mosaic as whole numbers"),
        (np.zeros((0, 64), np.uint16), "holds uint16 (0, 64)"),
        (np.full((64, 64), -1), "has counts from -1 to -1; expected 0 to 65535"),
        (np.array([None]), "is damaged or cut off"),
        (b"no array", "is damaged or cut off"),
    ],
)
def test_arrays_that_are_no_mosaic(tmp_path: Path, content, words: str) -> None:
    make(tmp_path, seeds=[1])
    (tmp_path / "raw_1.png").unlink()
    if isinstance(content, bytes):
        (tmp_path / "raw_1.npy").write_bytes(content)
    else:
        np.save(tmp_path / "raw_1.npy", content)
    refused(tmp_path, f"{tmp_path / 'raw_1.npy'} {words}")


def test_headerless_files_need_their_size_and_have_its_length(tmp_path: Path) -> None:
    make(tmp_path, ".raw")
    refused(tmp_path, "raw_1.raw has no header, so its size is not known; pass --raw-size HxW")
    refused(tmp_path, "raw_1.raw has 8192 bytes, and --raw-size 64x32 means 4096, two for each count", raw_size="64x32")


def test_a_white_level_that_is_too_low_is_refused_and_hot_pixels_are_clipped(root: Path) -> None:
    words = "counts up to", "above --white 1023 in", "every count is a multiple of 4, as where counts of fewer bits"
    refused(root, str(root / "raw_1.png"), *words, white=1023)
    hot = counts_of(1)
    hot[0, 0] = 65535
    write(root / "raw_1.png", hot)
    assert opened(root)[0].input.max() == WHITE
    write(root / "raw_1.png", counts_of(1) + 1)
    refused(root, "in 1e+02 % of the pixels (at most 0.1 % are clipped); pass the sensor's white level", white=300)


def test_exchanged_bytes_are_suspected(tmp_path: Path) -> None:
    make(tmp_path, ".raw", seeds=[1])
    (tmp_path / "raw_1.raw").write_bytes((counts_of(1) + 1).astype(">u2").tobytes())
    refused(tmp_path, "with its bytes exchanged they fit: expected little-endian counts", raw_size="64x64")


def test_dng_without_its_package_is_one_line(tmp_path: Path, monkeypatch, zoo_bench) -> None:
    monkeypatch.setattr("benchmark.imaging.mosaics.find_spec", lambda name: None)
    make(tmp_path, ".dng")
    words = "raw_1.dng is a DNG, and the package rawpy is not installed; pip install 'zoo-bench[raw]' or convert"
    refused(tmp_path, words)
    flags = ("--data-root", tmp_path, "--pairs", RULE, "--cfa", "RGGB", "--black", 256, "--white", 4092)
    outcome = zoo_bench("run", "--dataset", "raw-pairs", *flags, "--out", tmp_path / "out")
    assert (outcome.code, outcome.err.count("\n"), words in outcome.err) == (2, 1, True)


class FakeDng(SimpleNamespace):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_a_dng_states_its_filter_and_its_levels(tmp_path: Path, monkeypatch) -> None:
    """The filter must be that of the command; the levels of the command count, which is remarked."""
    counts, pattern = counts_of(1), np.array([[0, 1], [3, 2]])
    file = FakeDng(
        raw_pattern=pattern, color_desc=b"RGBG", raw_colors_visible=np.tile(pattern, (32, 32)),
        raw_image_visible=counts, black_level_per_channel=[256, 256, 257, 256], white_level=4095,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "rawpy", SimpleNamespace(imread=lambda stream: file))
    monkeypatch.setattr("benchmark.imaging.mosaics.find_spec", lambda name: name)
    make(tmp_path, ".dng", seeds=[1])
    np.testing.assert_array_equal(opened(tmp_path)[0].input[0, 0], counts)
    refused(tmp_path, "raw_1.dng has the colour filter RGGB, and --cfa says BGGR", cfa="BGGR")
    (remark,) = check_dataset("raw-pairs", tmp_path, pairs=RULE, **SENSOR)["remarks"]
    assert remark["what"].startswith("states black level 256, 257, white level 4095, but black level 256, white level")
    file.raw_pattern = None
    refused(tmp_path, "raw_1.dng holds no Bayer mosaic; expected one")


# --- data check ------------------------------------------------------------------------------------------------------


def test_data_check_reads_mosaics_as_the_loader_does(tmp_path: Path, zoo_bench) -> None:
    make(tmp_path / "x", ".raw")
    found = check_dataset("raw-pairs", tmp_path / "x", pairs=RULE, **SENSOR, raw_size="64x64")
    assert (found["ok"], found["files"], found["remarks"], found["scenes"]) == (True, 4, [], {"test": 2})
    assert found["cfa"]["expected"] == "RGGB"
    # The same files are judged anew by other levels, and remembered by the same.
    assert check_dataset("raw-pairs", tmp_path / "x", pairs=RULE, **SENSOR, raw_size="64x64")["remembered"] == 4
    other = {"pairs": RULE, **SENSOR, "raw_size": "64x64", "white": 1023}
    (first, _) = check_dataset("raw-pairs", tmp_path / "x", **other)["problems"]
    assert (first["kind"], first["expected"]) == ("range", "at most --white 1023")
    assert "every count is a multiple of 4" in first["what"]
    found = check_dataset("raw-pairs", tmp_path / "x", pairs=RULE, **SENSOR, raw_size="32x32")
    assert "has 8192 bytes, and --raw-size 32x32 means 2048" in found["problems"][0]["what"]
    outcome = zoo_bench("data", "check", "raw-pairs", "--data-root", tmp_path / "x", "--pairs", RULE)
    assert (outcome.code, "--cfa and --black and --white not given" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("levels", "remark"),
    [
        ({"white": 65535}, "no mosaic of 2 uses more than 12 bits, counts up to 4095, and --white is 65535"),
        ({"black": 0}, "the lowest count of 2 mosaics is "),
    ],
)
def test_levels_that_no_mosaic_reaches_are_remarked(root: Path, tmp_path: Path, levels: dict, remark: str) -> None:
    found = check_dataset("raw-pairs", root, pairs=RULE, **{**SENSOR, **levels})
    assert [one["what"][: len(remark)] for one in found["remarks"]] == [remark]
    record = run(root, tmp_path / "out", **levels)
    assert any(remark in note for note in record.notes)


@pytest.mark.parametrize(("gone", "left"), [("rgb_2.png", "raw_2.png"), ("raw_2.png", "rgb_2.png")])
def test_the_check_names_a_file_without_partner(root: Path, zoo_bench, gone: str, left: str) -> None:
    (root / gone).unlink()
    flags = ("--cfa", SENSOR["cfa"], "--black", SENSOR["black"], "--white", SENSOR["white"])
    outcome = zoo_bench("data", "check", "raw-pairs", "--data-root", root, "--pairs", RULE, *flags)
    assert outcome.code == 1
    assert f"{left}: has no partner" in outcome.out
    assert "1 problem in 3 files" in outcome.out


def test_a_black_level_above_the_picture_is_a_problem(root: Path) -> None:
    found = check_dataset("raw-pairs", root, pairs=RULE, **{**SENSOR, "black": 3000})
    assert {(one["kind"], one["expected"]) for one in found["problems"]} == {
        ("range", "a picture above the black level, or a lower level")
    }
    write(root / "raw_1.png", np.full((64, 64), 258, np.uint16) + np.arange(64, dtype=np.uint16) % 2)
    (problem,) = check_dataset("raw-pairs", root, pairs=RULE, **SENSOR)["problems"]
    assert (problem["kind"], "a black frame" in problem["what"]) == ("black", True)


def test_a_filter_that_two_pairs_contradict_is_remarked(tmp_path: Path) -> None:
    make(tmp_path, seeds=())
    for seed in (1, 2):
        red, green, blue = counts_of(seed), counts_of(seed + 4), counts_of(seed + 9)
        counts = green.copy()
        counts[::2, ::2], counts[1::2, 1::2] = red[::2, ::2], blue[1::2, 1::2]
        write(tmp_path / f"raw_{seed}.png", counts)
        planes = np.stack([red, green, blue], axis=2).astype(np.float64)
        picture = (((planes - BLACK) / (WHITE - BLACK)) ** (1 / 2.2) * 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"rgb_{seed}.png")
    assert check_dataset("raw-pairs", tmp_path, pairs=RULE, **SENSOR)["remarks"] == []
    (remark,) = check_dataset("raw-pairs", tmp_path, pairs=RULE, **{**SENSOR, "cfa": "BGGR"})["remarks"]
    assert remark["what"] == "the colour filter looks like RGGB in 2 of 2 pairs"
    assert remark["expected"] == "BGGR"


def test_targets_of_few_bits_are_remarked_without_the_flag_of_the_mosaics(root: Path) -> None:
    from tests.deep_images import png16

    for seed in (1, 2):
        (root / f"rgb_{seed}.png").write_bytes(png16(picture_of(counts_of(seed)).astype(np.uint16) * 4))
    (remark,) = check_dataset("raw-pairs", root, pairs=RULE, **SENSOR)["remarks"]
    assert "the target side has a range of 10 bits" in remark["what"]
    assert "scale them to 16 bits unless they are dark" in remark["what"]
    assert "--white" not in remark["what"]


# --- records, tables and names --------------------------------------------------------------------------------------


def test_two_folders_have_their_names_in_record_table_page_and_menu(root: Path, tmp_path: Path) -> None:
    other, out = make(tmp_path / "other", seeds=(3, 4, 5)), tmp_path / "out"
    first, second = run(root, out, name="one-sample"), run(other, out, name="other_2")
    assert [one.dataset for one in (first, second)] == ["raw-pairs (one-sample)", "raw-pairs (other_2)"]
    assert (first.data["label"], first.data["white"], first.n, first.num_scenes) == ("one-sample", 4092, 2, 2)
    results = read_results(out / "results.jsonl")
    assert set(pages(results)) == {"raw-pairs (one-sample).md", "raw-pairs (other_2).md"}
    text = pages(results)["raw-pairs (other_2).md"]
    assert "## raw-pairs (other_2), test: 3 images, 3 scenes: too few to rank" in text
    assert "RGGB, black level 256, white level 4092, as the user states." in text
    assert "rank" not in boards(results, "raw-pairs (other_2)")[0].headers
    shown = document(results).content
    assert [one["name"] for one in shown["datasets"]] == ["raw-pairs (one-sample)", "raw-pairs (other_2)"]
    words = shlex.split(shown["records"][0]["commands"][-1].replace("\\\n", " "))
    flags = dict(itertools.pairwise(words))
    assert (flags["--dataset"], flags["--name"], flags["--pairs"]) == ("raw-pairs", "one-sample", RULE)
    assert (flags["--cfa"], flags["--black"], flags["--white"]) == ("RGGB", "256", "4092")


def test_levels_and_name_decide_the_key_and_equal_ones_are_not_measured_again(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    records = [run(root, out), run(root, out, white=4095), run(root, out, black=0), run(root, out, name="a")]
    assert len({record.key for record in records}) == 4
    assert len({record.measurements["psnr[rgb]"].value for record in records[:3]}) == 3
    assert run(root, out, name="a").key == records[3].key
    assert len((out / "results.jsonl").read_text().splitlines()) == 4


def test_pictures_have_names_too(tmp_path: Path) -> None:
    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture_of(counts_of(1))).save(tmp_path / folder / "1.png")
    quick = {"isolate": False, "sizes": ["none"], "conditions": Conditions(), "models": "identity"}
    (record,) = run_as_users_do("pairs", data_root=tmp_path, out=tmp_path / "out", name="polyu", **quick)
    sheet = f"images/pairs (polyu)/identity_{record.key[:8]}.png"
    assert (record.dataset, record.pictures) == ("pairs (polyu)", sheet)
    assert check_dataset("pairs (polyu)", tmp_path)["ok"]


def test_a_remark_stands_above_every_table_and_in_the_command_that_repeats_a_record(root: Path, tmp_path: Path) -> None:
    remark = "may be among the training pictures of <UltraISP> networks"
    record = run(root, tmp_path / "out", name="sample", remark=remark)
    assert record.data["remark"] == remark
    results = read_results(tmp_path / "out" / "results.jsonl")
    text = pages(results)["raw-pairs (sample).md"]
    titles = [line for line in text.splitlines() if line.startswith("## raw-pairs")]
    assert (
        text.count("**Remark of who measured**: may be among the training pictures of &lt;UltraISP> networks")
        == len(titles)
        == 2
    )
    command = document(results).content["records"][0]["commands"][-1].replace("\\\n", " ")
    assert dict(itertools.pairwise(shlex.split(command)))["--remark"] == remark
    assert record.key == run(root, tmp_path / "other", name="sample").key


@pytest.mark.parametrize("remark", ["", "two\nlines", "x" * 301, "\x1b[31mred"])
def test_remarks_that_are_no_line(root: Path, tmp_path: Path, zoo_bench, remark: str) -> None:
    flags = ("--data-root", root, "--pairs", RULE, "--cfa", "RGGB", "--black", 256, "--white", 4092)
    outcome = zoo_bench("run", "--dataset", "raw-pairs", *flags, "--remark", remark, "-o", tmp_path / "out")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "expected one line of 1 to 300 characters" in outcome.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../elsewhere", "expected up to 40 letters, digits and signs"),
        ("a/b", "expected up to 40 letters"),
        (".hidden", "expected up to 40 letters"),
        ("", "expected up to 40 letters"),
        ("two words", "expected up to 40 letters"),
        ("x" * 41, "expected up to 40 letters"),
        ("zrr", "zrr is a dataset of this package; expected a name of your own data"),
        ("SIDD-standin", "sidd is a dataset of this package"),
        ("raw-pairs", "raw-pairs is a dataset of this package"),
    ],
)
def test_names_that_no_data_can_have(root: Path, tmp_path: Path, zoo_bench, name: str, words: str) -> None:
    flags = ("--data-root", root, "--pairs", RULE, "--cfa", "RGGB", "--black", 256, "--white", 4092, "--name", name)
    outcome = zoo_bench("run", "--dataset", "raw-pairs", *flags, "-o", tmp_path / "out")
    assert (outcome.code, outcome.err.count("\n"), words in outcome.err) == (2, 1, True)
    assert not (tmp_path / "out").exists()


def test_the_command_of_the_readme(root: Path, tmp_path: Path, zoo_bench) -> None:
    flags = ("--data-root", root, "--pairs", RULE, "--cfa", "rggb", "--black", 256, "--white", 4092, "--name", "mine")
    common = ("--models", "bilinear", "--sizes", "none", "-o", tmp_path / "out")
    outcome = zoo_bench("run", "--dataset", "raw-pairs", *flags, *common, "--json")
    assert outcome.code == 0, outcome.err
    (record,) = json.loads(outcome.out)["results"]
    assert (record["dataset"], record["n"], record["spec"]["protocol"]) == ("raw-pairs (mine)", 2, "raw-pairs-v1")
    scores = evaluate("bilinear", "raw-pairs", data_root=root, pairs=RULE, **SENSOR)
    mean = sum(one["scores"]["psnr[rgb]"] for one in scores) / 2
    assert record["measurements"]["psnr[rgb]"]["value"] == pytest.approx(mean)


def test_training_takes_mosaics_of_ones_own(root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: bilinear_colour\ndataset: raw-pairs\ndata_root: {root}\npairs: '{RULE}'\ncfa: RGGB\nblack: 256\n"
        "white: 4092\ndata_name: mine\nmax_steps: 2\nbatch_size: 2\ncrop: 16\nlr: 1.0e-3\n"
    )
    document = train(recipe, tmp_path / "run", overrides={"threads": 1, "workers": 0})
    assert document["steps"] == 2
    record = run(root, tmp_path / "out", models="bilinear_colour", name="mine",
                 weights={"bilinear_colour": str(tmp_path / "run" / "weights.safetensors")})  # fmt: skip
    assert (record.evidence, record.status) == ("trained", "ok")
