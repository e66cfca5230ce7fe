"""What the error is made of: parts that add up, shares in tables, on the page and from the command line."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from benchmark import score
from benchmark.htmlpage.data import document
from benchmark.imaging.alignment import crop, search_radius
from benchmark.leaderboard import boards, pages
from benchmark.metrics import ERROR_IDS, ERROR_PARTS, METRICS, chosen_ids, error_shares
from benchmark.results.store import Store, image_scores
from benchmark.running.run import run
from tests import test_aligned
from tests.sample_records import measurement, result
from zoo.errors import UserError

ZRR = ("psnr[rgb]", "ssim[gaussian11,rgb]")


def scene(**how):
    """Return a random scene in [0, 1]."""
    return 0.2 + 0.6 * test_aligned.scene(**how).clip(0, 1)


def parts_of(output, target):
    return {part: METRICS.get(id).function(output, target) for part, id in ERROR_PARTS.items()}


def shares_of(output, target):
    parts = parts_of(output, target)
    shares = error_shares({ERROR_PARTS[part]: value for part, value in parts.items()})
    assert sum(shares.values()) == pytest.approx(1, abs=1e-15)
    assert all(0 <= share <= 1 for share in shares.values())
    return shares


@pytest.fixture(scope="module")
def target():
    return scene()


@pytest.mark.parametrize("shift", [(0, 3), (-7, 5), (0.25, -0.5), (2.5, 1.75)])
def test_a_shift_is_a_shift(target, shift):
    assert shares_of(scene(shift=shift), target)["shift"] > 0.995


@pytest.mark.parametrize("gain", [[0.8, 0.9, 1.0], [0.3, 0.3, 0.3]])
def test_a_cast_is_colour(target, gain):
    # The gray of independent channels, weighted otherwise, moves by some hundredths of a pixel.
    assert shares_of(target * gain + [0.05, 0.0, -0.02], target)["colour"] == pytest.approx(1, abs=2e-3)
    matrix = np.array([[0.7, 0.2, 0.0], [0.1, 0.6, 0.1], [0.0, 0.2, 0.8]])
    assert shares_of(target @ matrix, target)["colour"] == pytest.approx(1, abs=2e-3)


def test_noise_is_rest(target):
    noise = 0.01 * np.random.default_rng(0).standard_normal(target.shape)
    # A lower contrast takes var(noise) / (var(scene) + var(noise)) of it.
    variance = crop(target, 16).var(axis=(0, 1))
    expected = np.mean(variance / (variance + 0.01**2))
    assert expected > 0.98
    assert shares_of(target + noise, target)["rest"] == pytest.approx(expected, abs=2e-3)


def test_shift_and_cast_are_told_apart(target):
    moved = scene(shift=(-3, 5))
    parts = parts_of(moved * 0.7 + 0.1, target)
    plain = np.mean(np.square(crop(moved * 0.7 + 0.1 - target, 16)))
    cast = np.mean(np.square(crop(0.3 * target - 0.1, 16)))
    assert parts == pytest.approx({"shift": plain - cast, "colour": cast, "rest": 0}, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_never_negative_and_add_up_to_the_error_inside_the_border(seed):
    first, second = np.random.default_rng(seed).random((2, 96, 130, 3))
    parts = parts_of(first, second)
    assert min(parts.values()) >= 0
    inside = crop(first - second, search_radius(96, 130))
    assert sum(parts.values()) == pytest.approx(np.mean(np.square(inside)), rel=1e-12)


def test_degenerate_images(target):
    flat = np.full((32, 32, 3), 0.5)
    assert shares_of(flat + 0.1, flat) == {"shift": 0, "colour": 1, "rest": 0}
    assert set(parts_of(target.copy(), target).values()) == {0}
    assert error_shares(dict.fromkeys(ERROR_PARTS.values(), 0.0)) is None
    assert error_shares({"error[rest]": 1.0}) is None
    assert error_shares(dict.fromkeys(ERROR_PARTS.values(), math.inf)) is None
    broken = target.copy()
    broken[100, 100] = math.nan
    assert all(math.isnan(part) for part in parts_of(broken, target).values())


def test_words_stand_for_ids():
    assert chosen_ids(None, ZRR) == chosen_ids(["protocol"], ZRR) == list(ZRR)
    assert chosen_ids(["error", "psnr[gray]", "protocol", "psnr[rgb]"], ZRR) == [*ERROR_IDS, "psnr[gray]", *ZRR]
    with pytest.raises(UserError, match=r"no metric called 'errors'"):
        chosen_ids(["protocol", "errors"], ZRR)


# Tables


def record(model: str, psnr: float, shift: float, colour: float, rest: float):
    parts = {"error[shift]": shift, "error[colour]": colour, "error[rest]": rest}
    scores = {id: measurement(value, unit="MSE", higher=False, n=12) for id, value in parts.items()}
    scores["psnr[rgb,colour]"] = measurement(psnr + 5, unit="dB")
    scores["ciede2000[rgb]"] = measurement(30 - psnr, unit="ΔE00", higher=False)
    plain = result(model, psnr)
    return plain.model_copy(update={"measurements": {**plain.measurements, **scores}})


def test_shares_have_a_table_of_their_own():
    records = [record("a", 22.0, 0.001, 0.004, 0.003), record("b", 21.0, 0.0, 0.0, 0.0), record("c", 20.0, 0.0, 1.0, 3)]
    quality, error, costs = boards(records, "zrr-standin")
    assert [header.split()[0] for header in quality.headers[3:5]] == ["`psnr[rgb]`", "params"]
    assert error.title == "zrr-standin, test: 12 images, 12 scenes: what the error is made of"
    assert error.headers == (
        "model", "evidence", "`psnr[rgb]` [dB] ↑", "`psnr[rgb,colour]` [dB] ↑", "`ciede2000[rgb]` [ΔE00] ↓",
        "`error` [MSE] ↓", "`share[shift]` [% of error] ", "`share[colour]` [% of error] ",
        "`share[rest]` [% of error] ",
    )  # fmt: skip
    assert error.rows[0][2:] == ("22.00", "27.00", "8.00", "0.00800", "12.5", "50.0", "37.5")
    assert error.rows[1][-4:] == ("-",) * 4
    # Lower is better where the arrow says so, and a share is neither good nor bad.
    best = {(y, error.headers[x].split()[0].strip("`")) for y, x in error.best}
    assert best == {(0, "psnr[rgb]"), (0, "psnr[rgb,colour]"), (0, "ciede2000[rgb]"), (0, "error")}
    assert any(definition.startswith("`share[colour]`: mean error[colour]") for definition in error.definitions)
    assert not any("share" in header for header in costs.headers)
    assert "summed over all images" in pages(records)["zrr-standin.md"]


def test_the_sum_of_the_parts_has_no_interval_of_one_of_them():
    found = record("a", 22.0, 0.001, 0.004, 0.003)
    part = found.measurements["error[shift]"].model_copy(update={"ci_low": 0.0005, "ci_high": 0.002})
    score = found.measurements["psnr[rgb]"].model_copy(update={"ci_low": 21.0, "ci_high": 23.0})
    own = {**found.measurements, "error[shift]": part, "psnr[rgb]": score}
    error = boards([found.model_copy(update={"measurements": own})], "zrr-standin")[1]
    assert error.rows[0][2:] == ("22.00 [21.00, 23.00]", "27.00", "8.00", "0.00800", "12.5", "50.0", "37.5")
    assert any(note.startswith("In brackets: the 95% interval") for note in error.notes)


def test_records_without_parts_have_the_tables_they_had():
    plain = result("a", 22.0)
    scores = {**plain.measurements, "psnr[rgb,aligned]": measurement(23.0, unit="dB")}
    quality, costs = boards([plain.model_copy(update={"measurements": scores})], "zrr-standin")
    assert "`psnr[rgb,aligned]` [dB] ↑" in quality.headers
    assert "costs" in costs.title


def test_the_page_shows_the_shares_in_its_table_of_quality():
    (data,) = document([record("a", 22.0, 0.001, 0.004, 0.003)]).content["datasets"]
    assert [table["kind"] for table in data["tables"]] == ["quality"]
    (table,) = data["tables"]
    place = next(x for x, column in enumerate(table["columns"]) if column["id"] == "share[colour]")
    assert table["rows"][0]["cells"][place][:2] == [pytest.approx(50), "50.0"]
    assert table["columns"][place]["higher"] is None


# Commands


def measured(out, **more):
    """Return the record of a model on four small images, and its scores per image."""
    (found,) = run("tiny", models=["tiny_free"], sizes=["none"], isolate=False, out=out, **more)
    return found, image_scores(Store(out).results()[-1])


def test_run_scores_the_parts_where_they_are_asked_for(tiny, tmp_path):
    found, images = measured(tmp_path, metrics=["protocol", "error"])
    assert list(found.spec.metrics) == [*ZRR, *ERROR_IDS]
    for id in ERROR_PARTS.values():
        assert found.measurements[id].value == pytest.approx(np.mean([scores[id] for scores in images.values()]))
    assert "what the error is made of" in boards([found], "tiny")[1].title
    # Without the word "error" a record and its key are what they were.
    plain = measured(tmp_path)[0]
    assert list(plain.spec.metrics) == list(ZRR)
    assert measured(tmp_path, metrics=["protocol"])[0] == plain
    exact = measured(tmp_path / "exact", metrics=["error"], exact=True)[1]
    assert {id: {metric: images[id][metric] for metric in ERROR_IDS} for id in images} == {
        id: pytest.approx(scores, abs=1e-5) for id, scores in exact.items()
    }


def test_score_prints_the_shares(zoo_bench, tmp_path):
    random = np.random.default_rng(0)
    for folder in ("outputs", "targets"):
        (tmp_path / folder).mkdir()
    pairs = []
    for index in range(2):
        target = random.integers(0, 200, (64, 64, 3))
        output = target // 2 + random.integers(0, 9 * (index + 1), target.shape)
        pairs.append((output / 255, target / 255))
        Image.fromarray(target.astype(np.uint8)).save(tmp_path / "targets" / f"{index}.png")
        Image.fromarray(output.astype(np.uint8)).save(tmp_path / "outputs" / f"{index}.png")
    found = score(tmp_path / "outputs", tmp_path / "targets", metrics=["error"])
    sums = {part: sum(parts_of(*pair)[part] for pair in pairs) for part in ERROR_PARTS}
    total = sum(sums.values())
    assert found["error_shares"] == pytest.approx({part: value / total for part, value in sums.items()})
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--all")
    assert f"is made of: shift {sums['shift'] / total:.1%}, colour {sums['colour'] / total:.1%}" in outcome.out
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--metrics", "psnr[rgb]", "--json")
    assert "error_shares" not in json.loads(outcome.out)


def test_a_score_of_which_less_is_better_ranks_upwards(tiny, tmp_path):
    found, _ = measured(tmp_path, metrics=["ciede2000[rgb]"])
    worse = found.measurements["ciede2000[rgb]"].model_copy(update={"value": 99.0})
    other = found.model_copy(update={"model": "worse", "key": "worse", "measurements": {"ciede2000[rgb]": worse}})
    board = boards([found, other], "tiny")[0]
    assert [row[0] for row in board.rows] == ["tiny_free", "worse"]
    assert "`ciede2000[rgb]` [ΔE00] ↓" in board.headers
