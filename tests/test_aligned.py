"""Shifts found in synthetic pairs, and the scores at those shifts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmark.imaging import alignment
from benchmark.imaging.alignment import Shift, align, crop, find_shift, search_radius
from benchmark.imaging.shift_plots import save_shift_histogram, shifts_text
from benchmark.metrics import METRICS
from zoo.errors import UserError

PLAIN = {"psnr[rgb,aligned]": "psnr[rgb]", "ssim[gaussian11,rgb,aligned]": "ssim[gaussian11,rgb]"}


def score(id, output, target):
    return METRICS.get(id).function(output, target)


def scene(side=200, seed=0, *, shift=(0.0, 0.0), scale=4):
    """Return a smooth random scene (side, side, 3), seen by a camera that is ``shift`` pixels off.

    It is drawn ``scale`` times finer and averaged down: nothing in it knows of Fourier transforms.
    """
    random = np.random.default_rng(seed)
    fine = random.standard_normal(((side + 40) * scale, (side + 40) * scale, 3))
    fine = gaussian_filter(fine, (2.0 * scale, 2.0 * scale, 0))
    fine = 0.5 + 0.15 * fine / fine.std()
    top, left = (round((20 - part) * scale) for part in shift)
    window = fine[top : top + side * scale, left : left + side * scale]
    return window.reshape(side, scale, side, scale, 3).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def target():
    return scene()


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (-3, 5), (16, -16), (-11, 0)])
def test_whole_shifts_are_found_and_leave_no_error(target, shift):
    output = scene(shift=shift)
    assert find_shift(output, target) == shift
    np.testing.assert_allclose(*align(output, target, Shift(*shift)), atol=1e-12)
    assert score("psnr[rgb,aligned]", output, target) > 200
    assert score("ssim[gaussian11,rgb,aligned]", output, target) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shift", [(0.25, -0.5), (2.5, 1.75), (-6.25, 9.5), (0.0, 0.75)])
def test_sub_pixel_shifts_are_found_under_noise_and_colour_change(target, shift):
    random = np.random.default_rng(1)
    moved = scene(shift=shift)
    output = moved * [0.8, 0.9, 1.05] + [0.05, 0.0, -0.02] + 0.03 * random.standard_normal(target.shape)
    assert find_shift(output, target) == pytest.approx(shift, abs=0.03)
    assert find_shift(moved, target) == pytest.approx(shift, abs=0.01)
    for id, plain in PLAIN.items():
        assert score(id, output, target) > score(plain, crop(output, 16), crop(target, 16))
    # What is left is the cast and the noise.
    ideal = score("psnr[rgb]", crop(scene() + output - moved, 16), crop(target, 16))
    assert score("psnr[rgb,aligned]", output, target) == pytest.approx(ideal, abs=0.3)


def test_moving_does_not_smooth():
    noise = np.random.default_rng(0).standard_normal((128, 128, 3))
    moved, _ = align(noise, noise, Shift(0.5, 0.5))
    assert moved.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("id", PLAIN)
def test_without_a_shift_the_score_is_the_plain_one_inside_the_border(id, target):
    random = np.random.default_rng(2)
    output = target * 0.9 + 0.02 * random.standard_normal(target.shape)
    assert find_shift(output, target) == pytest.approx((0, 0), abs=0.02)
    expected = score(PLAIN[id], crop(output, 16), crop(target, 16))
    assert score(id, output, target) == pytest.approx(expected, rel=1e-3)
    identical = score(id, target.copy(), target)
    assert identical == (math.inf if id.startswith("psnr") else 1)


@pytest.mark.parametrize("id", PLAIN)
@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_the_plain_score_inside_the_border(id, seed):
    random = np.random.default_rng(seed)
    first, second = random.random((2, 96, 130, 3))
    border = search_radius(96, 130)
    assert score(id, first, second) >= score(PLAIN[id], crop(first, border), crop(second, border))
    assert max(map(abs, find_shift(first, second))) <= border


@pytest.mark.parametrize("colour", [0.0, 0.3])
def test_flat_images_have_no_shift(colour):
    flat = np.full((64, 64, 3), 0.5)
    assert find_shift(flat + colour, flat) == (0, 0)
    expected = score("psnr[rgb]", flat + colour, flat)
    assert score("psnr[rgb,aligned]", flat + colour, flat) == pytest.approx(expected)


def test_border_follows_the_size():
    assert [search_radius(side, 448) for side in (448, 128, 127, 64, 32, 16, 11, 5)] == [16, 16, 15, 8, 4, 2, 0, 0]
    image = scene(32)
    assert score("ssim[gaussian11,rgb,aligned]", image[:11, :11], image[:11, :11]) == 1
    with pytest.raises(UserError, match="at least 11 pixels a side"):
        score("ssim[gaussian11,rgb,aligned]", image[:10], image[:10])
    with pytest.raises(UserError, match="expected equal shapes"):
        score("psnr[rgb,aligned]", image[:10], image)


def test_values_that_are_not_numbers_stay_visible(target):
    output = target.copy()
    output[100, 100] = math.nan
    assert find_shift(output, target) == (0, 0)
    assert all(math.isnan(score(id, output, target)) for id in PLAIN)


def test_a_pair_is_searched_once(target, monkeypatch):
    calls = []
    search = alignment._search
    monkeypatch.setattr(alignment, "_search", lambda *pair: calls.append(1) or search(*pair))
    output = scene(shift=(3, 1)) + 0.001
    for id in PLAIN:
        score(id, output, target)
    assert find_shift(output.copy(), target) == (3, 1)
    assert len(calls) == 1
    output[0, 0] += 0.1  # the same array, another image
    find_shift(output, target)
    assert len(calls) == 2


def test_definitions_say_how(target):
    for id in PLAIN:
        assert "phase correlation" in METRICS.get(id).definition
        assert "16 pixels" in METRICS.get(id).definition


def test_histogram_is_a_picture(tmp_path):
    shifts = [Shift(0.0, 0.0), Shift(1.5, -2.25), Shift(1.4, -2.2), Shift(-16, 16)]
    save_shift_histogram(tmp_path / "deep" / "shifts.png", "hyperunet on zrr", shifts)
    with Image.open(tmp_path / "deep" / "shifts.png") as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 5
    for shifts, column in (([Shift(0, 1)], 24), ([Shift(0, 2)], 32), ([Shift(0, 3), Shift(0, 3)], 28)):
        save_shift_histogram(tmp_path / "fits.png", "small", shifts)
        with Image.open(tmp_path / "fits.png") as image:
            bars = np.all(np.asarray(image)[60:340, 44:337] == (52, 101, 164), axis=2)
        # Cells have 9 pixels, and the axes end at 2 or 4 pixels of shift here.
        assert {*(np.flatnonzero(bars.any(axis=0)) + 4) // 9} == {column}
    assert shifts_text([Shift(3, -4), Shift(0, 0)]) == (
        "shifts found: median 2.50 px, largest 5.00 px; 1 of 2 images shifted"
    )
    with pytest.raises(UserError, match="no shifts"):
        save_shift_histogram(tmp_path / "none.png", "nothing", [])
