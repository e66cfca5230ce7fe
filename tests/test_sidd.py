"""SIDD as it is on disk: blocks in both MATLAB formats, Medium and Small folders, and every defect named."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from benchmark.datasets import DATASETS
from benchmark.datasets import sidd as loader
from benchmark.imaging.matfiles import read_variable
from benchmark.opening import open_dataset
from benchmark.standin.cache import MARKER
from zoo.errors import UserError

NOISY, TARGET, BENCHMARK = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb", "BenchmarkNoisyBlocksSrgb"
SHAPE = (2, 3, 8, 6, 3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Take two images of three blocks, 8x6, and two folders for the whole dataset."""
    monkeypatch.setattr(loader, "PUBLISHED_IMAGES", 2)
    monkeypatch.setattr(loader, "BLOCKS", 3)
    monkeypatch.setattr(loader, "BLOCK", (8, 6, 3))
    monkeypatch.setattr(loader, "PUBLISHED_MEDIUM", (2, 4))
    monkeypatch.setattr(loader, "PUBLISHED_SMALL", (3, 3))


@pytest.fixture
def blocks():
    return np.random.RandomState(0).randint(0, 256, size=(2, *SHAPE)).astype(np.uint8)


@pytest.fixture
def root(tmp_path, blocks):
    savemat(tmp_path / f"{NOISY}.mat", {NOISY: blocks[0]})
    savemat(tmp_path / f"{TARGET}.mat", {TARGET: blocks[1]}, do_compression=True)
    return tmp_path


def open_split(root, split="validation"):
    return loader.open_sidd(root, split)


def refuse(root, split, *parts):
    with pytest.raises(UserError) as caught:
        list(open_split(root, split))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_card_states_the_protocol():
    card = DATASETS.get("sidd")
    assert (card.task, card.default_split) == ("denoise_rgb", "validation")
    assert card.splits == ("validation", "train", "train-fit", "train-select")
    assert card.plane_size == (256, 256)
    assert card.full_size == (3072, 4096)
    assert card.protocol.round_uint8
    assert card.protocol.metrics == ("psnr[rgb]", "ssim[gaussian11,rgb]", "ssim[matlab3d,rgb]")


# --- blocks -------------------------------------------------------------------------------------------------


def check_blocks(dataset, blocks):
    assert (dataset.name, dataset.split, len(dataset)) == ("sidd", "validation", 6)
    assert list(dataset.ids) == ["0", "1", "2", "3", "4", "5"]
    for index, sample in enumerate(dataset):
        expected = blocks[:, index // 3, index % 3]
        assert sample.input.dtype == torch.float32
        for tensor, pixels in zip((sample.input, sample.target), expected):
            np.testing.assert_array_equal((tensor[0].permute(1, 2, 0) * 255).round().numpy(), pixels)


def test_blocks_are_numbered_row_by_row(root, blocks):
    check_blocks(open_split(root), blocks)


def test_names_are_matched_without_case_and_one_folder_down(tmp_path, blocks):
    (tmp_path / "blocks").mkdir()
    savemat(tmp_path / "blocks" / "validationnoisyblockssrgb.MAT", {"VALIDATIONNoisyBlocksSrgb": blocks[0]}, False)
    savemat(tmp_path / "blocks" / "ValidationGTBlocksSrgb.mat", {"ValidationGTBlocksSrgb": blocks[1]})
    check_blocks(open_split(tmp_path), blocks)


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("header", [0, 512])
def test_v73_has_reversed_axes(tmp_path, root, blocks, reverse, header):
    before = open_split(root).digest()
    for name, array in zip((NOISY, TARGET), blocks):
        with h5py.File(tmp_path / f"{name}.mat", "w", userblock_size=header) as file:
            file[name.swapcase()] = array.transpose() if reverse else array
            file["#refs#"] = [1]
    dataset = open_split(tmp_path)
    check_blocks(dataset, blocks)
    assert dataset.digest() == before


def test_digest_covers_the_first_blocks_only(root, blocks):
    first, whole = open_split(root).digest(4), open_split(root).digest()
    blocks[0, 1, 2] = 0
    savemat(root / f"{NOISY}.mat", {NOISY: blocks[0]})
    assert open_split(root).digest(4) == first
    assert open_split(root).digest() == open_split(root).digest(99) != whole


def test_wrong_variable_names_what_is_inside(root):
    savemat(root / f"{NOISY}.mat", {"im_noisy": np.zeros((4, 5, 3), np.uint8), "x": 1})
    refuse(root, "validation", f"{NOISY}.mat has no variable '{NOISY}'", "it holds im_noisy 4x5x3, x 1x1")
    with h5py.File(root / f"{NOISY}.mat", "w") as file:
        file["im_noisy"] = np.zeros((3, 5, 4))
    refuse(root, "validation", f"has no variable '{NOISY}'", "it holds im_noisy 3x5x4")
    with h5py.File(root / f"{NOISY}.mat", "w") as file:
        file.create_group(NOISY)
    refuse(root, "validation", f"{NOISY}.mat holds a structure called '{NOISY}'; expected numbers")


@pytest.mark.parametrize("keep", [0, 60, 200, 300, -40])
def test_corrupt_mat_is_named(root, keep):
    path = root / f"{TARGET}.mat"
    path.write_bytes(path.read_bytes()[:keep])
    refuse(root, "validation", f"sidd: {path} is damaged or no MATLAB file")


def test_corrupt_v73_is_named(root):
    (root / f"{NOISY}.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    refuse(root, "validation", f"{NOISY}.mat is damaged or no MATLAB file")


def test_links_in_v73_are_not_followed(root):
    for link in (h5py.SoftLink(f"/{NOISY}"), h5py.ExternalLink(f"{NOISY}.mat", f"/{NOISY}"), h5py.SoftLink("/none")):
        with h5py.File(root / f"{NOISY}.mat", "w") as file:
            file[NOISY] = link
        refuse(root, "validation", f"{NOISY}.mat has no variable '{NOISY}'; it holds nothing")


def test_a_variable_is_looked_at_before_it_takes_memory(root):
    with h5py.File(root / f"{NOISY}.mat", "w") as file:
        file.create_dataset(NOISY, shape=(10**6, 10**6, 100), dtype="u1", chunks=(64, 64, 1))
    refuse(root, "validation", f"{NOISY}.mat holds uint8 100x1000000x1000000; expected uint8 2x3x8x6x3")


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((1, 3, 8, 6, 3), np.uint8), "uint8 1x3x8x6x3"),
        (np.zeros(SHAPE, np.float64), "float64 2x3x8x6x3"),
        (np.zeros((2, 3, 8, 6), np.uint8), "uint8 2x3x8x6"),
    ],
)
def test_other_shapes_and_types_are_refused(root, array, found):
    savemat(root / f"{TARGET}.mat", {TARGET: array})
    refuse(root, "validation", f"{TARGET}.mat holds {found}; expected uint8 2x3x8x6x3")


def test_missing_file_and_folder(root, tmp_path):
    (root / f"{TARGET}.mat").unlink()
    refuse(root, "validation", f"sidd: no {TARGET}.mat in {root}", "Download")
    refuse(tmp_path / "none", "validation", f"no {NOISY}.mat")


def test_benchmark_has_no_target(root, blocks):
    savemat(root / f"{BENCHMARK}.mat", {BENCHMARK: blocks[0]})
    benchmark = loader.SiddBenchmark(root)
    assert (len(benchmark), benchmark.num_images, benchmark[4].id) == (6, 2, "4")
    assert not hasattr(benchmark[4], "target")
    np.testing.assert_array_equal((benchmark[4].input[0] * 255).round().permute(1, 2, 0), blocks[0, 1, 1])
    refuse(root, "benchmark", "no public targets", "zoo-bench submit")
    refuse(root, "test", "unknown split 'test'; expected one of validation, train")


# --- folders ------------------------------------------------------------------------------------------------

FOLDERS = ("0001_001_S6_00100_00060_3200_L", "0034_002_GP_00100_00160_3200_N")


def write_png(path, value=0, size=(8, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], tuple([value] * len(mode)) if len(mode) > 1 else value).save(path, format="PNG")


@pytest.fixture
def medium(tmp_path):
    root = tmp_path / "SIDD_Medium_Srgb"
    for number, folder in enumerate(FOLDERS):
        for frame in ("010", "011"):
            stem = root / "Data" / folder / folder[:4]
            write_png(Path(f"{stem}_NOISY_SRGB_{frame}.PNG"), 10 * number + int(frame))
            write_png(Path(f"{stem}_GT_SRGB_{frame}.PNG"), 100 * number)
    (root / "Data" / "ReadMe_sRGB.txt").write_text("")
    return root


@pytest.fixture
def small_folders(tmp_path):
    root = tmp_path / "SIDD_Small_sRGB_Only"
    for number, folder in enumerate(FOLDERS):
        write_png(root / "Data" / folder / "NOISY_SRGB_010.PNG", number, size=(8, 6 + number))
        write_png(root / "Data" / folder / "GT_SRGB_010.PNG", 2 * number, size=(8, 6 + number))
    return root


def test_medium_folders_are_read_from_any_level(medium):
    for root in (medium, medium.parent, medium / "Data"):
        dataset = open_split(root, "train")
        assert list(dataset.ids) == ["0001_010", "0001_011", "0034_010", "0034_011"]
        assert dataset.provenance == {"standin": False, "layout": "medium", "pairs": 4, "published_pairs": 4}
    sample = dataset[3]
    assert sample.input.shape == (1, 3, 8, 6)
    assert (sample.input.max() * 255).round().item() == 21
    assert (sample.target.max() * 255).round().item() == 100
    assert dataset.notes == []


def test_incomplete_medium_is_refused(medium):
    for path in (medium / "Data" / FOLDERS[1]).glob("*_011.PNG"):
        path.unlink()
    refuse(medium, "train", "has 3 pairs in 2 folders", "expected 4 pairs in 2 folders, the whole of SIDD-Medium")


@pytest.mark.parametrize("partial", [False, True])
def test_a_part_of_small_is_opened_and_says_so(small_folders, partial: bool):
    dataset = loader.open_sidd(small_folders, "train", partial=partial)
    assert list(dataset.ids) == ["0001_010", "0034_010"]
    about = {"standin": False, "layout": "small", "pairs": 2, "published_pairs": 3, "part": "2 of 3"}
    assert dataset.provenance == about
    assert "2 of 3 train images are there" in dataset.notes[0]
    assert [sample.input.shape[-1] for sample in dataset] == [6, 7]
    first, whole = dataset.digest(1), dataset.digest()
    write_png(dataset.paths("0034_010")[0], 99, size=(8, 7))
    assert loader.open_sidd(small_folders, "train", partial=True).digest(1) == first
    assert loader.open_sidd(small_folders, "train", partial=True).digest() != whole


def test_both_layouts_in_one_folder_are_ambiguous(medium, small_folders):
    refuse(medium.parent, "train", str(medium), str(small_folders), "--data-root")


def test_missing_target_is_named(medium, small_folders):
    path = medium / "Data" / FOLDERS[0] / "0001_GT_SRGB_011.PNG"
    path.unlink()
    refuse(medium, "train", "0001_NOISY_SRGB_011.PNG has no partner", "GT")
    (small_folders / "Data" / FOLDERS[0] / "NOISY_SRGB_010.PNG").unlink()
    refuse(small_folders, "train", "GT_SRGB_010.PNG has no partner")
    (small_folders / "Data" / FOLDERS[0] / "GT_SRGB_010.PNG").unlink()
    refuse(small_folders, "train", f"{FOLDERS[0]} has no NOISY_SRGB pictures")


def test_file_of_another_scene_is_named(medium):
    folder = medium / "Data" / FOLDERS[0]
    (folder / "0001_GT_SRGB_011.PNG").rename(folder / "0002_GT_SRGB_011.PNG")
    refuse(medium, "train", "0002_GT_SRGB_011.PNG belongs to another scene", "0001")


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda path: write_png(path, size=(8, 8)), "has 8x8 pixels"),
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "damaged or cut off"),
        (lambda path: path.write_bytes(b""), "is not a complete PNG file"),
        (lambda path: write_png(path, mode="L"), "is a gray PNG; expected RGB"),
        (lambda path: write_png(path, mode="RGBA"), "is a RGB with alpha PNG; expected RGB"),
    ],
)
def test_damaged_picture_is_named(medium, damage, part):
    path = medium / "Data" / FOLDERS[0] / "0001_GT_SRGB_011.PNG"
    damage(path)
    refuse(medium, "train", str(path), part)


def test_no_scenes(tmp_path):
    refuse(tmp_path, "train", f"no scene folders like 0001_001_S6_00100_00060_3200_L in {tmp_path}")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"name": "zrr-standin"}', "holds the stand-in 'zrr-standin'"),
        ('{"name": "sidd-standin", "version": 1, "seed": 0, "sources": ""}', "no usable entry (KeyError('counts'))"),
    ],
)
def test_foreign_marker_is_refused(root, content, part):
    (root / MARKER).write_text(content)
    refuse(root, "validation", part)


# --- the stand-in and real data -----------------------------------------------------------------------------


def test_without_a_root_the_cached_standin_is_used(monkeypatch, tmp_path):
    from benchmark.standin import sidd as standin
    from benchmark.standin.photographs import TEST_PHOTOGRAPHS

    monkeypatch.undo()
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(standin, "DEFAULT_PLAN", standin.ScenePlan(*[TEST_PHOTOGRAPHS[:1]] * 3, size=32))
    dataset = open_dataset(DATASETS.get("sidd"))
    assert (dataset.name, len(dataset.ids)) == ("sidd-standin", 32)
    assert dataset.provenance["standin"] is True
    assert open_dataset(DATASETS.get("sidd"), split="train").ids == ["9001_010", "9001_011"]


@pytest.fixture
def shared():
    folder = Path(os.environ.get("ZOO_BENCH_SHARED", ""), "data")
    if not os.environ.get("ZOO_BENCH_SHARED") or not folder.is_dir():
        pytest.skip("no real data: set ZOO_BENCH_SHARED to the folder that has data/sidd_small")
    return folder


def test_point_sampled_small_set(shared, monkeypatch):
    monkeypatch.undo()
    dataset = loader.open_sidd(shared / "sidd_small", "train", partial=True)
    assert (len(dataset), dataset.provenance["published_pairs"]) == (40, 160)
    assert dataset[0].input.shape == (1, 3, 256, 256)


def test_genuine_block(shared):
    noisy, target = (read_variable("sidd", shared / "sidd_block" / f"{n}.mat", f"IM_{n}") for n in ("noisy", "gt"))
    assert noisy.shape == target.shape == (256, 256, 3)
    error = np.mean((noisy / 255.0 - target / 255.0) ** 2)
    assert -10 * np.log10(error) == pytest.approx(16.1, abs=0.1)
