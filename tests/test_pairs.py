"""Pairs of one's own pictures: rules, depths and formats, and every file that does not fit, by name."""

from __future__ import annotations

import io
import os
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import DATASETS
from benchmark.datasets import pairs as loader
from benchmark.imaging.imagefiles import read_rgb
from benchmark.layout import DefectsError
from tests.deep_images import png16, tiff16
from zoo.errors import UserError


def picture(seed=0, size=(6, 8), dtype=np.uint8):
    return np.random.RandomState(seed).randint(0, np.iinfo(dtype).max + 1, size=(*size, 3)).astype(dtype)


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if array is None else array).save(path, **options)


def refuse(root, *parts, rule=loader.DEFAULT_RULE):
    with pytest.raises(UserError) as caught:
        list(loader.open_pairs(root, rule=rule))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(tmp_path):
    for number in (1, 2, 10):
        save(tmp_path / "input" / f"{number}.png", picture(number, (6, 6 + number)))
        save(tmp_path / "target" / f"{number}.png", picture(100 + number, (6, 6 + number)))
    return tmp_path


def test_folders_are_paired_by_stem_in_natural_order(root):
    dataset = DATASETS.get("pairs").open(root, "test")
    assert (dataset.name, dataset.split, list(dataset.ids)) == ("pairs", "test", ["1", "2", "10"])
    for number, sample in zip((1, 2, 10), dataset):
        assert sample.input.shape == sample.target.shape == (1, 3, 6, 6 + number)
        np.testing.assert_array_equal(
            (sample.input[0].permute(1, 2, 0) * 255).round(), picture(number, (6, 6 + number))
        )
    assert dataset.provenance == {"standin": False, "rule": "input/* -> target/*", "folder": root.name}
    with pytest.raises(UserError, match="unknown split 'train'"):
        DATASETS.get("pairs").open(root, "train")


def test_suffix_rule_in_one_folder(tmp_path):
    for name in ("a b_real.JPG", "a b_mean.png", "Ümläut_real.png", "Ümläut_mean.tiff", "License.txt", ".x_real.png"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("")
        else:
            save(tmp_path / name)
    dataset = loader.configure({"rule": "*_real.* -> *_mean.*"}).open(tmp_path, "test")
    assert list(dataset.ids) == ["a b", "Ümläut"]
    assert [path.name for path in dataset.paths("a b")] == ["a b_real.JPG", "a b_mean.png"]
    assert dataset.provenance["rule"] == "*_real.* -> *_mean.*"
    assert len(list(dataset)) == 2


def test_names_composed_in_two_ways_are_one_name(tmp_path):
    save(tmp_path / "input" / (unicodedata.normalize("NFD", "ä") + ".png"))
    save(tmp_path / "target" / (unicodedata.normalize("NFC", "ä") + ".png"))
    assert list(loader.open_pairs(tmp_path).ids) == ["ä"]


def test_targets_are_no_inputs_where_the_input_pattern_is_open(tmp_path):
    for name in ("a.png", "a_clean.png", "b.png", "b_clean.png"):
        save(tmp_path / name)
    assert list(loader.open_pairs(tmp_path, rule="* -> *_clean.png").ids) == ["a", "b"]


def test_two_folders_anywhere(tmp_path):
    save(tmp_path / "one" / "x_noisy.png")
    save(tmp_path / "two" / "deep" / "x.tif")
    rule = f"one/*_noisy.png -> {tmp_path}/two/deep/*"
    assert list(loader.open_pairs(tmp_path, rule=rule).ids) == ["x"]
    assert list(loader.open_pairs(tmp_path / "one", rule="*_noisy.* -> ../two/deep/*").ids) == ["x"]


def test_task_can_be_chosen():
    assert loader.configure({}).task == "denoise_rgb"
    assert loader.configure({"task": "enhance_rgb"}).task == "enhance_rgb"
    with pytest.raises(UserError, match="no task 'raw2rgb'"):
        loader.configure({"task": "raw2rgb"})
    with pytest.raises(UserError, match="no option 'rules'"):
        loader.configure({"rules": ""})


def test_digest_covers_the_first_pairs_only(root):
    first, whole = loader.open_pairs(root).digest(2), loader.open_pairs(root).digest()
    save(root / "target" / "10.png", picture(0))
    assert loader.open_pairs(root).digest(2) == first
    assert loader.open_pairs(root).digest() != whole


# --- depths and formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [png16, lambda a: png16(a, 1), lambda a: png16(a, 2), tiff16, lambda a: tiff16(a, ">")]
)
def test_sixteen_bits_are_read_whole(tmp_path, content):
    array = picture(3, dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(content(array))
    np.testing.assert_array_equal(read_rgb("pairs", tmp_path / "x.png"), array)


def test_sixteen_bits_through_libtiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    array = picture(3, (40, 30), np.uint16)
    for number, options in enumerate(({"compression": "zlib"}, {"compression": "zlib", "byteorder": ">"})):
        tifffile.imwrite(tmp_path / f"{number}.tif", array, photometric="rgb", **options)
        np.testing.assert_array_equal(read_rgb("pairs", tmp_path / f"{number}.tif"), array)


def test_depths_may_differ_in_a_pair(tmp_path):
    array = picture(4)
    save(tmp_path / "input" / "x.png", array)
    (tmp_path / "target").mkdir()
    # 257 v / 65535 = v / 255
    (tmp_path / "target" / "x.png").write_bytes(png16(array.astype(np.uint16) * 257))
    sample = loader.open_pairs(tmp_path)[0]
    np.testing.assert_allclose(sample.input, sample.target, atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "file", "part"),
    [
        ("L", "1.png", "gray PNG"),
        ("I;16", "1.png", "16-bit gray PNG"),
        ("RGBA", "1.png", "RGB with alpha PNG"),
        ("LA", "1.png", "gray with alpha PNG"),
        ("P", "1.png", "palette PNG"),
        ("1", "1.png", "1-bit gray PNG"),
        ("L", "1.jpg", "gray JPEG"),
        ("CMYK", "1.jpg", "CMYK JPEG"),
        ("CMYK", "1.tif", "CMYK TIFF"),
        ("RGBA", "1.tif", "RGB with alpha TIFF"),
    ],
)
def test_other_modes_are_named(root, mode, file, part):
    (root / "input" / "1.png").unlink()
    path = root / "input" / file
    Image.new(mode, (7, 6)).save(path)
    refuse(root, f"pairs: {path} is a {part}; expected RGB")


def test_separate_planes_and_transparent_colours_are_refused(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff16(picture(dtype=np.uint16), planar=2))
    with pytest.raises(UserError, match=r"x\.tif.*separate colour planes"):
        read_rgb("pairs", tmp_path / "x.tif")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", transparency=(0, 0, 0))
    with pytest.raises(UserError, match=r"x\.png is a RGB with a transparent colour PNG"):
        read_rgb("pairs", tmp_path / "x.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.97])
def test_truncated_file_is_named(root, format, keep):
    path = root / "input" / "1.png"
    save(path, picture(size=(60, 70)), format=format)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refuse(root, f"pairs: {path}", "complete", "Copy it again")


def test_jpeg_whose_end_is_zeros_is_cut_off(root):
    """As downloads leave it that reserve the whole file; a decoder makes pixels of zeros, and says nothing."""
    path = root / "input" / "1.png"
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    save(path, picture(size=(160, 160)), format="JPEG", exif=b"Exif\0\0" + thumbnail.getvalue())
    content = path.read_bytes()
    assert read_rgb("pairs", path).shape == (160, 160, 3)
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    refuse(root, f"pairs: {path} is damaged or cut off (the end marker is missing)", "Copy it again")


def test_cut_off_compressed_tiff_gives_one_line(tmp_path, capfd):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, picture(size=(64, 64)), photometric="rgb", compression="zlib")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="a strip lies beyond the end of the file"):
        read_rgb("pairs", path)
    assert capfd.readouterr().err == "", "libtiff printed a line of its own"


def test_sound_files_of_other_kinds_are_not_called_damaged(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 8, 3), np.float32), photometric="rgb")
    with pytest.raises(UserError, match=r"x\.tif is a TIFF of 32-bit floats; expected whole numbers"):
        read_rgb("pairs", tmp_path / "x.tif")
    Image.new("1", (16000, 12000)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="more than 178 megapixels"):
        read_rgb("pairs", tmp_path / "x.png")


@pytest.fixture
def ten_bits(tmp_path):
    """Write pairs of 10-bit counts in 16-bit files."""
    for folder, seed in (("input", 5), ("target", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(png16(picture(seed, (40, 40), np.uint16) >> 6))
    return tmp_path


def test_white_is_1_in_files_of_16_bits(ten_bits):
    counts = picture(5, (40, 40), np.uint16) >> 6
    by_the_file = loader.configure({}).open(ten_bits, "test")[0].input[0].permute(1, 2, 0)
    np.testing.assert_allclose(by_the_file, counts / 65535, rtol=1e-6)
    card = loader.configure({"white": "1023"})
    np.testing.assert_allclose(card.open(ten_bits, "test")[0].input[0].permute(1, 2, 0), counts / 1023, rtol=1e-6)
    assert card.open(ten_bits, "test").provenance["white"] == 1023
    # 8 bits are what they are.
    save(ten_bits / "input" / "x.png", picture(size=(40, 40)))
    np.testing.assert_allclose(card.open(ten_bits, "test")[0].input[0].permute(1, 2, 0), picture(size=(40, 40)) / 255)


def test_scores_by_a_white_level_are_under_a_protocol_of_its_name():
    plain, ten, twelve = (loader.configure(options).protocol for options in ({}, {"white": "1023"}, {"white": "4095"}))
    assert (plain, plain.name, plain.version) == (loader.PAIRS, "pairs", 1)
    assert len({plain.name, ten.name, twelve.name}) == 3
    assert "files of 16 bits / 1023" in ten.text
    for white in ("0", "nan", "inf", "-1", "1e9", "1023.5", "x"):
        with pytest.raises(UserError, match=r"--white .*: expected the count of white"):
            loader.configure({"white": white})


def test_hot_pixels_are_clipped_and_a_wrong_white_level_is_refused(ten_bits):
    counts = picture(5, (40, 40), np.uint16) >> 6
    counts[1, 2] = 1023, 60000, 2000
    (ten_bits / "input" / "x.png").write_bytes(png16(counts))
    sample = loader.open_pairs(ten_bits, white=1023)[0]
    assert sample.input.max() == 1
    np.testing.assert_allclose(sample.input[0, :, 1, 2], [1, 1, 1])
    with pytest.raises(UserError, match=r"x\.png has counts up to 60000, above --white 511 in .* % of the pixels"):
        loader.open_pairs(ten_bits, white=511)[0]


def test_pictures_of_other_formats_alone_are_told(tmp_path):
    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.HEIC").write_bytes(b"")
    refuse(tmp_path, "no picture", "It holds .heic files, which are not read: convert them to PNG.")


# --- folders that do not fit --------------------------------------------------------------------------------


def test_sizes_that_differ_in_a_pair(root):
    save(root / "target" / "2.png", picture(size=(7, 8)))
    refuse(root, f"{root}/target/2.png has 7x8 pixels", f"{root}/input/2.png has 6x8")


def test_missing_partner_is_named(root):
    (root / "target" / "2.png").unlink()
    refuse(root, f"{root}/input/2.png has no partner; expected 'target/2'")
    save(root / "target" / "7.png")
    (root / "input" / "2.png").unlink()
    refuse(root, f"{root}/target/7.png has no partner; expected 'input/7'")


def test_defects_come_whole_out_of_another_process(root):
    (root / "target" / "2.png").unlink()
    with pytest.raises(DefectsError) as caught:
        loader.open_pairs(root)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.defects, again.files) == (str(caught.value), caught.value.defects, caught.value.files)


def test_one_stem_twice(root):
    save(root / "target" / "2.jpg")
    refuse(root, f"{root}/target/2.jpg and {root}/target/2.png have the same name '2'")


def test_empty_and_missing_folders(tmp_path):
    refuse(tmp_path, f"pairs: {tmp_path}/input cannot be listed (No such file or directory)", "--pairs")
    (tmp_path / "input").mkdir()
    (tmp_path / "target").mkdir()
    refuse(tmp_path, f"matches 'input/*' in {tmp_path}", "--pairs")
    save(tmp_path / "input" / "1.png")
    refuse(tmp_path, f"matches 'target/*' in {tmp_path}", "--pairs")


def test_links_to_themselves(root):
    os.symlink(root / "input" / "3.png", root / "input" / "3.png")
    refuse(root, f"{root}/input/3.png is a link to nothing or to itself")
    (root / "input" / "3.png").unlink()
    os.symlink(root / "input", root / "input" / "again")
    assert len(loader.open_pairs(root)) == 3
    os.symlink(root / "loop", root / "loop")
    refuse(root, f"{root}/loop cannot be listed", rule="loop/* -> target/*")


@pytest.mark.parametrize("rule", ["*_real.*", "a -> b", "* -> * -> *", "*_* -> *", "", "*/x.png -> *", "*.* -> b"])
def test_bad_rules(root, rule):
    refuse(root, "--pairs", "expected", rule=rule)


# --- real data ----------------------------------------------------------------------------------------------


def test_polyu():
    folder = Path(os.environ.get("ZOO_BENCH_SHARED", ""), "data", "polyu")
    if not os.environ.get("ZOO_BENCH_SHARED") or not folder.is_dir():
        pytest.skip("no real data: set ZOO_BENCH_SHARED to the folder that has data/polyu")
    dataset = loader.open_pairs(folder, rule="*_real.* -> *_mean.*")
    assert len(dataset) == 50
    assert dataset[0].input.shape == dataset[0].target.shape == (1, 3, 512, 512)


def test_costs_are_of_the_size_of_the_users_images(tmp_path, zoo_bench) -> None:
    for number, size in enumerate([(96, 128)] * 3 + [(64, 64)] * 2):
        for side in ("input", "target"):
            (tmp_path / "own" / side).mkdir(parents=True, exist_ok=True)
            pixels = np.random.RandomState(number).randint(0, 256, (*size, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / side / f"{number}.png")
    run = ("run", "--dataset", "pairs", "--data-root", tmp_path / "own", "--models", "vdn_w8", "--sizes", "none")
    outcome = zoo_bench(*run, "-o", tmp_path / "out")
    assert "3x96x128" in outcome.out
    assert "3x256x256" not in outcome.out
    assert "pairs: the images have 2 sizes; costs and times are of 96x128, the most frequent one." in outcome.err
