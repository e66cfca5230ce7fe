"""Inference on a user's own files: arrays untouched, pictures adapted, mistakes named."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from benchmark.running import inference
from tests.deep_images import png16
from zoo import create_model
from zoo.errors import UserError
from zoo.models.classical import BilinearPipeline
from zoo.raw import unpack
from zoo.weights import save_state


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(2)
    save_state(tmp_path / "w.safetensors", create_model("plainunet_8").state_dict(), {"model": "plainunet_8"})
    return tmp_path / "w.safetensors"


def loaded(weights):
    from zoo.fitting import load_strictly
    from zoo.weights import read_checkpoint

    model = create_model("plainunet_8").eval()
    load_strictly(model, read_checkpoint(weights).state, name="plainunet_8", source=weights)
    return model


def test_arrays_go_through_the_bare_network(zoo_bench, tmp_path, weights) -> None:
    planes = np.random.RandomState(0).rand(2, 4, 36, 40).astype(np.float32) * 3 - 1
    np.save(tmp_path / "x.npy", planes)
    with torch.inference_mode():
        expected = loaded(weights)(torch.from_numpy(planes)).numpy()
    call = ("infer", "plainunet_8", tmp_path / "x.npy", "--weights", weights, "-o", tmp_path / "out")
    for flags, tolerance in ((["--exact-kernels"], 0.0), ([], 1e-5)):
        assert zoo_bench(*call, *flags).code == 0
        output = np.load(tmp_path / "out" / "x.npy")
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_mosaic_of_any_even_size_becomes_a_picture(zoo_bench, tmp_path, weights) -> None:
    counts = np.random.RandomState(0).randint(64, 1024, (70, 82)).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / "raw.png")
    assert zoo_bench("infer", "plainunet_8", tmp_path / "raw.png", "--weights", weights, "-o", tmp_path / "o").code == 0
    picture = np.asarray(Image.open(tmp_path / "o" / "raw.png"))
    assert picture.shape == (70, 82, 3)
    planes = np.stack([counts[1::2, 1::2], counts[0::2, 1::2], counts[0::2, 0::2], counts[1::2, 0::2]])[None] / 1020
    padded = np.pad(planes, ((0, 0), (0, 0), (0, 1), (0, 3)), mode="reflect").astype(np.float32)
    with torch.inference_mode():
        expected = loaded(weights)(torch.from_numpy(padded))[0, :, :70, :82].clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(picture / 255, expected, atol=0.5 / 255 + 1e-5)


@pytest.mark.parametrize(
    ("model", "size", "refused"),
    [
        ("microisp", (156, 200), "planes of 78x100 are too small: this network takes at least 79x79"),
        ("microisp", (158, 160), ""),
        # Planes of RMFA have the size of the mosaic, 2 modulo 4 here.
        ("rmfa_tiny", (14, 18), ""),
        ("rmfa_tiny", (2, 2), "planes of 2x2 are too small: this network takes at least 4x4"),
    ],
)
def test_a_mosaic_of_a_size_that_a_network_does_not_take_is_padded_or_refused_by_name(
    zoo_bench, tmp_path, model: str, size: tuple[int, int], refused: str
) -> None:
    Image.fromarray(np.full(size, 500, np.uint16)).save(tmp_path / "raw.png")
    outcome = zoo_bench("infer", model, tmp_path / "raw.png", "-o", tmp_path / "out", "--random-weights")
    if refused:
        assert outcome.code == 2
        assert f"raw: {refused}" in outcome.err.splitlines()[-1]
    else:
        assert outcome.code == 0
        assert np.asarray(Image.open(tmp_path / "out" / "raw.png")).shape == (*size, 3)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        ("microisp", (1, 4, 78, 90), "MicroISP takes planes of at least 79x79; got 78x90"),
        ("rmfa_tiny", (1, 3, 8, 6), "multiples of 4, or one more, at least 4; got 8x6"),
    ],
)
def test_the_bare_network_refuses_such_a_size_in_one_line(zoo_bench, tmp_path, model, shape, words: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    outcome = zoo_bench("infer", model, tmp_path / "x.npy", "-o", tmp_path / "out", "--random-weights")
    assert outcome.code == 2
    assert f"x.npy: the bare network refuses {shape}: " in outcome.err.splitlines()[-1]
    assert outcome.err.splitlines()[-1].endswith(words)
    assert not (tmp_path / "out" / "x.npy").exists()


def test_the_colour_filter_and_levels_of_another_sensor_are_adapted(zoo_bench, tmp_path, monkeypatch) -> None:
    rggb = np.random.RandomState(1).randint(64, 1024, (64, 64))
    Image.fromarray(rggb.astype(np.uint16)).save(tmp_path / "a.png")
    # The same scene by a 12-bit BGGR sensor whose frame starts one row and one column later.
    twelve_bit = np.rint((rggb[1:63, 1:63] - 64) / 959 * (4095 - 256) + 256)
    Image.fromarray(twelve_bit.astype(np.uint16)).save(tmp_path / "b.png")
    _no_white_balance(monkeypatch)
    zoo_bench("infer", "bilinear", tmp_path / "a.png", "-o", tmp_path / "o")
    levels = ("--cfa", "BGGR", "--black", "256", "--white", "4095")
    assert zoo_bench("infer", "bilinear", tmp_path / "b.png", "-o", tmp_path / "o", *levels).code == 0
    a, b = (np.asarray(Image.open(tmp_path / "o" / f"{name}.png")).astype(int) for name in "ab")
    assert b.shape == (62, 62, 3)
    # Equal inside, up to the rounding of the counts; at the border the two frames know different neighbours.
    assert np.abs(a[1:63, 1:63] - b)[1:-1, 1:-1].max() <= 1


def _no_white_balance(monkeypatch) -> None:
    """Gray-world gains depend on the border; without them pixels can be compared one by one."""
    monkeypatch.setattr(BilinearPipeline, "forward", _demosaic_only)


def _demosaic_only(pipeline, x):
    mosaic = unpack(x)
    mask = pipeline.block.repeat(1, 1, x.shape[-2], x.shape[-1])
    total = torch.nn.functional.conv2d(mosaic * mask, pipeline.kernel, padding=1, groups=3)
    return total / torch.nn.functional.conv2d(mask, pipeline.kernel, padding=1, groups=3)


def test_rgb_models_take_pictures_of_8_and_16_bits(zoo_bench, tmp_path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    assert zoo_bench("infer", "identity", tmp_path / "p.png", "-o", tmp_path / "o").code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "o" / "p.png")), pixels)


def test_untrained_networks_are_announced(zoo_bench, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 32, 32), np.float32))
    outcome = zoo_bench("infer", "plainunet_8", tmp_path / "x.npy", "-o", tmp_path / "o", "--random-weights")
    assert "untrained, with random weights" in outcome.err


def test_random_weights_are_refused_unless_they_are_asked_for(zoo_bench, tmp_path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import torch.nn as nn\nfrom zoo import register_model\n"
        '@register_model(task="denoise_rgb")\n'
        "def my_own_net() -> nn.Module:\n    return nn.Conv2d(3, 3, 3, padding=1)\n"
    )
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "p.png")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    out = ("-o", tmp_path / "o")
    for model, file, flag in (
        ("vdn_w8", "p.png", "--weights shipped, or FILE"),
        ("vdn_w8", "x.npy", "--weights shipped, or FILE"),
        ("dncnn_20_color", "p.png", "--weights FILE (`zoo-bench show dncnn_20_color` says what is known)"),
        ("my_own_net", "p.png", "--random-weights"),
    ):
        outcome = zoo_bench("--plugin", plugin, "infer", model, tmp_path / file, *out)
        assert outcome.code == 2
        assert f"{model} has no weights, and with random ones its output means nothing" in outcome.err
        assert flag in outcome.err
        assert not (tmp_path / "o").exists()
    assert zoo_bench("infer", "vdn_w8", tmp_path / "p.png", *out, "--weights", "shipped").code == 0
    assert zoo_bench("infer", "vdn_w8", tmp_path / "p.png", *out, "--random-weights").code == 0
    # So one tries which sizes a network of one's own takes.
    outcome = zoo_bench("--plugin", plugin, "infer", "my_own_net", tmp_path / "x.npy", *out)
    assert (outcome.code, "with random weights; its output means nothing" in outcome.err) == (0, True)


def _save(folder, name: str, array: np.ndarray) -> None:
    if name.endswith(".npy"):
        np.save(folder / name, array)
    else:
        Image.fromarray(array).save(folder / name)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x.npy", np.zeros((1, 4, 33, 32), np.float32), "the bare network refuses (1, 4, 33, 32): HyperUNet takes"),
        ("x.npy", np.zeros((1, 4, 32, 32)), "expected float32 (N, 4, H, W)"),
        ("x.npy", np.zeros((1, 3, 32, 32), np.float32), "found float32 (1, 3, 32, 32)"),
        ("x.npy", np.zeros((4, 32, 32), np.float32), "found float32 (4, 32, 32)"),
        ("x.png", np.zeros((65, 64), np.uint16), "even height and width; got 65x64"),
        ("x.png", np.zeros((64, 64, 3), np.uint8), "expected a RAW mosaic"),
        ("x.png", np.full((64, 64), 2000, np.uint16), "counts up to 2000, above --white 1023"),
        ("x.png", np.zeros((32, 32), np.uint16), "too small"),
        ("missing.png", None, "no file at"),
    ],
)
def test_files_that_do_not_fit_are_named(zoo_bench, tmp_path, name: str, array, message: str) -> None:
    if array is not None:
        _save(tmp_path, name, array)
    outcome = zoo_bench("infer", "plainunet_8", tmp_path / name, "-o", tmp_path / "o", "--random-weights")
    assert outcome.code == 2
    assert message in outcome.err
    assert name in outcome.err or "too small" in message


def test_equal_names_and_truncated_files_are_refused(zoo_bench, tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.zeros((1, 4, 32, 32), np.float32))
    outcome = zoo_bench(
        "infer", "plainunet_8", tmp_path / "a/x.npy", tmp_path / "b/x.npy", "-o", tmp_path / "o", "--random-weights"
    )
    assert (outcome.code, "the same name; rename one" in outcome.err) == (2, True)
    content = (tmp_path / "a" / "x.npy").read_bytes()
    (tmp_path / "a" / "x.npy").write_bytes(content[:-100])
    outcome = zoo_bench("infer", "plainunet_8", tmp_path / "a/x.npy", "-o", tmp_path / "o", "--random-weights")
    assert (outcome.code, "not a complete .npy file" in outcome.err) == (2, True)


def test_sixteen_bit_pictures_are_read_whole(zoo_bench, tmp_path) -> None:
    """Their lower bytes decide: 64.7 of 255, its upper byte alone is 64."""
    (tmp_path / "x.png").write_bytes(png16(np.full((16, 16, 3), 0x40FF, np.uint16)))
    assert zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "out").code == 0
    assert (np.asarray(Image.open(tmp_path / "out" / "x.png")) == round(0x40FF / 65535 * 255)).all()


@pytest.mark.parametrize(("mode", "words"), [("RGBA", "RGB with alpha PNG"), ("P", "palette PNG"), ("LA", "gray with")])
def test_pictures_of_other_kinds_are_named(zoo_bench, tmp_path, mode, words) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "x.png")
    outcome = zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert f"{tmp_path / 'x.png'} is a {words}" in outcome.err


def test_a_hot_pixel_is_clipped_with_a_note_and_a_wrong_white_level_refused(zoo_bench, tmp_path) -> None:
    counts = np.random.RandomState(0).randint(64, 1024, (64, 64)).astype(np.uint16)
    counts[10, 11] = 1023
    Image.fromarray(counts).save(tmp_path / "a.png")
    counts[10, 11] = 4000
    Image.fromarray(counts).save(tmp_path / "b.png")
    outcome = zoo_bench("infer", "bilinear", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "o")
    assert outcome.code == 0
    assert f"{tmp_path / 'b.png'}: 1 count above white 1023, up to 4000, clipped to it." in outcome.err
    assert (tmp_path / "o" / "a.png").read_bytes() == (tmp_path / "o" / "b.png").read_bytes()
    counts[:2, :10] = 4000
    Image.fromarray(counts).save(tmp_path / "b.png")
    outcome = zoo_bench("infer", "bilinear", tmp_path / "b.png", "-o", tmp_path / "o")
    assert (outcome.code, "counts up to 4000, above --white 1023 in 0.51 %" in outcome.err) == (2, True)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_and_profile_are_kept_and_pixels_not_turned(zoo_bench, tmp_path, format) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.RandomState(0).randint(0, 256, (16, 24, 3), np.uint8)
    options = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(pixels).save(tmp_path / "x.png", format, exif=exif, icc_profile=profile, **options)
    assert zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "o").code == 0
    with Image.open(tmp_path / "o" / "x.png") as output:
        assert (output.getexif()[274], output.info["icc_profile"], output.size) == (6, profile, (24, 16))
        if format != "JPEG":
            np.testing.assert_array_equal(np.asarray(output), pixels)
    Image.fromarray(pixels).save(tmp_path / "x.png", format, icc_profile=b"no profile" * 20, **options)
    outcome = zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "o")
    assert "its colour profile is damaged or not of RGB; the output has none." in outcome.err


def test_a_mosaic_is_never_turned(zoo_bench, tmp_path) -> None:
    counts = np.random.RandomState(0).randint(64, 1024, (64, 96)).astype(np.uint16)
    exif = Image.Exif()
    Image.fromarray(counts).save(tmp_path / "plain.tif")
    exif[274] = 6
    Image.fromarray(counts).save(tmp_path / "turned.tif", exif=exif)
    files = (tmp_path / "plain.tif", tmp_path / "turned.tif")
    assert zoo_bench("infer", "bilinear", *files, "-o", tmp_path / "o").code == 0
    plain, turned = (np.asarray(Image.open(tmp_path / "o" / f"{file.stem}.png")) for file in files)
    np.testing.assert_array_equal(plain, turned)


def test_an_rgb_picture_of_fewer_bits_is_remarked_and_white_sets_its_range(zoo_bench, tmp_path) -> None:
    counts = np.random.RandomState(0).randint(0, 1024, (16, 24, 3)).astype(np.uint16)
    (tmp_path / "x.png").write_bytes(png16(counts))
    outcome = zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "o")
    assert "a range of 10 bits" in outcome.err
    assert "bits" not in zoo_bench("infer", "identity", tmp_path / "x.png", "-o", tmp_path / "o", "--white", "1023").err
    output = np.asarray(Image.open(tmp_path / "o" / "x.png"))
    np.testing.assert_allclose(output, counts / 1023 * 255, atol=0.51)


def _header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        _header("(-1, 3, 4, 4)"),
        _header("(1, -3, -4, 4)"),
        _header("(True, 3, 4, 4)"),
        _header("(1, 3, 9223372036854775807, 4)"),
        _header("'text'"),
        _header("(((((((((("),
        _header("(2,)", "'|O'"),
        _header("(1, 3, 0, 4)"),
        _header("(1, 3, 2, 2)", "'>f4'"),
        b"\x93NUMPY\2\0\xff\xff\xff\x7f",
        b"",
    ],
)
def test_arrays_that_cannot_be_are_one_line(zoo_bench, tmp_path, content) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    outcome = zoo_bench("infer", "identity", tmp_path / "x.npy", "-o", tmp_path / "o")
    assert (outcome.code, outcome.err.count("\n"), str(tmp_path / "x.npy") in outcome.err) == (2, 1, True)


def test_an_array_in_fortran_order_is_the_same_array(zoo_bench, tmp_path, weights) -> None:
    planes = np.random.RandomState(0).rand(1, 4, 36, 40).astype(np.float32)
    np.save(tmp_path / "c.npy", planes)
    np.save(tmp_path / "f.npy", np.asfortranarray(planes))
    files = (tmp_path / "c.npy", tmp_path / "f.npy")
    assert zoo_bench("infer", "plainunet_8", *files, "--weights", weights, "-o", tmp_path / "o").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "o" / "c.npy"), np.load(tmp_path / "o" / "f.npy"), atol=1e-6)


def test_the_files_of_a_folder_are_run_and_told_as_json(zoo_bench, tmp_path) -> None:
    """Mosaics of every kind that the dataset raw-pairs reads, in the order of their numbers."""
    counts = np.random.RandomState(0).randint(256, 4093, (64, 80)).astype("<u2")
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    Image.fromarray(counts).save(tmp_path / "in" / "2.png")
    np.save(tmp_path / "in" / "10.npy", counts)
    counts.tofile(tmp_path / "in" / "1.raw")
    np.save(tmp_path / "in" / "3.npy", np.zeros((1, 4, 32, 32), np.float32))
    for other in ("notes.txt", ".hidden.png", "deeper/4.png"):
        (tmp_path / "in" / other).write_text("")
    levels = ("--black", "256", "--white", "4092", "--raw-size", "64x80")
    outcome = zoo_bench("infer", "bilinear", tmp_path / "in", "-o", tmp_path / "o", *levels, "--json")
    document = json.loads(outcome.out)
    assert [one["input"] for one in document["outputs"]] == [
        str(tmp_path / "in" / name) for name in ("1.raw", "2.png", "3.npy", "10.npy")
    ]
    outputs = [Path(one["output"]) for one in document["outputs"]]
    assert [path.name for path in outputs] == ["1.png", "2.png", "3.npy", "10.png"]
    pictures = [np.asarray(Image.open(path)) for path in outputs if path.suffix == ".png"]
    assert pictures[0].shape == (64, 80, 3)
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    plain = zoo_bench("infer", "bilinear", tmp_path / "in", "-o", tmp_path / "o", *levels)
    assert plain.out.splitlines() == [str(path) for path in outputs]


@pytest.mark.parametrize(
    ("names", "flags", "words"),
    [
        (("1.raw", "2.png"), (), "1.raw has no header, so its size is not known; pass --raw-size HxW"),
        (("1.raw",), ("--raw-size", "64x82"), "has 10240 bytes, and --raw-size 64x82 means 10496"),
        (("1.raw",), ("--raw-size", "63x82"), "--raw-size 63x82: expected HxW, for example 3000x4000, both even"),
        (("1.png", "1.tif"), (), "would be written to the same name; rename one"),
        (("1.jpg", "notes.txt"), (), "no mosaic (.png, .tif, .tiff, .npy, .raw, .dng) in the folder"),
    ],
)
def test_a_folder_that_cannot_be_run_is_one_line(zoo_bench, tmp_path, names, flags, words: str) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        if name.endswith(".raw"):
            np.zeros((64, 80), np.uint16).tofile(tmp_path / "in" / name)
        else:
            Image.fromarray(np.full((64, 80), 9, np.uint8)).save(tmp_path / "in" / name, "PNG")
    outcome = zoo_bench("infer", "bilinear", tmp_path / "in", "-o", tmp_path / "o", *flags)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err
    assert not (tmp_path / "o").exists() or not [*(tmp_path / "o").iterdir()]


def _pixels() -> np.ndarray:
    return np.zeros((4, 4, 3), np.uint8)


def test_a_picture_is_written_while_the_next_is_read(tmp_path, monkeypatch) -> None:
    going, done = threading.Event(), []
    monkeypatch.setattr(inference, "_save", lambda path, pixels, carried: going.wait(20) and None)
    with inference._Pictures(lambda file, path: done.append(path.name), behind=True) as pictures:
        pictures.write(tmp_path / "a", tmp_path / "a.png", _pixels(), {})
        # The caller goes on; nothing is said to be done that is not.
        assert done == []
        going.set()
        pictures.write(tmp_path / "b", tmp_path / "b.png", _pixels(), {})
        assert done == ["a.png"]
    assert done == ["a.png", "b.png"]


def test_under_a_memory_limit_a_picture_is_written_before_the_next_is_read(tmp_path) -> None:
    done = []
    with inference._Pictures(lambda file, path: done.append(path.exists()), behind=False) as pictures:
        pictures.write(tmp_path / "a", tmp_path / "a.png", _pixels(), {})
        assert done == [True]


def test_what_was_computed_before_an_error_is_written(tmp_path) -> None:
    def fail() -> None:
        with inference._Pictures(lambda file, path: None, behind=True) as pictures:
            pictures.write(tmp_path / "a", tmp_path / "a.png", _pixels(), {})
            raise UserError("the second is damaged")

    with pytest.raises(UserError, match="the second"):
        fail()
    assert (tmp_path / "a.png").exists()


def test_a_picture_that_cannot_be_written_is_an_error_of_its_own(tmp_path) -> None:
    path = tmp_path / "missing" / "a.png"
    with (
        pytest.raises(UserError, match=r"a\.png"),
        inference._Pictures(lambda file, path: None, behind=True) as pictures,
    ):
        pictures.write(tmp_path / "a", path, _pixels(), {})
