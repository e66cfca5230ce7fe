"""The one-pass scores against the float64 reference, to 1e-5."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmark.metrics import METRICS
from benchmark.scoring import fastmetrics
from benchmark.scoring.fastmetrics import SHARED_IDS, score_fast
from tests.test_metrics import GOLDEN, make_golden_pairs, make_pair
from zoo.errors import UserError

SIDE = 256
FLAT = np.zeros((SIDE, SIDE, 3))
HALF = FLAT.copy()
HALF[: SIDE // 2] = 0.983
RAMP = np.linspace(0, 1, SIDE)[:, None, None] * np.ones((SIDE, SIDE, 3))
NOISE = 1e-3 * np.random.default_rng(0).standard_normal((2, SIDE, SIDE, 3))
PAIRS = {
    "flat and dark": (FLAT + 0.001, FLAT + 0.0012),
    "dark noise": (0.01 + NOISE[0], 0.01 + NOISE[1]),
    "bright noise": (0.99 + NOISE[0], 0.98 + NOISE[1]),
    "flat and bright": (FLAT + 0.93, FLAT + 0.97),
    "a millionth apart": (FLAT + 0.5, FLAT + 0.5 + 1e-6),
    "half white against black": (HALF, FLAT),
    "half white against white": (HALF, FLAT + 1),
    "half white against the other half": (HALF, 1 - HALF),
    "two steps": (0.7 * HALF + 0.1, 0.31 * HALF),
    "opposite noise around a step": (HALF + 30 * NOISE[0], HALF - 30 * NOISE[0]),
    "ramps": (RAMP, RAMP**1.1),
    "opposite ramps": (RAMP, 1 - RAMP),
    "dark ramps": (0.01 * RAMP, 0.012 * RAMP),
    "negative": (1 - make_pair(SIDE, SIDE)[0], make_pair(SIDE, SIDE)[1]),
    "odd sides": make_pair(191, 187),
    "smallest": make_pair(176, 176, seed=3),
    "above one": (1.5 * make_pair(SIDE, SIDE)[0], make_pair(SIDE, SIDE)[1]),
}


def reference(output, target, ids=SHARED_IDS):
    return {id: METRICS.get(id).function(output, target) for id in ids}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pairs(name, dtype):
    target, output = (image / 255 for image in make_golden_pairs()[name])
    scores = score_fast(output.astype(dtype), target.astype(dtype), SHARED_IDS)
    golden = {id: float(GOLDEN[name]["values"][id]) for id in SHARED_IDS}
    assert scores == pytest.approx(golden, abs=1e-5)
    # Not one of them needs the reference's help.
    assert len(fastmetrics._one_pass(output, target, SHARED_IDS)) == len(SHARED_IDS)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_are_hard_for_float32(name):
    for dtype in (np.float32, np.float64):
        output, target = (image.astype(dtype) for image in PAIRS[name])
        expected = reference(output, target)
        assert score_fast(output, target, SHARED_IDS) == pytest.approx(expected, abs=1e-5, nan_ok=True)
        assert score_fast(target, output, SHARED_IDS) == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_identical_images_have_the_best_value():
    image = make_pair(180, 200)[1].astype(np.float32)
    scores = score_fast(image.copy(), image, SHARED_IDS)
    assert scores == {id: math.inf if id == "psnr[rgb]" else 1.0 for id in SHARED_IDS}


def test_other_ids_are_the_reference_and_order_is_kept():
    output, target = make_pair(180, 181)
    ids = ["psnr[gray]", "msssim[perchannel]", "ssim[uniform7,skimage]", "psnr[rgb]"]
    scores = score_fast(output, target, ids)
    assert list(scores) == ids
    assert scores["psnr[gray]"] == METRICS.get("psnr[gray]").function(output, target)
    assert scores["ssim[uniform7,skimage]"] == METRICS.get("ssim[uniform7,skimage]").function(output, target)
    assert score_fast(output, target, []) == {}


@pytest.mark.parametrize("id", SHARED_IDS)
def test_an_id_alone_has_the_value_that_it_has_among_others(id):
    output, target = (image.astype(np.float32) for image in make_pair(180, 181))
    assert score_fast(output, target, [id])[id] == score_fast(output, target, SHARED_IDS)[id]


def test_layout_does_not_matter_and_images_are_only_read():
    output, target = (image.astype(np.float32) for image in make_pair(190, 176))
    expected = score_fast(output, target, SHARED_IDS)
    planar = [np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0) for image in (output, target)]
    for image in planar:
        image.flags.writeable = False
    assert score_fast(*planar, SHARED_IDS) == expected
    np.testing.assert_array_equal(planar, (output, target))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_the_references(value):
    output, target = make_pair(176, 176)
    output[88, 88] = value
    with np.errstate(invalid="ignore"):
        expected = reference(output, target)
        assert score_fast(output, target, SHARED_IDS) == pytest.approx(expected, nan_ok=True)


def test_threads_do_not_change_a_score():
    pairs = [tuple(image.astype(np.float32) for image in make_pair(180, 200, seed)) for seed in range(4)] * 3
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda pair: score_fast(*pair, SHARED_IDS), pairs))
    assert threaded == [score_fast(*pair, SHARED_IDS) for pair in pairs]


@pytest.mark.parametrize(("id", "side"), [("msssim[pynet]", 176), ("ssim[gaussian11,rgb]", 11), ("psnr[rgb]", 1)])
def test_small_images_are_refused_as_by_the_reference(id, side):
    smallest = np.full((side, side, 3), 0.5, np.float32)
    score_fast(smallest, smallest, [id])
    with pytest.raises(UserError, match=f"at least {side} pixels a side"):
        score_fast(smallest[1:], smallest[1:], [id])


def test_mistakes_are_refused_as_by_the_reference():
    image = np.zeros((176, 176, 3), np.float32)
    with pytest.raises(UserError, match="expected equal shapes"):
        score_fast(image, image[1:], SHARED_IDS)
    with pytest.raises(UserError, match=r"expected \(height, width, 3\)"):
        score_fast(image[..., 0], image[..., 0], SHARED_IDS)
    with pytest.raises(UserError, match=r"of type uint8.*expected floats"):
        score_fast(image.astype(np.uint8), image, SHARED_IDS)
    half = image.astype(np.float16)
    assert score_fast(half, half, ["ssim[gaussian11,rgb]"])["ssim[gaussian11,rgb]"] == 1
