"""The ZRR loader: the real layout read as it is, and every defect named."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.cache import CACHE_VARIABLE
from benchmark.datasets import DATASETS
from benchmark.datasets import zrr as loader
from benchmark.opening import open_dataset
from benchmark.scoring.evaluation import score_pair
from benchmark.standin import zrr as standin
from benchmark.standin.cache import MARKER
from zoo.errors import UserError
from zoo.raw import pack

COUNT = 12


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Write a dataset in the real layout, taken for complete: pair i is 8x8 with counts from 70 + i upwards."""
    monkeypatch.setattr(loader, "PUBLISHED_COUNTS", {"train": 2, "test": COUNT})
    for split, count in loader.PUBLISHED_COUNTS.items():
        for folder in ("huawei_raw", "canon", "huawei_visualized"):
            (tmp_path / "zrr" / split / folder).mkdir(parents=True)
        for index in range(count):
            write_png(tmp_path / "zrr" / split / "huawei_raw" / f"{index}.png", mosaic(index))
            target = np.full((8, 8, 3), 10 * index, np.uint8)
            write_jpeg(tmp_path / "zrr" / split / "canon" / f"{index}.jpg", target)
    return tmp_path / "zrr"


def mosaic(index, dtype=np.uint16):
    """Return four constants, red at (0, 0)."""
    return np.tile(np.array([[70 + index, 100], [110, 120]], dtype), (4, 4))


def write_png(path, array):
    Image.fromarray(array).save(path, format="PNG")


def write_jpeg(path, array):
    Image.fromarray(array).save(path, format="JPEG", quality=95, subsampling=0)


def open_test(root):
    return DATASETS.get("zrr").open(root, "test")


def refuse(root, *parts):
    """Assert that opening and reading every sample fails with a message that has these parts."""
    with pytest.raises(UserError) as caught:
        list(open_test(root))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_card_states_the_protocol():
    card = DATASETS.get("zrr")
    assert (card.task, card.splits, card.default_split) == ("raw2rgb", loader.SPLITS, "test")
    assert (card.plane_size, card.full_size) == ((224, 224), (1536, 2048))
    assert (card.protocol.version, card.protocol.clamp, card.protocol.round_uint8) == (1, True, False)
    assert card.protocol.metrics == ("psnr[rgb]", "ssim[gaussian11,rgb]", "msssim[perchannel]")
    assert loader.PUBLISHED_COUNTS == {"train": 46839, "test": 1204}


@pytest.mark.parametrize("scoring", ["one-pass", "float64"])
@pytest.mark.parametrize("count", [100.25, 100.5, 99.75, -3.0, 258.0])
def test_outputs_are_clamped_and_not_rounded(count, scoring):
    target = torch.full((1, 3, 192, 192), 96 / 255)
    output = torch.full((1, 3, 192, 192), count / 255)
    found = score_pair(output, target, DATASETS.get("zrr").protocol, ["psnr[rgb]"], scoring)
    error = min(max(count, 0), 255) - 96
    # To the nearest or lower count would be 0.4 dB and more away.
    assert found["psnr[rgb]"] == pytest.approx(20 * math.log10(255 / abs(error)), abs=1e-4)


def test_real_layout_is_read_in_numeric_order(root):
    dataset = open_test(root)
    assert (dataset.name, dataset.split, len(dataset)) == ("zrr", "test", COUNT)
    assert list(dataset.ids) == [str(index) for index in range(COUNT)]
    assert dataset.provenance == {"standin": False}
    samples = list(dataset)
    assert [sample.id for sample in samples] == list(dataset.ids)
    assert [sample.input[0, 0, 0, 0].item() for sample in samples] == [70 + index for index in range(COUNT)]
    for index, sample in enumerate(samples):
        assert sample.target.mean().item() == pytest.approx(10 * index / 255, abs=1e-6)


def test_sample_has_counts_and_levels(root):
    sample = open_test(root)[3]
    assert (sample.input.shape, sample.input.dtype) == ((1, 1, 8, 8), torch.float32)
    assert (sample.target.shape, sample.target.dtype) == ((1, 3, 8, 8), torch.float32)
    assert (sample.black, sample.white, sample.red) == (64, 1023, (0, 0))
    assert sample.target.is_contiguous()


def test_packed_planes_keep_cfa_order(root):
    sample = open_test(root)[5]
    planes = pack(sample.input)
    # Blue, green beside red, red, green beside blue.
    assert planes[0, :, 0, 0].tolist() == [120, 100, 75, 110]
    assert all(plane.unique().numel() == 1 for plane in planes[0])


def test_depth_of_the_file_does_not_change_the_counts(root):
    folder = root / "test" / "huawei_raw"
    write_png(folder / "0.png", mosaic(0, np.uint8))
    assert (folder / "0.png").read_bytes()[24] == 8
    write_png(folder / "1.png", mosaic(0, np.uint16))
    assert (folder / "1.png").read_bytes()[24] == 16
    dataset = open_test(root)
    assert torch.equal(dataset[0].input, dataset[1].input)
    full = mosaic(0)
    full[0, 0] = 1023
    write_png(folder / "2.png", full)
    assert dataset[2].input.max().item() == 1023


def test_target_is_the_jpeg_over_255(root):
    values = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    write_jpeg(root / "test" / "canon" / "0.jpg", values)
    with Image.open(root / "test" / "canon" / "0.jpg") as image:
        expected = np.asarray(image)
    target = open_test(root)[0].target
    np.testing.assert_array_equal((target[0] * 255).round().permute(1, 2, 0).numpy(), expected)


def test_digest_covers_the_first_pairs_only(root):
    first, whole = open_test(root).digest(3), open_test(root).digest()
    write_png(root / "test" / "huawei_raw" / "3.png", mosaic(99))
    dataset = open_test(root)
    assert dataset.digest(3) == first != whole
    assert dataset.digest() != whole
    assert dataset.digest(COUNT + 5) == dataset.digest()
    write_jpeg(root / "test" / "canon" / "0.jpg", np.zeros((8, 8, 3), np.uint8) + 99)
    assert open_test(root).digest(3) != first


# --- validation and full frames -----------------------------------------------------------------------------


def test_validation_is_cut_from_train_in_blocks():
    numbers = loader.validation_numbers(46839)
    blocks = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    assert len(blocks) == 16
    assert {len(block) for block in blocks} == {147}
    # The last twentieth of each sixteenth, so the last pair of train too.
    assert [int(block[-1]) for block in blocks] == [46839 * k // 16 - 1 for k in range(1, 17)]
    assert numbers[0] == 46839 // 16 - 147
    assert loader.validation_numbers(56) == [26, 27, 54, 55]
    assert loader.validation_numbers(20) == [19]
    assert loader.validation_numbers(19) == []


def test_train_validation_and_trainval(root, monkeypatch):
    monkeypatch.setattr(loader, "PUBLISHED_COUNTS", {"train": 40, "test": COUNT})
    for index in range(40):
        write_png(root / "train" / "huawei_raw" / f"{index}.png", mosaic(index))
        write_jpeg(root / "train" / "canon" / f"{index}.jpg", np.zeros((8, 8, 3), np.uint8))
    card = DATASETS.get("zrr")
    train, validation, both = (card.open(root, split) for split in ("train", "validation", "trainval"))
    assert list(validation.ids) == ["19", "39"]
    assert (len(train), len(both), validation.split) == (38, 40, "validation")
    assert set(train.ids) | set(validation.ids) == set(both.ids)
    assert not set(train.ids) & set(validation.ids)
    assert validation[1].input[0, 0, 0, 0].item() == 70 + 39
    assert len({dataset.digest() for dataset in (train, validation, both)}) == 3


def test_too_few_pairs_for_validation(root):
    with pytest.raises(UserError, match="zrr: 2 train pairs are too few for a validation split; expected at least 20"):
        DATASETS.get("zrr").open(root, "validation")


def test_photographs_of_the_standins_validation_are_in_no_train_pair():
    turns = standin.DEFAULT_PLAN.photographs("train")
    held_out = loader.validation_numbers(len(turns))
    names = {turns[number].name for number in held_out}
    assert names == {"procedural-21", "procedural-22", "procedural-44", "procedural-45"}
    assert not names & {source.name for number, source in enumerate(turns) if number not in held_out}
    assert len({source.name for source in turns}) == 51


# --- the stand-in -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    standin.STANDIN.write(tmp_path / "tiny", seed=7, plan=standin.PairPlan(train=1, test=2, size=32))
    return tmp_path / "tiny"


def test_marker_names_the_standin(tiny):
    dataset = open_test(tiny)
    assert (dataset.name, len(dataset)) == ("zrr-standin", 2)
    assert dataset.provenance["standin"] is True
    assert dataset.provenance["generator"] == standin.GENERATOR_VERSION
    assert dataset.provenance["seed"] == 7
    assert len(dataset.provenance["sources"]) == 64
    assert len(DATASETS.get("zrr").open(tiny, "train")) == 1
    bits = [8 if path.read_bytes()[24] == 8 else 16 for path in (dataset.paths(id)[0] for id in dataset.ids)]
    for index, sample in enumerate(dataset):
        assert sample.input.shape[-2:] == sample.target.shape[-2:] == (32, 32)
        assert (sample.input.max() <= 255) == (bits[index] == 8)


def test_without_a_root_the_cached_standin_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "DEFAULT_PLAN", standin.PairPlan(train=1, test=2, size=16))
    dataset = open_dataset(DATASETS.get("zrr"))
    assert (dataset.name, len(dataset)) == ("zrr-standin", 2)
    assert tmp_path / "cache" in dataset.root.parents


def test_standin_that_lost_a_file_is_refused(tiny):
    (tiny / "test" / "canon" / "1.jpg").unlink()
    refuse(tiny, f"zrr-standin: expected 2 files in {tiny}/test/canon, found 1; missing 1.jpg", f"Remove {tiny}")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read"),
        ("[]", "holds list"),
        ('{"name": "sidd-standin"}', "holds the stand-in 'sidd-standin'"),
        ('{"name": "zrr-standin", "version": 1, "seed": 0, "sources": ""}', "has no usable entry (KeyError('counts'))"),
    ],
)
def test_damaged_marker_is_refused(root, content, part):
    (root / MARKER).write_text(content)
    refuse(root, str(root), part)


# --- folders that are not the dataset -----------------------------------------------------------------------


def test_empty_and_missing_folders(tmp_path):
    refuse(tmp_path, f"zrr: expected 1204 files in {tmp_path}/test/huawei_raw, found 0: there is no such folder.")
    (tmp_path / "test" / "huawei_raw").mkdir(parents=True)
    (tmp_path / "test" / "canon").mkdir()
    refuse(
        tmp_path,
        f"zrr: expected 1204 files in {tmp_path}/test/huawei_raw, found 0. Download the dataset and pass --data-root.",
    )
    (tmp_path / "file").write_text("")
    refuse(tmp_path / "file", "found 0: there is no such folder")


def test_missing_target_folder(root):
    shutil.rmtree(root / "test" / "canon")
    refuse(root, f"zrr: expected 12 files in {root}/test/canon, found 0")


def test_file_without_partner(root):
    (root / "test" / "canon" / "5.jpg").unlink()
    refuse(root, "expected 12 files", f"{root}/test/canon", "found 11; missing 5.jpg", "partner", "huawei_raw")


def test_missing_pairs_are_counted_and_named(root):
    for index in range(2, 10):
        (root / "test" / "canon" / f"{index}.jpg").unlink()
        (root / "test" / "huawei_raw" / f"{index}.png").unlink()
    refuse(root, "found 4; missing 2.png, 3.png, 4.png, 5.png, 6.png and 3 more. Download")


def test_more_files_than_published(root):
    write_png(root / "test" / "huawei_raw" / "12.png", mosaic(0))
    refuse(root, "expected 12 files", "found 13; unexpected 12.png")


def test_right_count_with_a_gap(root):
    (root / "test" / "huawei_raw" / "0.png").rename(root / "test" / "huawei_raw" / "40.png")
    refuse(root, "expected 12 files", "missing 0.png", "unexpected 40.png")


@pytest.mark.parametrize("name", ["cat.png", "007.png", "1 (copy).png", "-1.png", "²3.png", "\u0663.png"])
def test_name_that_is_no_integer(root, name):
    write_png(root / "test" / "huawei_raw" / name, mosaic(0))
    refuse(root, name, "no integer", "0.png to 11.png")


def test_other_files_and_hidden_files_are_no_part_of_the_dataset(root):
    (root / "test" / "huawei_raw" / "Thumbs.db").write_text("")
    (root / "test" / "huawei_raw" / "._0.png").write_text("")
    assert len(open_test(root)) == COUNT


def test_unknown_split(root):
    with pytest.raises(UserError, match="unknown split 'val'; expected one of train, validation, trainval, test"):
        DATASETS.get("zrr").open(root, "val")


# --- files that are damaged or of the wrong kind ------------------------------------------------------------


@pytest.mark.parametrize("file", ["huawei_raw/4.png", "canon/4.jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, -8])
def test_truncated_file_is_named(root, file, keep):
    path = root / "test" / file
    random = np.random.RandomState(0)
    if path.suffix == ".png":
        write_png(path, random.randint(0, 1024, size=(64, 64)).astype(np.uint16))
    else:
        write_jpeg(path, random.randint(0, 256, size=(64, 64, 3)).astype(np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep >= 0 else int(keep)])
    refuse(root, f"zrr: {path}", "complete", "Copy it again")


@pytest.mark.parametrize("file", ["huawei_raw/4.png", "canon/4.jpg"])
def test_file_of_another_format_is_named(root, file):
    (root / "test" / file).write_bytes(b"<html>not found</html>")
    refuse(root, f"zrr: {root / 'test' / file} is not a complete")


def test_flipped_bit_in_a_png_is_noticed(root):
    path = root / "test" / "huawei_raw" / "4.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))
    refuse(root, f"zrr: {path} is damaged")


@pytest.mark.parametrize(
    ("mode", "part"),
    [("RGB", "8-bit RGB"), ("P", "-bit palette"), ("LA", "gray with alpha"), ("1", "1-bit gray"), ("RGBA", "alpha")],
)
def test_mosaic_of_another_mode(root, mode, part):
    path = root / "test" / "huawei_raw" / "4.png"
    Image.new(mode, (8, 8)).save(path)
    refuse(root, f"zrr: {path} is a PNG of", part, "expected a mosaic: gray with 8 or 16 bits")


def test_hot_pixels_are_white(root):
    path = root / "test" / "huawei_raw" / "4.png"
    counts = np.asarray(Image.open(path)).astype(np.uint16)
    counts[2, 3] = 9000
    write_png(path, counts)
    inputs = [sample.input for sample in open_test(root)]
    assert [float(one[0, 0, 2, 3]) for one in inputs].count(1023) == 1
    assert max(float(one.max()) for one in inputs) == 1023


def test_counts_scaled_to_16_bits(root):
    path = root / "test" / "huawei_raw" / "4.png"
    write_png(path, mosaic(4) * 64)
    refuse(root, f"zrr: {path} has counts up to 7680", "at most 1023")


def test_odd_mosaic(root):
    path = root / "test" / "huawei_raw" / "4.png"
    write_png(path, mosaic(4)[:7])
    refuse(root, f"zrr: {path} has 7x8 pixels", "even height and width")


def test_target_of_another_size(root):
    path = root / "test" / "canon" / "4.jpg"
    write_jpeg(path, np.zeros((8, 10, 3), np.uint8))
    refuse(root, f"zrr: {path} has 8x10 pixels", str(root / "test" / "huawei_raw" / "4.png"), "8x8")


@pytest.mark.parametrize(("mode", "part"), [("L", "gray"), ("CMYK", "CMYK")])
def test_target_of_another_mode(root, mode, part):
    path = root / "test" / "canon" / "4.jpg"
    Image.new(mode, (8, 8)).save(path)
    refuse(root, f"zrr: {path} is a {part} JPEG; expected RGB")


def test_file_that_vanishes_is_named(root):
    dataset = open_test(root)
    path = root / "test" / "canon" / "4.jpg"
    path.unlink()
    with pytest.raises(UserError, match=rf"{path} cannot be read \(No such file"):
        dataset[4]
    with pytest.raises(UserError, match=rf"{path} cannot be read"):
        dataset.digest()
