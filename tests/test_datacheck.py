"""``data check``: a sound folder passes, and every defect is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmark.datacheck.checking import check_dataset
from benchmark.datacheck.views import compare_views
from benchmark.datasets import sidd
from benchmark.datasets import zrr as loader
from benchmark.datasets.pairs import open_pairs
from benchmark.imaging.duplicates import MAX_BITS, MIN_CORRELATION, ImageHashes, near_duplicates, perceptual_hash
from benchmark.standin import zrr as standin
from benchmark.standin.cache import MARKER
from benchmark.standin.photographs import TEST_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS
from tests.deep_images import png16, tiff16
from zoo.errors import UserError

COUNTS = {"train": 5, "test": 4}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Write a stand-in with patches large enough for the short way of decoding."""
    folder = tmp_path_factory.mktemp("sound") / "zrr"
    plan = standin.PairPlan(
        **COUNTS, size=256, train_photographs=TRAIN_PHOTOGRAPHS[:2], test_photographs=TEST_PHOTOGRAPHS[:1]
    )
    standin.STANDIN.write(folder, seed=3, plan=plan)
    return folder


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(sound, tmp_path, monkeypatch):
    """Copy it without its marker: taken for the real dataset."""
    monkeypatch.setattr(loader, "PUBLISHED_COUNTS", COUNTS)
    monkeypatch.setattr("benchmark.datacheck.plans.ZRR_PATCH", (256, 256))
    folder = tmp_path / "zrr data ü"
    shutil.copytree(sound, folder)
    (folder / MARKER).unlink()
    return folder


def raw(root, number, split="test"):
    return root / split / "huawei_raw" / f"{number}.png"


def target(root, number, split="test"):
    return root / split / "canon" / f"{number}.jpg"


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def save(path, array, **options):
    Image.fromarray(np.ascontiguousarray(array)).save(path, **options)


def no_utf8(folder, suffix=b""):
    """Return a path in ``folder`` whose name is no UTF-8."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/\xff" + suffix))


def make_file(path):
    """Make an empty file, or skip the test where the file system takes no such name."""
    try:
        path.write_bytes(b"")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")


def found(root):
    """Return the kind and file of every problem."""
    return [(problem["kind"], problem["file"]) for problem in check_dataset("zrr", root)["problems"]]


def only(root, kind, file, *parts, name="zrr"):
    """Assert that there is one problem, of this kind, with this file, whose words have these parts."""
    problems = check_dataset(name, root)["problems"]
    assert [(problem["kind"], problem["file"]) for problem in problems] == [(kind, str(file))]
    for part in parts:
        assert part in f"{problems[0]['what']}; expected {problems[0]['expected']}"


# A sound dataset


def test_sound_dataset_passes(root):
    document = check_dataset("zrr", root)
    assert document["problems"] == []
    assert (document["dataset"], document["ok"], document["files"]) == ("zrr", True, 18)
    files = [*root.glob("*/huawei_raw/*"), *root.glob("*/canon/*")]
    assert document["bytes"] == sum(path.stat().st_size for path in files)
    assert document["cfa"]["votes"].get("RGGB", 0) >= 7
    assert set(document["cfa"]["votes"]) <= {"RGGB", "unclear"}
    assert json.loads(json.dumps(document)) == document


def test_standin_passes_by_its_marker(sound):
    document = check_dataset("zrr-standin", sound)
    assert (document["dataset"], document["ok"]) == ("zrr-standin", True)


def test_result_does_not_depend_on_workers(root, tmp_path, monkeypatch):
    documents = []
    for workers in (1, 4):
        monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / f"cache{workers}"))
        documents.append(check_dataset("zrr", root, workers=workers))
    assert documents[0] == documents[1]


def test_manifest_lists_every_file_and_its_digest_is_reported(root, tmp_path):
    document = check_dataset("zrr", root, manifest=tmp_path / "manifest")
    content = (tmp_path / "manifest").read_bytes()
    assert sha256(content).hexdigest() == document["manifest_digest"]
    lines = dict(reversed(line.split("  ", 1)) for line in content.decode().splitlines())
    assert len(lines) == 18
    path = "test/canon/0.jpg"
    assert lines[path] == sha256((root / path).read_bytes()).hexdigest()
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", str(tmp_path / "manifest")], cwd=root, check=True)


def test_unchanged_files_are_remembered_and_changed_ones_read_again(root):
    first = check_dataset("zrr", root)
    second = check_dataset("zrr", root)
    assert (first["remembered"], second["remembered"]) == (0, 18)
    assert {**first, "remembered": 18} == second
    content = bytearray(target(root, 1).read_bytes())
    before = target(root, 1).stat()
    content[-300] ^= 1
    target(root, 1).write_bytes(content)
    os.utime(target(root, 1), ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    third = check_dataset("zrr", root)
    assert third["remembered"] == 16
    assert third["manifest_digest"] != first["manifest_digest"]


def test_unwritable_cache_is_done_without(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "file"))
    assert [check_dataset("zrr", root)["remembered"] for _ in range(2)] == [0, 0]


# Layout


def test_empty_folder_and_no_folder(tmp_path):
    problems = check_dataset("zrr", tmp_path)["problems"]
    assert {problem["file"] for problem in problems} >= {str(tmp_path / "test" / "huawei_raw")}
    assert any("1204 files" in problem["expected"] for problem in problems)
    with pytest.raises(UserError, match="no folder at"):
        check_dataset("zrr", tmp_path / "none")
    with pytest.raises(UserError, match="no dataset called 'zr'"):
        check_dataset("zr", tmp_path)


def test_file_without_partner(root):
    target(root, 3).unlink()
    problems = check_dataset("zrr", root)["problems"]
    assert [(problem["kind"], problem["file"]) for problem in problems] == [
        ("count", str(root / "test" / "canon")),
        ("partner", str(raw(root, 3))),
    ]
    assert problems[0]["what"] == "3 files, without 3.jpg"
    assert problems[1]["expected"] == str(target(root, 3))


@pytest.mark.parametrize("name", ["cat.png", "01.png", "7.png", "0.PNG", "1 (copy).png", "²3.png"])
def test_wrong_name(root, name):
    shutil.copy(raw(root, 0, "train"), root / "test" / "huawei_raw" / name)
    folder = root / "test" / "huawei_raw"
    assert found(root) == [("name", str(folder / name)), ("count", str(folder))]


def test_hidden_and_other_files_are_no_part_of_it(root):
    (root / "test" / "huawei_raw" / "._0.png").write_text("")
    (root / "test" / "huawei_raw" / "Thumbs.db").write_text("")
    assert check_dataset("zrr", root)["ok"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_that_lead_nowhere(root):
    raw(root, 2).unlink()
    raw(root, 2).symlink_to(raw(root, 2))
    assert {("name", str(raw(root, 2))), ("partner", str(target(root, 2)))} <= set(found(root))


# Single files


@pytest.mark.parametrize("keep", [0, 100, 0.5, -10])
@pytest.mark.parametrize("where", [raw, target])
def test_truncated_file(root, where, keep):
    path = where(root, 1)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    only(root, "damaged", path, "expected a complete file: 8")


def test_file_of_another_format(root):
    target(root, 1).write_bytes(b"<html>not found</html>")
    only(root, "damaged", target(root, 1), "is not a complete JPEG file", "8-bit RGB JPEG")


def test_counts_above_ten_bits(root):
    save(raw(root, 1), read(raw(root, 1)).astype(np.uint16) * 64)
    only(root, "range", raw(root, 1), "counts up to", "at most 1023, unscaled")


def test_counts_cut_to_eight_bits(root):
    counts = read(raw(root, 0))
    assert np.mean(counts >= 255) > 0.01
    save(raw(root, 0), counts.clip(0, 255).astype(np.uint8))
    only(root, "range", raw(root, 0), "8-bit mosaic at 255")


@pytest.mark.parametrize(("mode", "words"), [("RGB", "8-bit RGB PNG"), ("LA", "gray with alpha"), ("1", "1-bit gray")])
def test_mosaic_of_another_kind(root, mode, words):
    with Image.open(target(root, 1)) as image:
        image.convert(mode).save(raw(root, 1))
    only(root, "depth", raw(root, 1), words, "8/16-bit gray PNG")


@pytest.mark.parametrize(("mode", "words"), [("L", "gray JPEG"), ("CMYK", "CMYK JPEG")])
def test_target_of_another_kind(root, mode, words):
    with Image.open(target(root, 1)) as image:
        image.convert(mode).save(target(root, 1))
    only(root, "depth", target(root, 1), words, "8-bit RGB JPEG")


def test_black_frames(root):
    noise = np.random.default_rng(0).integers(60, 69, (256, 256)).astype(np.uint8)
    save(raw(root, 1), noise)
    save(target(root, 2), np.zeros((256, 256, 3), np.uint8))
    assert found(root) == [("black", str(raw(root, 1))), ("black", str(target(root, 2)))]


def test_sizes(root):
    save(raw(root, 1), read(raw(root, 1))[:-1])
    kinds = [(p["file"], p["expected"]) for p in check_dataset("zrr", root)["problems"]]
    assert (str(raw(root, 1)), "256x256") in kinds
    assert (str(raw(root, 1)), "an even height and width: whole 2x2 blocks") in kinds
    assert (str(target(root, 1)), "255x256, as its partner 1.png") in kinds


def test_file_that_is_not_the_markers(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "zrr")
    pixels = read(target(tmp_path / "zrr", 1))
    save(target(tmp_path / "zrr", 1), pixels, quality=90)
    only(tmp_path / "zrr", "content", target(tmp_path / "zrr", 1), "marker")


# Pairs and splits


@pytest.mark.parametrize(("row", "column", "phase"), [(0, 1, "GRBG"), (1, 0, "GBRG"), (1, 1, "BGGR")])
def test_shifted_colour_filter_is_seen(root, row, column, phase):
    for split, count in COUNTS.items():
        for number in range(count):
            save(raw(root, number, split), np.roll(read(raw(root, number, split)), (-row, -column), axis=(0, 1)))
    only(root, "cfa", root, f"looks like {phase} in", "expected RGGB")


def test_a_single_mosaic_with_another_filter_is_named_but_no_problem(root, zoo_bench):
    path = raw(root, 0)
    save(path, np.roll(read(path), 1, axis=1))
    document = check_dataset("zrr", root)
    assert document["ok"]
    assert document["cfa"]["others"] == [{"file": str(path), "phase": "GRBG"}]
    outcome = zoo_bench("data", "check", "zrr", "--data-root", root)
    assert (outcome.code, outcome.out.startswith(f"{path}: looks like GRBG; this is no problem by itself")) == (0, True)


def test_a_root_that_is_no_utf8_is_printed(root, tmp_path, zoo_bench):
    other = no_utf8(tmp_path)
    make_file(other)
    other.unlink()
    root.rename(other)
    shutil.copy(target(other, 0, "train"), target(other, 1))
    shutil.copy(raw(other, 0, "train"), raw(other, 1))
    outcome = zoo_bench("data", "check", "zrr", "--data-root", other)
    assert (outcome.code, "the same bytes as" in outcome.out) == (1, True)


def test_turned_targets_are_seen(root):
    for split, count in COUNTS.items():
        for number in range(count):
            save(target(root, number, split), read(target(root, number, split))[::-1, ::-1])
    problems = check_dataset("zrr", root)["problems"]
    assert "targets are turned by 180" in next(p["what"] for p in problems if p["kind"] == "orientation")


def test_exchanged_targets_are_seen(root):
    first, second = target(root, 0, "train"), target(root, 1, "train")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert found(root) == [("mismatch", str(raw(root, 0, "train"))), ("mismatch", str(raw(root, 1, "train")))]


def test_images_in_train_and_test(root):
    shutil.copy(raw(root, 2, "train"), raw(root, 0))
    shutil.copy(target(root, 2, "train"), target(root, 0))
    shutil.copy(raw(root, 3, "train"), raw(root, 1))
    brighter = (read(target(root, 3, "train")).astype(float) * 0.8).astype(np.uint8)
    save(target(root, 1), np.roll(brighter, 2, axis=1), quality=70)
    problems = check_dataset("zrr", root)["problems"]
    assert [(p["kind"], p["file"]) for p in problems] == [
        ("duplicate", str(target(root, 0))),
        ("near-duplicate", str(target(root, 1))),
    ]
    assert str(target(root, 3, "train")) in problems[1]["what"]


def smooth(seed, size=32):
    random = np.random.default_rng(seed)
    waves = np.cumsum(np.cumsum(random.standard_normal((size, size)), 0), 1)
    return np.exp((waves - waves.mean()) / waves.std() / 2)


def test_hash_is_that_of_mosaic_and_photograph_and_far_from_others():
    hashes = [perceptual_hash(100 * smooth(seed)) for seed in range(60)]
    for seed, (hash, thumbnail) in enumerate(hashes[:10]):
        # Brighter, with a tone curve and a little noise.
        image = 3.5 * smooth(seed) ** 0.7 * np.random.default_rng(0).normal(1, 0.005, (32, 32))
        again, near = perceptual_hash(100 * image)
        assert bin(hash ^ again).count("1") <= MAX_BITS
        assert np.corrcoef(thumbnail, near)[0, 1] > MIN_CORRELATION
    one, other = ImageHashes(), ImageHashes()
    for index, (hash, thumbnail) in enumerate(hashes):
        (one if index < 30 else other).add(str(index), hash, thumbnail.tobytes())
    assert list(near_duplicates(one, other)) == []
    other.add("again", hashes[7][0] ^ 3, hashes[7][1].tobytes())
    assert [pair[:3] for pair in near_duplicates(one, other)] == [("7", "again", 2)]
    assert perceptual_hash(np.full((32, 32), 9.0)) is None


def test_pictures_without_colour_or_contrast_do_not_vote():
    flat = compare_views(np.full((32, 32, 4), 100.0), np.full((32, 32, 3), 100.0))
    assert flat == {"phase": None, "orientation": None, "likeness": None}
    gray = smooth(1)[..., None] * 50
    votes = compare_views(np.repeat(gray, 4, axis=2), np.repeat(gray.clip(0, 255), 3, axis=2))
    assert votes["phase"] is None
    assert votes["likeness"] > 0.9


# The other datasets and the command


def test_pairs_are_checked(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("input", "target"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        for number in range(3):
            save(tmp_path / "mine" / folder / f"{number}.png", random.integers(0, 255, (40, 50, 3), np.uint8))
    assert check_dataset("pairs", tmp_path / "mine")["files"] == 6
    save(tmp_path / "mine" / "target" / "1.png", np.zeros((40, 50, 3), np.uint8))
    only(tmp_path / "mine", "black", tmp_path / "mine" / "target" / "1.png", "every pixel is 0", name="pairs")


def test_sixteen_bit_pairs_are_judged_by_their_own_scale(tmp_path):
    """Their upper bytes alone, against a limit of 16 bits, made every one of them a black frame."""
    array = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    for folder in ("input", "target"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        (tmp_path / "mine" / folder / "1.png").write_bytes(png16(array))
        (tmp_path / "mine" / folder / "2.tif").write_bytes(tiff16(array))
    assert check_dataset("pairs", tmp_path / "mine")["problems"] == []
    path = tmp_path / "mine" / "target" / "2.tif"
    path.write_bytes(tiff16(array // 400))
    only(tmp_path / "mine", "black", path, "a black frame", name="pairs")


def test_every_defect_of_pairs_is_listed(tmp_path):
    """One file without partner does not hide what is wrong with the others."""
    root = tmp_path / "mine"
    random = np.random.default_rng(0)
    for folder in ("input", "target"):
        (root / folder).mkdir(parents=True)
        for number in range(6):
            save(root / folder / f"{number}.png", random.integers(0, 255, (40, 50, 3), np.uint8))
    (root / "target" / "0.png").unlink()
    (root / "input" / "1.png").unlink()
    (root / "target" / "2.png").write_bytes(b"")
    save(root / "input" / "3.png", np.zeros((40, 50, 3), np.uint8))
    save(root / "target" / "4.png", np.zeros((40, 50), np.uint8))
    os.symlink("7.png", root / "input" / "7.png")
    shutil.copy(root / "target" / "5.png", root / "target" / "5.jpg")
    make_file(no_utf8(root / "input", b".png"))
    problems = check_dataset("pairs", root)["problems"]
    assert {(problem["kind"], problem["file"].removeprefix(f"{root}/")) for problem in problems} == {
        ("partner", "input/0.png"),
        ("partner", "target/1.png"),
        ("damaged", "target/2.png"),
        ("black", "input/3.png"),
        ("depth", "target/4.png"),
        ("name", "input/7.png"),
        ("name", "target/5.jpg"),
        ("name", "input/\\xff.png"),
    }
    with pytest.raises(UserError, match=r"is a link to nothing or to itself \(and 4 more\); expected a picture"):
        open_pairs(root)


def test_sidd_folders_are_checked(tmp_path):
    scene = tmp_path / "sidd" / "Data" / "0001_001_S6_00100_00060_3200_L"
    scene.mkdir(parents=True)
    random = np.random.default_rng(0)
    for side in ("NOISY", "GT"):
        save(scene / f"{side}_SRGB_010.PNG", random.integers(0, 255, (64, 48, 3), np.uint8))
    problems = check_dataset("sidd", tmp_path / "sidd")["problems"]
    assert [(p["kind"], p["expected"]) for p in problems] == [("count", "160")]
    (scene / "GT_SRGB_010.PNG").write_bytes(b"")
    assert "damaged" in {p["kind"] for p in check_dataset("sidd", tmp_path / "sidd")["problems"]}


def test_every_defect_of_sidd_folders_is_listed(tmp_path):
    random = np.random.default_rng(0)
    for number in (1, 2, 3):
        scene = tmp_path / "sidd" / "Data" / f"{number:04}_001_S6_00100_00060_3200_L"
        scene.mkdir(parents=True)
        for side in ("NOISY", "GT"):
            for frame in ("010", "011"):
                path = scene / f"{number:04}_{side}_SRGB_{frame}.PNG"
                save(path, random.integers(0, 255, (64, 48, 3), np.uint8))
    (scene / "0003_GT_SRGB_010.PNG").unlink()
    (scene / "0003_NOISY_SRGB_011.PNG").rename(scene / "0004_NOISY_SRGB_011.PNG")
    black = tmp_path / "sidd" / "Data" / "0001_001_S6_00100_00060_3200_L" / "0001_GT_SRGB_010.PNG"
    save(black, np.zeros((64, 48, 3), np.uint8))
    problems = check_dataset("sidd", tmp_path / "sidd")["problems"]
    assert sorted((problem["kind"], Path(problem["file"]).name) for problem in problems) == [
        ("black", "0001_GT_SRGB_010.PNG"),
        ("count", "Data"),
        ("name", "0004_NOISY_SRGB_011.PNG"),
        ("partner", "0003_GT_SRGB_011.PNG"),
        ("partner", "0003_NOISY_SRGB_010.PNG"),
    ]


def test_black_blocks_and_blocks_without_noise_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sidd, "PUBLISHED_IMAGES", 2)
    monkeypatch.setattr(sidd, "BLOCKS", 2)
    monkeypatch.setattr(sidd, "BLOCK", (8, 8, 3))
    blocks = np.random.default_rng(0).integers(1, 255, (2, 2, 2, 8, 8, 3), np.uint8)
    blocks[0, 1, 0], blocks[0, 0, 1] = 0, blocks[1, 0, 1]
    for stem, side in zip(("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"), blocks):
        savemat(tmp_path / f"{stem}.mat", {stem: side})
    noisy = str(tmp_path / "ValidationNoisyBlocksSrgb.mat")
    assert [(p["kind"], p["file"], p["what"]) for p in check_dataset("sidd", tmp_path)["problems"]] == [
        ("black", noisy, "block 0 of image 1: every pixel is 0"),
        ("mismatch", noisy, "block 1 of image 0: the same pixels as its target"),
    ]


def test_damaged_and_missing_block_files_are_named(tmp_path):
    (tmp_path / "validationnoisyblockssrgb.mat").write_bytes(b"no MATLAB file, but long enough" * 9)
    savemat(tmp_path / "BenchmarkNoisyBlocksSrgb.mat", {"BenchmarkNoisyBlocksSrgb": np.zeros((2, 2), np.uint8)})
    problems = check_dataset("sidd", tmp_path)["problems"]
    assert [(problem["kind"], Path(problem["file"]).name) for problem in problems] == [
        ("damaged", "validationnoisyblockssrgb.mat"),
        ("damaged", "BenchmarkNoisyBlocksSrgb.mat"),
        ("partner", "validationnoisyblockssrgb.mat"),
    ]
    assert problems[0]["what"].startswith("is damaged or no MATLAB file")
    assert problems[1]["what"].startswith("holds uint8 2x2; expected uint8 40x32x256x256x3")


def test_jpeg_whose_end_is_zeros_is_damaged(root):
    path = target(root, 1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    only(root, "damaged", path, "the end marker is missing")


def test_file_of_the_same_size_and_time_is_read_again(root):
    """As copying tools leave it that set times."""
    path = target(root, 1)
    check_dataset("zrr", root)
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-2] + b"\0\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    only(root, "damaged", path)


def test_names_that_are_no_utf8_are_named(root, zoo_bench):
    make_file(no_utf8(root / "test" / "canon", b".jpg"))
    for options in ((), ("--json",)):
        outcome = zoo_bench("data", "check", "zrr", "--data-root", root, *options)
        assert outcome.code == 1
        assert "canon/\\xff.jpg" in outcome.out.replace("\\\\", "\\")


def test_command_lists_problems_and_exits_with_1(root, zoo_bench):
    outcome = zoo_bench("data", "check", "zrr", "--data-root", root)
    assert (outcome.code, outcome.out.count("\n")) == (0, 1)
    assert outcome.out.startswith("zrr: no problems in 18 files")
    target(root, 1).write_bytes(b"")
    outcome = zoo_bench("data", "check", "zrr", "--data-root", root)
    assert outcome.code == 1
    assert outcome.out.splitlines()[0].startswith(f"{target(root, 1)}: ")
    assert outcome.out.splitlines()[-1].startswith("zrr: 1 problem in 18 files")
    outcome = zoo_bench("data", "check", "zrr", "--data-root", root, "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["ok"], document["dataset"], document["files"]) == (1, False, "zrr", 18)
    assert document["problems"][0]["file"] == str(target(root, 1))
    assert len(document["manifest_digest"]) == 64
    assert zoo_bench("data", "check", "zrr", "--data-root", root / "none").code == 2


def test_unused_bits_hot_pixels_and_orientations_are_remarks(tmp_path, zoo_bench):
    exif = Image.Exif()
    exif[274] = 3
    for folder, suffix, more in (("input", "png", {}), ("target", "tif", {"exif": exif})):
        (tmp_path / folder).mkdir()
        pixels = np.random.RandomState(len(folder)).randint(0, 256, (64, 72, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / f"a.{suffix}", **more)
        deep = pixels.astype(np.uint16) * 4
        deep[4, 4] = 2000
        (tmp_path / folder / "b.png").write_bytes(png16(deep))

    def remarks(**options):
        document = check_dataset("pairs", tmp_path, **options)
        assert document["ok"]
        return {f"{Path(remark['file']).name} {remark['kind']}": remark["what"] for remark in document["remarks"]}

    plain = remarks()
    assert plain.pop("a.tif orientation").startswith("its orientation is 3, that of its partner")
    assert [what.partition(":")[0] for what in plain.values()] == [
        f"the {side} side has a range of 10 bits in all its 16-bit files (1), at most 1023 of 65535"
        for side in ("input", "target")
    ]
    # Another white level is measured, not remembered.
    for white, count in ((1023, 3), (1999, 3), (2000, 0)):
        found = remarks(white=white)
        clipped = f"{count} counts above white {white}, up to 2000, clipped to it"
        assert found.get("b.png hot pixels", clipped) == clipped
        assert ("b.png hot pixels" in found) == bool(count)
    problems = check_dataset("pairs", tmp_path, white=511)["problems"]
    assert {problem["kind"] for problem in problems} == {"range"}
    outcome = zoo_bench("data", "check", "pairs", "--data-root", tmp_path)
    assert (outcome.code, outcome.out.count("remark: ")) == (0, 3)


def test_a_hot_pixel_of_a_mosaic_is_a_remark(root):
    counts = read(raw(root, 1)).astype(np.uint16)
    counts[5, 6] = 5000
    save(raw(root, 1), counts)
    document = check_dataset("zrr", root)
    assert (document["ok"], [remark["kind"] for remark in document["remarks"]]) == (True, ["hot pixels"])
