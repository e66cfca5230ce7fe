"""Scores of files that exist already: what is read, how partners are found, and every mistake named."""

from __future__ import annotations

import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from benchmark import score
from tests.deep_images import png16
from zoo.errors import UserError


@pytest.fixture
def folders(tmp_path):
    for name in ("outputs", "targets"):
        (tmp_path / name).mkdir()
    return tmp_path / "outputs", tmp_path / "targets"


def picture(seed: int, size=(24, 20), dtype=np.uint8):
    return np.random.RandomState(seed).randint(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype)


def psnr(first, second) -> float:
    return -10 * np.log10(np.mean((first - second) ** 2))


def test_sixteen_bits_are_scored_whole(folders) -> None:
    outputs, targets = folders
    output, target = picture(0), picture(1, dtype=np.uint16)
    Image.fromarray(output).save(outputs / "1.png")
    (targets / "1.png").write_bytes(png16(target))
    scores = score(outputs, targets, metrics=["psnr[rgb]"])["scores"]
    assert scores["psnr[rgb]"] == pytest.approx(psnr(output / 255, target / 65535), abs=1e-9)


def test_names_composed_in_two_ways_are_one_and_hidden_files_none(folders) -> None:
    outputs, targets = folders
    for folder, form in zip(folders, ("NFC", "NFD")):
        Image.fromarray(picture(0)).save(folder / unicodedata.normalize(form, "übung 1.png"))
    (outputs / "._übung 1.png").write_bytes(b"left by a file manager")
    document = score(outputs, targets, metrics=["psnr[rgb]"])
    assert [image["id"] for image in document["per_image"]] == ["übung 1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a complete PNG"),
        (b"text", "is not a complete PNG"),
        ("RGBA", "is a RGB with alpha PNG; expected RGB"),
        ("L", "is a gray PNG; expected RGB"),
        ("CMYK", "is a CMYK JPEG; expected RGB"),
    ],
)
def test_files_that_are_no_rgb_picture_are_named(folders, zoo_bench, content, words) -> None:
    outputs, targets = folders
    Image.fromarray(picture(0)).save(targets / "1.png")
    if isinstance(content, str):
        stream = io.BytesIO()
        Image.new(content, (20, 24)).save(stream, "JPEG" if content == "CMYK" else "PNG")
        content = stream.getvalue()
    (outputs / "1.png").write_bytes(content)
    outcome = zoo_bench("score", outputs, targets)
    assert outcome.code == 2
    assert outcome.err.startswith(f"zoo-bench: score: {outputs / '1.png'} {words}")
    assert outcome.err.count("\n") == 1


def test_missing_partner_and_unequal_sizes_are_named(folders) -> None:
    outputs, targets = folders
    Image.fromarray(picture(0)).save(outputs / "1.png")
    Image.fromarray(picture(0, (24, 22))).save(targets / "1.png")
    with pytest.raises(UserError, match=r"outputs/1\.png is 24x20, .*targets/1\.png is 24x22; expected"):
        score(outputs, targets)
    Image.fromarray(picture(0)).save(targets / "2.jpg")
    with pytest.raises(UserError, match=r"1 image\(s\) without partner, first .*targets/2\.jpg"):
        score(outputs, targets)


def test_image_that_is_too_small_is_named(folders, zoo_bench) -> None:
    outputs, targets = folders
    for folder in folders:
        Image.fromarray(picture(0, (175, 200))).save(folder / "1.png")
    with pytest.raises(UserError, match=r"outputs/1\.png: images of 175x200 pixels: .* at least 176"):
        score(outputs, targets, metrics=["msssim[pynet]"])
    outcome = zoo_bench("score", outputs, targets, "--all", "--json")
    assert outcome.code == 0
    scores = json.loads(outcome.out)["scores"]
    assert (scores["msssim[pynet]"], scores["psnr[rgb]"]) == (None, "inf")


def test_found_shifts_are_reported(folders, zoo_bench) -> None:
    outputs, targets = folders
    scene = np.kron(picture(0, (40, 40)), np.ones((5, 5, 1), np.uint8))
    Image.fromarray(scene[20:148, 20:148]).save(targets / "1.png")
    Image.fromarray(scene[17:145, 22:150]).save(outputs / "1.png")
    document = score(outputs, targets, metrics=["psnr[rgb]", "psnr[rgb,aligned]"])
    assert document["per_image"][0]["shift"] == {"dy": 3, "dx": -2}
    assert document["scores"]["psnr[rgb,aligned]"] == np.inf
    assert "shift" not in score(outputs, targets, metrics=["psnr[rgb]"])["per_image"][0]
    outcome = zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb,aligned]")
    # The length of (3, -2), as in the plot.
    assert outcome.out.splitlines()[-1] == "shifts found: median 3.61 px, largest 3.61 px; 1 of 1 image shifted"
    plot = outputs.parent / "plots" / "shifts.png"
    assert zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb,aligned]", "--shift-plot", plot).code == 0
    with Image.open(plot) as image:
        assert image.format == "PNG"
    outcome = zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb]", "--shift-plot", plot)
    assert (outcome.code, "no shifts were computed" in outcome.err) == (2, True)


def test_identical_images_are_counted_beside_the_mean(folders, zoo_bench) -> None:
    outputs, targets = folders
    for number in (0, 1):
        Image.fromarray(picture(0)).save(targets / f"{number}.png")
        Image.fromarray(picture(number)).save(outputs / f"{number}.png")
    outcome = zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb]")
    finite = psnr(picture(0) / 255, picture(1) / 255)
    assert outcome.out.splitlines()[1].split(maxsplit=1)[1] == f"inf (1 of 2 images; {finite:.6f} over the others)"


def test_a_range_of_fewer_bits_is_remarked_and_white_sets_it(folders, zoo_bench) -> None:
    outputs, targets = folders
    output, target = (picture(seed, (40, 40), np.uint16) >> 6 for seed in (0, 1))
    target[3, 3, 0] = 50000  # one hot pixel of 4800 hides nothing
    (outputs / "1.png").write_bytes(png16(output))
    (targets / "1.png").write_bytes(png16(target))
    document = score(outputs, targets, metrics=["psnr[rgb]"])
    assert document["scores"]["psnr[rgb]"] == pytest.approx(psnr(output / 65535, target / 65535), abs=1e-9)
    assert [line[:60] for line in document["remarks"]] == [
        f"the {side} side has a range of 10 bits in all its 16-bit files (1)"[:60] for side in ("output", "target")
    ]
    document = score(outputs, targets, metrics=["psnr[rgb]"], white=1023)
    expected = psnr(output / 1023, target.clip(0, 1023) / 1023)
    assert document["scores"]["psnr[rgb]"] == pytest.approx(expected, abs=1e-9)
    assert document["remarks"] == [f"{targets / '1.png'} has 1 count above white 1023, up to 50000, clipped to it"]
    outcome = zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb]", "--white", "511")
    assert (outcome.code, "counts up to 1023, above --white 511 in" in outcome.err) == (2, True)
    (outputs / "1.png").write_bytes(png16(picture(0, (40, 40), np.uint16)))
    (targets / "1.png").write_bytes(png16(picture(1, (40, 40), np.uint16)))
    assert "remarks" not in score(outputs, targets, metrics=["psnr[rgb]"])


def test_pairs_are_compared_as_stored_and_another_orientation_is_remarked(folders, zoo_bench) -> None:
    outputs, targets = folders
    exif = Image.Exif()
    exif[274] = 6
    for number in (1, 2):
        Image.fromarray(picture(0)).save(outputs / f"{number}.png")
        Image.fromarray(picture(0)).save(targets / f"{number}.tif", exif=exif)
    outcome = zoo_bench("score", outputs, targets, "--metrics", "psnr[rgb]", "--json")
    assert json.loads(outcome.out)["scores"]["psnr[rgb]"] == "inf"
    assert "1.tif has 6: both are compared as they are stored, not as a viewer turns them (and 1 more)" in outcome.err


def test_a_rule_finds_partners_in_one_folder_or_two(folders, zoo_bench) -> None:
    outputs, targets = folders
    for number in (1, 2, 10):
        Image.fromarray(picture(number)).save(outputs / f"{number}_out.png")
        Image.fromarray(picture(number + 1)).save(outputs / f"{number}_clean.png")
        Image.fromarray(picture(number + 1)).save(targets / f"x{number}.tif")
    one = zoo_bench("score", outputs, "--pairs", "*_out.* -> *_clean.*", "--json")
    document = json.loads(one.out)
    assert [image["id"] for image in document["per_image"]] == ["1", "2", "10"]
    assert (document["protocol"], [*document["scores"]]) == ("pairs", ["psnr[rgb]", "ssim[gaussian11,rgb]"])
    expected = np.mean([psnr(picture(n) / 255, picture(n + 1) / 255) for n in (1, 2, 10)])
    assert document["scores"]["psnr[rgb]"] == pytest.approx(expected)
    two = score(outputs, targets, pairs="*_out.* -> x*.tif", task="denoise_rgb", scene="^(.)")
    assert (two["protocol"], two["scores"]["psnr[rgb]"], two["num_scenes"]) == ("sidd", pytest.approx(expected), 2)
    assert (
        "3 images, 3 scenes: too few for intervals; protocol pairs"
        in zoo_bench("score", outputs, "--pairs", "*_out.* -> *_clean.*").out
    )
    plot = zoo_bench("score", outputs, "--pairs", "*_out.* -> *_clean.*", "--shift-plot", outputs / "1_out.png")
    assert (plot.code, (outputs / "1_out.png").stat().st_size > 0) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected a folder of targets after that of the outputs, or --pairs RULE"),
        (("--pairs", "*_out.*"), "expected two patterns joined by ->"),
        (("--pairs", "*_out.* -> *_clean.*"), "2_out.png has no partner; expected '2_clean.*'"),
        (("--pairs", "*_no.* -> *_clean.*"), "matches '*_no.*' in"),
        (("none", "--pairs", "*_out.* -> *_clean.*"), "none cannot be listed (No such file or directory); expected a"),
        (("none", "--task", "denoise"), "no task called 'denoise'; did you mean denoise_rgb"),
        (("none", "--protocol", "sid"), "no protocol called 'sid'; did you mean sidd"),
    ],
)
def test_a_rule_that_finds_no_pairs_is_one_line(folders, zoo_bench, arguments, words) -> None:
    for name in ("1_out", "1_clean", "2_out"):
        Image.fromarray(picture(0)).save(folders[0] / f"{name}.png")
    outcome = zoo_bench("score", folders[0], *arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err
