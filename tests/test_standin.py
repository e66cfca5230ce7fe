"""The stand-in: the pipeline's closed forms, the layout on disk, and a cache that survives crashes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState
from PIL import Image
from scipy.io import loadmat

from benchmark.cli.console import ConsoleReporter
from benchmark.datacheck.checking import check_dataset
from benchmark.opening import dataset_card, open_dataset
from benchmark.reporting import Reporter
from benchmark.results.jsonl import alone
from benchmark.results.store import read_results
from benchmark.standin import building, cache, photographs, sidd, unprocess, zrr
from tests.deep_images import png16
from zoo.errors import UserError

TINY = zrr.PairPlan(train=2, test=2, size=64)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny") / "zrr"
    zrr.STANDIN.write(root, plan=TINY)
    return root


@pytest.fixture(scope="module")
def sample_of_default(tmp_path_factory):
    """Return the default stand-in's test split and the first pairs of its train split."""
    root = tmp_path_factory.mktemp("default")
    zrr.STANDIN.write(root, plan=zrr.PairPlan(train=5))
    return root


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def marker_of(root):
    return json.loads((root / cache.MARKER).read_text())


# --- the pipeline -------------------------------------------------------------------------------------------


def test_inverse_smoothstep_is_exact():
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(unprocess.smoothstep(unprocess.inverse_smoothstep(x)), x, atol=1e-15)
    np.testing.assert_allclose(unprocess.render(unprocess.linearise(x)), x, atol=2e-7)


def test_camera_keeps_white_white():
    camera = unprocess.sample_camera(RandomState(3))
    np.testing.assert_allclose(np.sum(camera.rgb2cam, axis=1), 1, atol=1e-12)
    assert 1.9 <= camera.red_gain <= 2.4
    assert 1.5 <= camera.blue_gain <= 1.9


def test_inverse_gains_spare_saturated_white_only():
    camera = unprocess.Camera(((1, 0, 0), (0, 1, 0), (0, 0, 1)), red_gain=2.0, blue_gain=1.6)
    white, gray = np.ones((1, 1, 3)), np.full((1, 1, 3), 0.5)
    np.testing.assert_array_equal(unprocess.invert_gains(white, camera, 1.25), white)
    np.testing.assert_allclose(unprocess.invert_gains(gray, camera, 1.25)[0, 0], [0.2, 0.4, 0.25])


def test_noise_has_the_variance_of_its_formula():
    noise = unprocess.Noise(shot=0.01, read=0.0005)
    for level in (0.0, 0.3, 0.9):
        noisy = unprocess.add_noise(np.full((400, 400), level), noise, RandomState(0))
        assert noisy.mean() == pytest.approx(level, abs=1e-3)
        assert noisy.var() == pytest.approx(0.01 * level + 0.0005, rel=0.02)


def test_noise_levels_follow_the_published_line():
    random = RandomState(0)
    drawn = [unprocess.BROOKS_NOISE.sample(random) for _ in range(4000)]
    shot, read = np.log([[n.shot, n.read] for n in drawn]).T
    assert np.log(1e-4) <= shot.min() < shot.max() <= np.log(0.012)
    residual = read - (2.18 * shot + 1.20)
    assert residual.mean() == pytest.approx(0, abs=0.02)
    assert residual.std() == pytest.approx(0.26, abs=0.01)
    # The second fit is in decimal logarithms.
    levels = [unprocess.SIDD_NOISE.sample(random) for _ in range(2000)]
    residual = [np.log10(n.read) - 1.85 * np.log10(n.shot) - 0.30 for n in levels]
    assert np.std(residual) == pytest.approx(0.20, abs=0.01)


def test_rgb_gain_follows_the_published_distribution():
    random = RandomState(0)
    inverse = [1 / unprocess.sample_rgb_gain(random) for _ in range(2000)]
    assert np.mean(inverse) == pytest.approx(0.8, abs=0.01)
    assert np.std(inverse) == pytest.approx(0.1, abs=0.01)


def test_mosaic_is_rggb():
    image = np.broadcast_to([0.1, 0.2, 0.3], (4, 4, 3))
    np.testing.assert_array_equal(unprocess.mosaic(image)[:2, :2], [[0.1, 0.2], [0.2, 0.3]])


def test_demosaic_is_exact_on_constants_and_ramps():
    constant = np.broadcast_to([0.1, 0.2, 0.3], (6, 8, 3))
    np.testing.assert_allclose(unprocess.demosaic(unprocess.mosaic(constant)), constant, atol=1e-15)
    row, column = np.mgrid[0:8, 0:10]
    ramps = np.stack([row + 2.0 * column, 3.0 * row - column, 1.0 + row], axis=-1)
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(unprocess.demosaic(unprocess.mosaic(ramps))[inner], ramps[inner], atol=1e-12)


def test_round_trip_without_noise_loses_only_what_demosaicing_loses():
    coffee = photographs.TEST_PHOTOGRAPHS[0].read() / 255.0
    camera = zrr.fixed_camera()
    again = unprocess.process(unprocess.unprocess(coffee, camera, 1.25), camera, 1.25)
    assert -10 * np.log10(np.mean((again - coffee) ** 2)) == pytest.approx(26.2, abs=0.7)
    flat = np.broadcast_to([0.3, 0.5, 0.6], (8, 8, 3))
    again = unprocess.process(unprocess.unprocess(flat, camera, 1.1), camera, 1.1)
    np.testing.assert_allclose(again, flat, atol=1e-9)


# --- the photographs ----------------------------------------------------------------------------------------


def test_photographs_need_neither_pooch_nor_network(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setattr("socket.socket", None)
    shapes = {p.name: p.read().shape for p in (*photographs.TEST_PHOTOGRAPHS, *photographs.TRAIN_PHOTOGRAPHS)}
    assert shapes == {
        "coffee": (400, 600, 3),
        "chelsea": (300, 451, 3),
        "astronaut": (512, 512, 3),
        "rocket": (427, 640, 3),
        "hubble": (872, 1000, 3),
        "retina": (1411, 1411, 3),
        "ihc": (512, 512, 3),
    }


def test_procedural_images_keep_their_pixels():
    """All stand-ins that were written show them: a faster way to draw must draw the same."""
    digest = hashlib.sha256()
    for number, size in ((0, 448), (100, 448), (3, 256), *((number, 96) for number in range(20))):
        digest.update(photographs.procedural_image(number, size).tobytes())
    assert digest.hexdigest() == "adeba2547c20f2d3e1d5a930ebf566394edda554380656b593bea530906e5497"


def test_missing_photograph_is_named():
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read.*Reinstall"):
        photographs._read_wheel_file("nowhere.png")


def test_padding_mirrors_shorter_sides_only():
    image = RandomState(0).randint(0, 256, size=(3, 6, 3)).astype(np.uint8)
    padded = photographs.pad_symmetric(image, 5)
    assert padded.shape == (5, 6, 3)
    np.testing.assert_array_equal(padded[1:4], image)
    np.testing.assert_array_equal(padded[0], image[0])
    assert photographs.pad_symmetric(image, 2) is image


def test_procedural_images_are_seeded_and_differ():
    first, again, second = (photographs.procedural_image(n, size=64) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (64, 64, 3)
    assert (first != second).any()
    assert first.std() > 20


# --- what is written ----------------------------------------------------------------------------------------


def test_layout_and_integer_names(tiny):
    files = {str(p.relative_to(tiny)) for p in tiny.rglob("*") if p.is_file()}
    folders = {"huawei_raw": "png", "canon": "jpg", "huawei_visualized": "jpg"}
    expected = {f"{s}/{f}/{i}.{x}" for s in ("train", "test") for f, x in folders.items() for i in (0, 1)}
    assert files == expected | {cache.MARKER}


def test_both_depths_occur_in_both_splits(sample_of_default):
    for split in ("train", "test"):
        bits = []
        for path in sorted((sample_of_default / split / "huawei_raw").iterdir()):
            with Image.open(path) as image:
                counts = np.asarray(image)
                assert image.size == (448, 448)
            bits.append(8 if path.read_bytes()[24] == 8 else 16)
            # Unscaled in both: 8 bits exactly when the counts fit, never above 10 bits.
            assert (counts.max() <= 255) == (bits[-1] == 8)
            assert counts.max() <= 1023
            assert 40 < counts.mean() < 400
        assert {8, 16} == set(bits)
        assert sorted(bits) == sorted(image["bits"] for image in marker_of(sample_of_default)["images"][split])


def test_every_third_pair_is_shaded_in_raw_and_target(sample_of_default):
    images = marker_of(sample_of_default)["images"]["test"]
    for index, image in enumerate(images):
        with Image.open(sample_of_default / "test" / "canon" / f"{index}.jpg") as target:
            mean = np.asarray(target).mean()
        assert (image["shade"] < 1) == (index % 3 == 1)
        assert (image["bits"] == 8) == (index % 3 == 1)
        assert (mean < 60) == (index % 3 == 1)


def test_brightest_8_bit_is_the_root_of_its_equation():
    noise = unprocess.Noise(shot=0.002, read=5e-6)
    x = zrr.brightest_8_bit(noise, deviations=6)
    assert 64 + 959 * (x + 6 * np.sqrt(noise.shot * x + noise.read)) == pytest.approx(255)


def test_splits_share_no_photograph():
    names = {split: [p.name for p in zrr.DEFAULT_PLAN.photographs(split)] for split in zrr.SPLITS}
    assert len(names["train"]) == 56
    assert len(names["test"]) == 12
    assert set(names["test"]) == {"coffee", "chelsea"}
    assert not set(names["test"]) & set(names["train"])


def test_marker_says_how_it_was_made(tiny):
    marker = marker_of(tiny)
    assert (marker["name"], marker["version"], marker["seed"]) == ("zrr-standin", zrr.GENERATOR_VERSION, 0)
    assert marker["counts"] == {"train": 2, "test": 2}
    assert set(marker["photographs"]) == {"coffee", "chelsea", "astronaut", "rocket"}
    assert marker["photographs"]["coffee"]["licence"] == "CC0"
    assert marker["camera"]["black"] == 64
    assert len(marker["camera"]["rgb2cam"]) == 3
    assert set(marker["images"]["test"][0]) == {
        "photograph", "top", "left", "mirrored", "shade", "rgb_gain", "noise", "bits",
    }  # fmt: skip
    assert len(marker["files"]) == 12
    for path, entry in marker["files"].items():
        content = (tiny / path).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def test_same_seed_same_bytes_and_other_seed_other_bytes(tiny, tmp_path):
    zrr.STANDIN.write(tmp_path / "again", plan=TINY)
    zrr.STANDIN.write(tmp_path / "other", plan=TINY, seed=1)
    assert contents(tmp_path / "again") == contents(tiny)
    other, first = contents(tmp_path / "other"), contents(tiny)
    assert all(other[name] != first[name] for name in first)
    # One sensor, whatever the seed.
    assert marker_of(tmp_path / "other")["camera"] == marker_of(tiny)["camera"]


def test_a_pair_does_not_depend_on_the_number_of_pairs(tiny, tmp_path):
    zrr.STANDIN.write(tmp_path / "fewer", plan=zrr.PairPlan(train=0, test=1, size=64))
    fewer = {name: content for name, content in contents(tmp_path / "fewer").items() if name != cache.MARKER}
    assert fewer.items() <= contents(tiny).items()
    assert len(fewer) == 3


def test_one_process_at_a_time_writes_a_stand_in(tmp_path, zoo_bench):
    (tmp_path / "new").mkdir()
    with alone(tmp_path / "new" / f"{building.JOURNAL}.run", ""):
        outcome = zoo_bench("data", "make", "zrr", "--out", tmp_path / "new")
    assert (outcome.code, "new: another process writes a stand-in here" in outcome.err) == (2, True)
    with building.hold(tmp_path / "other"):
        pass
    # Nothing was written: nothing stays.
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_writing_reports_progress_and_refuses_what_it_cannot_write(tmp_path):
    calls = []
    plan = zrr.PairPlan(train=0, test=2, size=16)
    zrr.STANDIN.write(tmp_path / "new", plan=plan, reporter=Steps(lambda *call: calls.append(call)))
    assert calls == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match=r"new is not empty"):
        zrr.STANDIN.write(tmp_path / "new", plan=plan)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        zrr.STANDIN.write(tmp_path / "file", plan=plan)
    with pytest.raises(UserError, match=r"seed -1 is out of range"):
        zrr.STANDIN.write(tmp_path / "negative", seed=-1)


def test_a_stopped_writing_is_begun_again_by_the_same_request(tmp_path):
    plan = zrr.PairPlan(train=0, test=2, size=16)

    def stop(done, total):
        raise KeyboardInterrupt

    for folder in ("stopped", "whole"):
        (tmp_path / folder).mkdir()
    with pytest.raises(KeyboardInterrupt):
        zrr.STANDIN.write(tmp_path / "stopped", plan=plan, reporter=Steps(stop))
    with pytest.raises(UserError, match=r"is not empty"):
        zrr.STANDIN.write(tmp_path / "stopped", plan=plan, seed=1)
    zrr.STANDIN.write(tmp_path / "stopped", plan=plan)
    zrr.STANDIN.write(tmp_path / "whole", plan=plan)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


# --- sidd ---------------------------------------------------------------------------------------------------

COFFEE, CHELSEA = photographs.TEST_PHOTOGRAPHS
SMALL_SIDD = sidd.ScenePlan(photographs.TRAIN_PHOTOGRAPHS[:2], (COFFEE, CHELSEA), (COFFEE,), size=64, blocks=2)


@pytest.fixture(scope="module")
def small_sidd(tmp_path_factory):
    root = tmp_path_factory.mktemp("small") / "sidd"
    sidd.STANDIN.write(root, plan=SMALL_SIDD)
    return root


def test_malvar_is_exact_on_constants_and_on_gray_ramps():
    constant = np.broadcast_to([0.1, 0.2, 0.3], (8, 10, 3))
    np.testing.assert_allclose(unprocess.demosaic_malvar(unprocess.mosaic(constant)), constant, atol=1e-15)
    row, column = np.mgrid[0:10, 0:12]
    ramp = np.repeat((row + 2.0 * column)[..., None], 3, axis=-1)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(unprocess.demosaic_malvar(unprocess.mosaic(ramp))[inner], ramp[inner], atol=1e-12)


def test_sidd_layout_is_the_real_one(small_sidd):
    files = {str(p.relative_to(small_sidd)) for p in small_sidd.rglob("*") if p.is_file()}
    folders = sorted(p.name for p in (small_sidd / "SIDD_Medium_Srgb" / "Data").iterdir())
    assert [name[:11] + name[17:] for name in folders] == ["9001_901_ZB_00100_5500_N", "9002_901_ZB_00100_5500_N"]
    expected = {
        f"SIDD_Medium_Srgb/Data/{folder}/{folder[:4]}_{side}_SRGB_{frame}.PNG"
        for folder in folders
        for side in ("NOISY", "GT")
        for frame in ("010", "011")
    }
    mats = {sidd.VALIDATION_NOISY: 2, sidd.VALIDATION_TARGET: 2, sidd.BENCHMARK: 1}
    assert files == expected | {f"{name}.mat" for name in mats} | {cache.MARKER}
    for name, images in mats.items():
        content = loadmat(small_sidd / f"{name}.mat")
        assert (content[name].shape, content[name].dtype) == ((images, 2, 256, 256, 3), np.uint8)
        assert b"synthetic" in content["__header__"]
    assert marker_of(small_sidd)["counts"] == {"train": 4, "validation": 2, "benchmark": 1}
    assert set(marker_of(small_sidd)["photographs"]) == {"coffee", "chelsea", "astronaut", "rocket"}


def test_sidd_noise_is_that_of_a_camera(small_sidd):
    noisy = loadmat(small_sidd / f"{sidd.VALIDATION_NOISY}.mat")[sidd.VALIDATION_NOISY][0, 0].astype(float)
    clean = loadmat(small_sidd / f"{sidd.VALIDATION_TARGET}.mat")[sidd.VALIDATION_TARGET][0, 0].astype(float)
    noise = noisy - clean - (noisy - clean).mean(axis=(0, 1))
    assert 15 < -10 * np.log10(np.mean((noisy - clean) ** 2) / 255**2) < 35
    # Real SIDD: 0.43 between neighbours, 0.05 two pixels apart, colours +0.3 to +0.5.
    lags = [(noise[:, lag:] * noise[:, :-lag]).mean() / (noise**2).mean() for lag in (1, 2)]
    assert 0.3 < lags[0] < 0.55
    assert abs(lags[1]) < 0.15
    assert (np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)] > 0.05).all()


def test_two_shots_of_a_sidd_scene_differ_in_noise_only(small_sidd):
    folder = next((small_sidd / "SIDD_Medium_Srgb" / "Data").iterdir())
    pictures = {p.name[5:-4]: np.asarray(Image.open(p)) for p in folder.iterdir()}
    np.testing.assert_array_equal(pictures["GT_SRGB_010"], pictures["GT_SRGB_011"])
    assert (pictures["NOISY_SRGB_010"] != pictures["NOISY_SRGB_011"]).mean() > 0.5


def test_sidd_same_seed_same_bytes(small_sidd, tmp_path):
    sidd.STANDIN.write(tmp_path / "again", plan=SMALL_SIDD)
    assert contents(tmp_path / "again") == contents(small_sidd)
    other = sidd.ScenePlan(*[(COFFEE,)] * 3, size=32, blocks=1)
    sidd.STANDIN.write(tmp_path / "a", plan=other)
    sidd.STANDIN.write(tmp_path / "b", seed=1, plan=other)
    one, two = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert not [name for name in set(one) & set(two) if one[name] == two[name]]


def test_sidd_splits_share_no_photograph_and_isos_cover_the_range():
    plan = sidd.DEFAULT_PLAN
    assert not {p.name for p in plan.train} & {p.name for p in (*plan.validation, *plan.benchmark)}
    assert len({p.name for p in plan.train}) == 60
    assert not {"procedural-100", "procedural-101"} & {
        p.name for p in (*plan.train, *zrr.DEFAULT_PLAN.photographs("train"))
    }
    # The scenes of train-select.
    assert [sidd.draw_scene("x", i, 60, RandomState(0)).iso for i in (19, 39, 59)] == [100, 400, 1600]
    isos = [sidd.draw_scene("x", i, 7, RandomState(0)).iso for i in range(7)]
    assert (min(isos), max(isos)) == (100, 3200)
    assert isos[0] != isos[1]


# --- a user's own photographs -------------------------------------------------------------------------------


class Steps(Reporter):
    """Calls a function with the number of finished pieces and the total."""

    def __init__(self, step):
        self.step = step

    @contextlib.contextmanager
    def progress(self, label, total):
        done = itertools.count(1)
        yield lambda: self.step(next(done), total)


class Notes(Reporter):
    def __init__(self):
        self.notes, self.steps = [], 0

    def note(self, message):
        self.notes.append(message)

    def progress(self, label, total):
        import contextlib

        return contextlib.nullcontext(self.advance)

    def advance(self):
        self.steps += 1


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep er").mkdir(parents=True)
    for number in range(6):
        path = folder / ("deep er" if number % 2 else ".") / f"bild ä {number}.png"
        Image.fromarray(photographs.procedural_image(number, size=64 + 2 * number)).save(path)
    (folder / "notes.txt").write_text("")
    (folder / "loop").symlink_to(folder)
    return folder


@pytest.fixture
def tiny_pairs(monkeypatch):
    monkeypatch.setattr(zrr, "DEFAULT_PLAN", zrr.PairPlan(size=64))


@pytest.mark.usefixtures("tiny_pairs")
def test_zrr_from_photographs(photos, tmp_path):
    notes = Notes()
    zrr.STANDIN.write_photos(tmp_path / "out", photos, None, 0, notes)
    marker = marker_of(tmp_path / "out")
    assert (marker["name"], marker["counts"], notes.steps) == ("zrr-standin", {"train": 5, "test": 1}, 6)
    names = [f"bild ä {n}.png" for n in (0, 2, 4)] + [f"deep er/bild ä {n}.png" for n in (1, 3, 5)]
    assert set(marker["photographs"]) == set(names)
    assert [image["photograph"] for image in marker["images"]["test"]] == names[-1:]
    assert len(marker["sources"]) == 64
    whole = contents(tmp_path / "out")
    zrr.STANDIN.write_photos(tmp_path / "out", photos, None, 0, notes)
    assert "nothing to do" in notes.notes[-1]
    assert contents(tmp_path / "out") == whole


@pytest.mark.usefixtures("tiny_pairs")
def test_more_pairs_than_photographs_are_neighbours(photos, tmp_path):
    zrr.STANDIN.write_photos(tmp_path / "out", photos, 12, 0, Reporter())
    images = marker_of(tmp_path / "out")["images"]
    assert (len(images["train"]), len(images["test"])) == (10, 2)
    used = [image["photograph"] for image in images["train"]]
    assert used == sorted(used)
    assert len(set(used)) == 5
    assert not set(used) & {image["photograph"] for image in images["test"]}


@pytest.mark.usefixtures("tiny_pairs")
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(photos, tmp_path, monkeypatch):
    zrr.STANDIN.write_photos(tmp_path / "whole", photos, None, 0, Reporter())
    made, write = [], zrr.write_files

    def stop_at_the_fourth(root, files):
        made.append(sorted(files))
        if len(made) == 4:
            raise KeyboardInterrupt
        return write(root, files)

    monkeypatch.setattr(zrr, "write_files", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        zrr.STANDIN.write_photos(tmp_path / "out", photos, None, 0, Reporter())
    assert not (tmp_path / "out" / cache.MARKER).exists()
    (tmp_path / "out" / "train" / "canon" / "1.jpg").write_bytes(b"torn")
    notes = Notes()
    zrr.STANDIN.write_photos(tmp_path / "out", photos, None, 0, notes)
    assert "2 of 6 pairs are there already" in notes.notes[0]
    assert (len(made), notes.steps) == (4 + 4, 6)
    whole, resumed = (contents(tmp_path / name) for name in ("whole", "out"))
    assert resumed == whole, "the journal, too"
    assert building.JOURNAL in whole
    (tmp_path / "out" / "train" / "canon" / "1.jpg").unlink()
    zrr.STANDIN.write_photos(tmp_path / "out", photos, None, 0, Reporter())
    assert contents(tmp_path / "out") == whole, "a finished one that lost a file is mended"


@pytest.mark.usefixtures("tiny_pairs")
def test_another_request_does_not_continue_a_folder(photos, tmp_path):
    zrr.STANDIN.write_photos(tmp_path / "out", photos, 2, 0, Reporter())
    with pytest.raises(UserError, match=r"holds a stand-in of seed 0, not of seed 1"):
        zrr.STANDIN.write_photos(tmp_path / "out", photos, 2, 1, Reporter())
    with pytest.raises(UserError, match=r"holds a stand-in of count 2, not of count 3"):
        zrr.STANDIN.write_photos(tmp_path / "out", photos, 3, 0, Reporter())
    with pytest.raises(UserError, match=r"is not empty and holds no stand-in to continue"):
        zrr.STANDIN.write_photos(photos.parent, photos, 2, 0, Reporter())
    with pytest.raises(UserError, match=r"--out .* lies in --photos"):
        zrr.STANDIN.write_photos(photos / "out", photos, 2, 0, Reporter())


def test_several_processes_give_the_same_bytes(photos, tmp_path):
    make = functools.partial(zrr._make_piece, seed=0, size=16)
    jobs = [building.Job("train", i, photo) for i, photo in enumerate(photographs.folder_photographs(photos))]
    one = building.build_pieces(tmp_path / "one", jobs, make, workers=1)
    two = building.build_pieces(tmp_path / "two", jobs, make, workers=2)
    assert (one, list(one)) == (two, [job.key for job in jobs])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def _write_own_id(root, job):
    """Make a piece that takes a minute; the id of the process stands beside it."""
    (root / f"{os.getpid()}.pid").touch()
    time.sleep(60)


def _end_own_process(root, job):
    os.kill(os.getpid(), signal.SIGKILL)


def _jobs(count):
    return [building.Job("train", index, photographs.procedural_photograph(index)) for index in range(count)]


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the state of processes from /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmark.standin import building;"
        "from tests import test_standin as t;"
        "building.build_pieces(Path(sys.argv[1]), t._jobs(4), t._write_own_id, workers=2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    ids = [path.stem for path in tmp_path.glob("*.pid")]
    while any(_runs(id) for id in ids):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.05)


def _runs(id):
    try:
        return Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_killed_worker_is_told_in_a_line(tmp_path):
    with pytest.raises(UserError, match="a worker process was ended from outside"):
        building.build_pieces(tmp_path, _jobs(3), _end_own_process, workers=2)


def test_photographs_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        photographs.folder_photographs(tmp_path / "none")
    Image.new("RGB", (80, 20)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match="found 1 pictures"):
        photographs.folder_photographs(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"x")
    broken, small = photographs.folder_photographs(tmp_path)
    with pytest.raises(UserError, match=r"broken\.jpg is not a complete"):
        broken.read()
    with pytest.raises(UserError, match=r"small\.png has 20x80 pixels; expected at least 64"):
        small.read()


def test_photographs_of_other_kinds_become_rgb(tmp_path):
    gray = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (70, 1))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "1.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "2.png", transparency=bytes(range(256)))
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "3.png")
    (tmp_path / "4.png").write_bytes(png16(np.stack([gray] * 3, axis=2).astype(np.uint16) * 257))
    for photograph in photographs.folder_photographs(tmp_path):
        np.testing.assert_array_equal(photograph.read(), np.stack([gray] * 3, axis=2), photograph.name)


def test_sidd_from_photographs_by_command(photos, tmp_path, zoo_bench, monkeypatch):
    monkeypatch.setattr(sidd, "DEFAULT_PLAN", sidd.ScenePlan(size=64, blocks=2))
    outcome = zoo_bench("data", "make", "sidd", "--out", tmp_path / "out", "--photos", photos, "--count", 3)
    assert outcome.code == 0, outcome.err
    marker = marker_of(tmp_path / "out")
    assert (marker["name"], marker["counts"]) == ("sidd-standin", {"train": 4, "validation": 1, "benchmark": 1})
    assert not (tmp_path / "out" / sidd.SCRATCH).exists()
    assert zoo_bench("data", "make", "sidd", "--out", tmp_path / "out", "--photos", photos, "--count", 3).code == 0
    outcome = zoo_bench("data", "make", "sidd", "--out", tmp_path / "x", "--count", 3)
    assert (outcome.code, "--count 3 needs --photos" in outcome.err) == (2, True)


# --- photographs that are divided already, and labels -------------------------------------------------------------


@pytest.fixture
def divided(tmp_path):
    folder = tmp_path / "divided"
    for part, numbers in (("train", range(4)), ("val", (4, 5))):
        (folder / part).mkdir(parents=True)
        for number in numbers:
            pixels = photographs.procedural_image(number, size=64 + 2 * number)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    return folder


@pytest.mark.usefixtures("tiny_pairs")
def test_folders_say_what_is_held_out_and_a_label_names_the_dataset(divided, tmp_path, zoo_bench):
    out = tmp_path / "out"
    make = ("data", "make", "zrr", "--out", out, "--photos", divided, "--name", "six")
    assert zoo_bench(*make).code == 0
    marker = marker_of(out)
    assert marker["counts"] == {"train": 4, "test": 2}
    assert [image["photograph"] for image in marker["images"]["test"]] == ["val/4.png", "val/5.png"]
    assert (marker["label"], marker["overlaps"]) == ("six", [])
    dataset = open_dataset(dataset_card("zrr"), out, "test")
    assert (dataset.name, dataset.provenance["label"]) == ("zrr-standin (six)", "six")
    # The weights in the package were trained on the embedded stand-in; here they are not taken unasked.
    run = ("run", "--dataset", "zrr", "--models", "plainunet_8", "--sizes", "none", "--out", tmp_path / "run")
    assert zoo_bench(*run, "--data-root", out).code == 0
    (record,) = read_results(tmp_path / "run" / "results.jsonl")
    assert (record.evidence, record.dataset) == ("untrained", "zrr-standin (six)")
    checked = zoo_bench("data", "check", "zrr-standin (six)", "--data-root", out, "--json")
    assert json.loads(checked.out)["dataset"] == "zrr-standin (six)"
    # The digest holds the files; the same files under another name are another dataset only by name.
    assert zoo_bench("data", "make", "zrr", "--out", tmp_path / "plain", "--photos", divided).code == 0
    assert open_dataset(dataset_card("zrr"), tmp_path / "plain", "test").name == "zrr-standin"
    assert "nothing to do" in zoo_bench(*make).err
    outcome = zoo_bench(*make[:-1], "seven")
    assert (outcome.code, "of label six, not of label seven" in outcome.err) == (2, True)
    for bad in ("a b", "", "(x)", "x" * 41):
        outcome = zoo_bench(*make[:3], "--out", tmp_path / "no", "--name", bad)
        assert (outcome.code, "expected up to 40 letters" in outcome.err) == (2, True)


@pytest.mark.usefixtures("tiny_pairs")
def test_a_count_is_divided_as_the_folders_are(divided, tmp_path):
    zrr.STANDIN.write_photos(tmp_path / "out", divided, 9, 0, Reporter())
    images = marker_of(tmp_path / "out")["images"]
    assert (len(images["train"]), len(images["test"])) == (6, 3)
    assert {image["photograph"] for image in images["test"]} == {"val/4.png", "val/5.png"}
    (divided / "more").mkdir()
    Image.fromarray(photographs.procedural_image(7, size=64)).save(divided / "more" / "7.png")
    train, held_out, is_divided = photographs.divided_photographs(divided)
    assert (len(train), len(held_out), is_divided) == (6, 1, False), "a third folder: its place is not said"


@pytest.mark.parametrize("kind", ["zrr", "sidd"])
def test_data_check_finds_photographs_in_train_and_test(divided, tmp_path, zoo_bench, monkeypatch, kind):
    monkeypatch.setattr(zrr, "DEFAULT_PLAN", zrr.PairPlan(size=64))
    monkeypatch.setattr(sidd, "DEFAULT_PLAN", sidd.ScenePlan(size=64, blocks=2))
    shutil.copy(divided / "train" / "2.png", divided / "val" / "copy.png")
    with Image.open(divided / "train" / "1.png") as image:
        image.resize((90, 90)).save(divided / "val" / "smaller.jpg", quality=70)
    made = zoo_bench("data", "make", kind, "--out", tmp_path / "out", "--photos", divided)
    assert made.code == 0
    assert "train/2.png (train) and val/copy.png (held out) have the same pixels" in made.err
    outcome = zoo_bench("data", "check", kind, "--data-root", tmp_path / "out", "--json")
    found = [one["what"] for one in json.loads(outcome.out)["problems"] if one["kind"] == "overlap"]
    assert outcome.code == 1
    assert found == [
        "the photographs train/2.png (train) and val/copy.png (held out) have the same pixels",
        "the photographs train/1.png (train) and val/smaller.jpg (held out) look the same",
    ]


def test_many_images_of_sidd_have_fewer_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sidd, "PUBLISHED_IMAGES", 2)
    monkeypatch.setattr(sidd, "DEFAULT_PLAN", sidd.ScenePlan(size=64))
    folder = tmp_path / "photos"
    for part, numbers in (("train", range(20)), ("test", range(20, 23))):
        (folder / part).mkdir(parents=True)
        for number in numbers:
            pixels = photographs.procedural_image(number, size=64)
            Image.fromarray(pixels).save(folder / part / f"{number:02}.png")
    sidd.STANDIN.write_photos(tmp_path / "out", folder, None, 0, Reporter(), label="few")
    blocks = open_dataset(dataset_card("sidd"), tmp_path / "out", "validation")
    assert (blocks.name, len(blocks.ids)) == ("sidd-standin (few)", 3 * sidd.FEWER_BLOCKS)
    assert blocks[11].input.shape == (1, 3, 256, 256)
    parts = {
        split: open_dataset(dataset_card("sidd"), tmp_path / "out", split)
        for split in ("train", "train-fit", "train-select")
    }
    assert [len(part.ids) for part in parts.values()] == [40, 38, 2]
    assert {*parts["train-fit"].ids, *parts["train-select"].ids} == {*parts["train"].ids}
    assert len({part.digest() for part in parts.values()}) == 3
    assert check_dataset("sidd", tmp_path / "out")["problems"] == []


# --- the cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_default(monkeypatch):
    monkeypatch.setattr(zrr, "DEFAULT_PLAN", zrr.PairPlan(train=1, test=2, size=16))


@pytest.mark.usefixtures("small_default")
def test_cache_is_built_once(cache_folder):
    calls = []
    root = zrr.STANDIN.cached(Steps(lambda *call: calls.append(call)))
    assert root.parent == cache_folder
    assert root.name == f"zrr-standin-v{zrr.GENERATOR_VERSION}"
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert zrr.STANDIN.cached(Steps(lambda *call: calls.append(call))) == root
    assert len(calls) == 3


def test_cache_root_is_the_users_unless_overridden(monkeypatch, cache_folder):
    assert cache.cache_root() == cache_folder
    monkeypatch.delenv(cache.CACHE_VARIABLE)
    assert "zoo-bench" in str(cache.cache_root())


@pytest.mark.usefixtures("small_default")
def test_an_exception_half_way_leaves_nothing_to_believe(cache_folder):
    def stop(done, total):
        if done == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        zrr.STANDIN.cached(Steps(stop))
    assert [p for p in cache_folder.iterdir() if p.suffix != ".lock"] == []
    root = zrr.STANDIN.cached(Reporter())
    assert cache.is_complete(root, name=zrr.NAME, version=zrr.GENERATOR_VERSION)


CHILD = """
import contextlib, functools, itertools, os, sys, time
from pathlib import Path
from benchmark.standin import cache
from benchmark.standin import zrr
from benchmark.datacheck.checking import check_dataset
from benchmark.opening import dataset_card, open_dataset
from benchmark.reporting import Reporter
log, die = Path(sys.argv[1]), sys.argv[2] == "die"
def progress(done, total):
    if die and done == 2:
        os._exit(9)  # as kill -9: no clean-up runs
    time.sleep(0.1)
class Steps(Reporter):
    @contextlib.contextmanager
    def progress(self, label, total):
        done = itertools.count(1)
        yield lambda: progress(next(done), total)
def build(folder):
    with log.open("a") as stream:
        stream.write("built\\n")
    zrr.STANDIN.write(folder, plan=zrr.PairPlan(train=1, test=2, size=16), reporter=Steps())
complete = functools.partial(cache.is_complete, name=zrr.NAME, version=zrr.GENERATOR_VERSION)
print(cache.build_once("small", build, complete))
"""


def start_child(log: Path, mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(log), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())


@pytest.mark.thorough
def test_a_killed_build_is_swept_away_and_parallel_builds_do_not_fight(cache_folder, tmp_path):
    log = tmp_path / "log"
    killed = start_child(log, "die")
    killed.communicate(timeout=60)
    assert killed.returncode == 9
    assert (cache_folder / ".small.partial" / "train").is_dir()
    assert not (cache_folder / "small").exists()

    children = [start_child(log, "live") for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert {output.strip() for output in outputs} == {str(cache_folder / "small")}
    assert log.read_text().splitlines() == ["built"] * 2  # the killed one and one of the two
    assert sorted(p.name for p in cache_folder.iterdir()) == [".small.lock", "small"]


@pytest.mark.usefixtures("small_default")
@pytest.mark.parametrize("damage", ["missing", "shorter", "marker", "version", "file"])
def test_a_damaged_cache_is_built_again(damage):
    root = zrr.STANDIN.cached(Reporter())
    first = contents(root)
    if damage == "missing":
        (root / "test" / "canon" / "1.jpg").unlink()
    elif damage == "shorter":
        (root / "test" / "canon" / "1.jpg").write_bytes(b"short")
    elif damage == "marker":
        (root / cache.MARKER).write_text("{")
    elif damage == "version":
        cache.write_marker(root, {**marker_of(root), "version": 0})
    else:
        root.rename(root.with_name("elsewhere"))
        root.write_text("not a folder")
    assert contents(zrr.STANDIN.cached(Reporter())) == first


def test_a_cache_that_cannot_be_written_is_named(cache_folder):
    cache_folder.write_text("a file")
    with pytest.raises(UserError, match=rf"cannot write to {cache_folder}.*set {cache.CACHE_VARIABLE}"):
        zrr.STANDIN.cached(Reporter())


def test_is_complete_never_raises(tmp_path):
    complete = functools.partial(cache.is_complete, name="x", version=1)
    assert not complete(tmp_path / "nowhere")
    for content in ("[]", "{}", '{"name": "x", "version": 1}', '{"name": "x", "version": 1, "files": []}', "\x00"):
        (tmp_path / cache.MARKER).write_text(content)
        assert not complete(tmp_path)


@pytest.mark.usefixtures("tiny_pairs")
def test_six_of_twelve_photographs_are_held_out_and_fewer_are_told(tmp_path, zoo_bench, monkeypatch):
    bars = []
    real = ConsoleReporter.progress
    monkeypatch.setattr(ConsoleReporter, "progress", lambda self, label, n: bars.append(label) or real(self, label, n))
    for count in (11, 12):
        folder = tmp_path / f"of {count}"
        folder.mkdir()
        for number in range(count):
            Image.fromarray(photographs.procedural_image(number, size=64)).save(folder / f"{number:02}.png")
        make = ("data", "make", "zrr", "--photos", folder, "--out", tmp_path / f"out {count}")
        made = zoo_bench(*make)
        assert marker_of(make[-1])["counts"] == ({"train": 6, "test": 6} if count == 12 else {"train": 9, "test": 2})
        assert ("the test shows 2 scenes, and with fewer than 6 there are no" in made.err) == (count == 11)
        assert (made.out, bars) == (f"wrote {make[-1]}\n", ["writing zrr-standin"])
        bars.clear()
        again = zoo_bench(*make)
        assert (again.code, again.out, bars) == (0, "", [])
        (make[-1] / cache.MARKER).unlink()
        assert (zoo_bench(*make).out, bars) == (f"wrote {make[-1]}\n", []), "all pieces are there"
    few = zoo_bench("data", "make", "zrr", "--photos", folder, "--count", "8", "--out", tmp_path / "few")
    assert "zrr-standin: the test shows 1 scene, and" in few.err
