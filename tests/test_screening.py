"""Bad images in a run: refused with the first one named, or left out and counted."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions
from benchmark.datacheck.screening import screen
from benchmark.datasets import DATASETS
from benchmark.leaderboard.tables import images_of
from benchmark.reporting import Reporter
from benchmark.standin.zrr import STANDIN
from tests.deep_images import png16
from zoo import UserError


def run(dataset: str, **more):
    """Run in this process without timings."""
    quick = {"isolate": False, "sizes": ["none"], "conditions": Conditions()}
    (result,) = run_as_users_do(dataset, **{**quick, **more})
    return result


@pytest.fixture
def zrr(tmp_path) -> Path:
    """Copy the test split of the stand-in."""
    source = STANDIN.cached(Reporter())
    root = tmp_path / "zrr"
    shutil.copytree(source / "test", root / "test")
    shutil.copy(source / "zoo-bench-standin.json", root)
    return root


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-900])


def spoil(root: Path, how: str) -> None:
    """Spoil pair 3."""
    raw, target = root / "test" / "huawei_raw" / "3.png", root / "test" / "canon" / "3.jpg"
    counts = np.asarray(Image.open(raw)).astype(np.uint16)
    if how == "cut":
        cut(target)
    elif how == "missing":
        target.unlink()
    elif how == "scaled":
        Image.fromarray(counts * 64).save(raw)
    elif how == "black":
        Image.fromarray(np.full_like(counts, 64)).save(raw)
    elif how == "size":
        Image.fromarray(counts[:-2]).save(raw)
    elif how == "alpha":
        Image.fromarray(np.zeros((448, 448, 4), np.uint8)).save(raw)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "3.jpg: "),
        ("missing", "missing 3.jpg"),
        ("scaled", "3.png: "),
        ("black", "3.png: "),
        ("size", "3.png: "),
        ("alpha", "3.png: "),
    ],
)
def test_a_bad_image_is_refused_by_name_or_left_out(zrr, tmp_path, how: str, words: str) -> None:
    spoil(zrr, how)
    flags = {"data_root": zrr, "models": "bilinear", "out": tmp_path / "out"}
    with pytest.raises(UserError) as caught:
        run("zrr", **flags)
    assert words in str(caught.value)
    assert not (tmp_path / "out" / "results.jsonl").exists()
    result = run("zrr", **flags, skip_bad=True)
    assert (result.status, result.n, result.num_skipped) == ("ok", 11, 1)
    assert list(result.skipped) == ["3"]
    assert "1 images or files left out because they are bad" in result.notes
    ids = [json.loads(line)["id"] for line in (tmp_path / "out" / result.per_image).read_text().splitlines()]
    assert ids == [str(number) for number in range(12) if number != 3]


def test_a_split_without_a_single_good_image_is_refused(zrr, tmp_path) -> None:
    for path in (zrr / "test" / "canon").iterdir():
        cut(path)
    with pytest.raises(UserError, match=r"all 12 images were left out, the first one: .*0\.jpg"):
        run("zrr", data_root=zrr, models="bilinear", out=tmp_path / "out", skip_bad=True)


def test_good_images_have_nothing_to_say(zrr) -> None:
    card = DATASETS.get("zrr")
    data = card.open(zrr, "test")
    found = screen(card, data, zrr, data.ids)
    assert (found.bad, found.remarks) == ({}, [])


def test_a_turned_colour_filter_is_a_remark(zrr) -> None:
    for path in (zrr / "test" / "huawei_raw").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 1, axis=1)).save(path)
    (zrr / "zoo-bench-standin.json").write_text(
        json.dumps({**json.loads((zrr / "zoo-bench-standin.json").read_text()), "files": {}})
    )
    card = DATASETS.get("zrr")
    data = card.open(zrr, "test")
    found = screen(card, data, zrr, data.ids)
    assert found.bad == {}
    assert any(problem.kind == "cfa" for problem in found.remarks)


def test_pictures_without_partner_are_left_out(tmp_path) -> None:
    random = np.random.RandomState(0)
    for name in ("a_noisy", "a_clean", "b_noisy", "c_noisy", "c_clean"):
        pixels = random.randint(0, 256, (40, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    cut(tmp_path / "c_clean.png")
    flags = {"data_root": tmp_path, "pairs": "*_noisy.* -> *_clean.*", "models": "identity", "out": tmp_path / "out"}
    with pytest.raises(UserError, match=r"b_noisy\.png has no partner"):
        run("pairs", **flags)
    result = run("pairs", **flags, skip_bad=True)
    assert (result.n, result.num_skipped) == (1, 2)
    assert any("b_noisy.png" in name for name in result.skipped)
    assert "c_clean.png" in result.skipped["c"]


def test_black_blocks_of_sidd_are_bad(tmp_path) -> None:
    from benchmark.datasets.sidd import SiddBlocks

    class Blocks(SiddBlocks):
        name, split = "sidd", "validation"

        def __init__(self) -> None:
            blocks = np.random.RandomState(0).randint(1, 256, (1, 32, 256, 256, 3)).astype(np.uint8)
            self._noisy, self._target = blocks, np.roll(blocks, 1, axis=2)
            self._noisy[0, 2] = 0
            self._target[0, 5] = self._noisy[0, 5]
            self.ids = [str(number) for number in range(32)]

    found = screen(DATASETS.get("sidd"), Blocks(), tmp_path, [str(number) for number in range(32)])
    assert list(found.bad) == ["2"]
    assert [problem.file for problem in found.remarks] == ["block 5"]


def test_aligned_scores_report_the_shifts_they_found(tmp_path) -> None:
    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
    rows, columns = np.mgrid[:160, :160]
    texture = 128 + 60 * np.sin(rows / 7) * np.cos(columns / 5) + 40 * np.sin((rows * columns) / 900)
    picture = np.stack([texture] * 3, axis=-1).clip(0, 255).astype(np.uint8)
    for number, shift in enumerate((2, 5)):
        Image.fromarray(picture).save(tmp_path / "target" / f"{number}.png")
        Image.fromarray(np.roll(picture, shift, axis=0)).save(tmp_path / "input" / f"{number}.png")
    result = run(
        "pairs", data_root=tmp_path, models="identity", metrics=["psnr[rgb]", "psnr[rgb,aligned]"], out=tmp_path / "out"
    )
    assert result.measurements["psnr[rgb,aligned]"].value > result.measurements["psnr[rgb]"].value + 10
    lines = [json.loads(line) for line in (tmp_path / "out" / result.per_image).read_text().splitlines()]
    assert [line["shift"] for line in lines] == [pytest.approx([2, 0], abs=0.2), pytest.approx([5, 0], abs=0.2)]
    lengths = [math.hypot(*line["shift"]) for line in lines]
    assert f"shifts found: median {sum(lengths) / 2:.2f} px, largest {lengths[1]:.2f} px" in " ".join(result.notes)
    with Image.open(tmp_path / "out" / result.shift_plot) as plot:
        assert plot.format == "PNG"


def test_a_white_level_is_part_of_the_key_and_unused_bits_are_remarked(tmp_path) -> None:
    for folder, seed in (("input", 0), ("target", 1)):
        (tmp_path / folder).mkdir()
        pixels = np.random.RandomState(seed).randint(0, 1024, (40, 48, 3)).astype(np.uint16)
        (tmp_path / folder / "a.png").write_bytes(png16(pixels))
    flags = {"data_root": tmp_path, "models": "identity", "metrics": ["psnr[rgb]"], "out": tmp_path / "out"}
    plain, ten, twelve = (run("pairs", **flags, white=white) for white in (None, 1023, 4095))
    assert len({record.key for record in (plain, ten, twelve)}) == 3
    assert (plain.spec.protocol, ten.spec.protocol) == ("pairs-v1", "pairs[white=1023]-v1")
    assert images_of(plain) != images_of(ten) != images_of(twelve)
    values = [record.measurements["psnr[rgb]"].value for record in (plain, ten, twelve)]
    assert values[0] - values[1] == pytest.approx(20 * math.log10(65535 / 1023), abs=1e-4)
    assert values[2] - values[1] == pytest.approx(20 * math.log10(4095 / 1023), abs=1e-4)
    assert [note for note in plain.notes if "10 bits" in note and "--white 1023" in note]
    assert not [note for note in ten.notes if "bits" in note]
