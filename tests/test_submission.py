"""What SIDD's two sites take: a MATLAB file of cells and a CSV of base64 blocks."""

from __future__ import annotations

import base64
import csv

import numpy as np
import pytest
from scipy.io import loadmat, savemat, whosmat

from benchmark.datasets import sidd as loader
from benchmark.running import submission
from zoo.errors import UserError


def read_csv(path):
    csv.field_size_limit(1 << 20)
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


@pytest.fixture
def blocks():
    return np.random.RandomState(0).rand(2, 3, 4, 6, 3).astype(np.float32)


def test_mat_file_has_cells_time_and_method(tmp_path, blocks):
    method = submission.Method("net", "A. Author", "A paper", "CVPR")
    submission.write_mat(tmp_path / "x.mat", blocks, seconds=3.0, method=method)
    assert ("DenoisedBlocksSrgb", (2, 3), "cell") in whosmat(str(tmp_path / "x.mat"))
    content = loadmat(tmp_path / "x.mat")
    cells = content["DenoisedBlocksSrgb"]
    assert cells.dtype == object
    for place in np.ndindex(2, 3):
        assert cells[place].dtype == np.float32
        np.testing.assert_array_equal(cells[place], blocks[place])
    # Six blocks of 24 pixels took three seconds.
    assert content["TimeMPSrgb"].item() == pytest.approx(3.0 * 1024**2 / (6 * 24))
    data = content["OptionalData"][0, 0]
    assert [data[name].item() for name in ("MethodName", "Authors", "PaperTitle", "Venue")] == [
        "net", "A. Author", "A paper", "CVPR",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["x.mat"]


def test_csv_counts_blocks_and_holds_their_bytes(tmp_path, blocks):
    flat = blocks.reshape(-1, 4, 6, 3)
    submission.write_csv(tmp_path / "x.csv", flat)
    header, *rows = read_csv(tmp_path / "x.csv")
    assert header == ["ID", "BLOCK"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    for (_, text), block in zip(rows, flat):
        pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(4, 6, 3)
        np.testing.assert_array_equal(pixels, np.rint(block.astype(np.float64) * 255))


def test_block_of_256_has_262144_characters(tmp_path):
    submission.write_csv(tmp_path / "x.csv", np.ones((1, 256, 256, 3), np.float32))
    assert len(read_csv(tmp_path / "x.csv")[1][1]) == 262144


def test_values_outside_the_range_are_our_bug(tmp_path, blocks):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        submission.write_csv(tmp_path / "x.csv", blocks.reshape(-1, 4, 6, 3) + 1)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        submission.write_mat(tmp_path / "x.mat", blocks - 1, seconds=1.0, method=submission.Method("x"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Write two images of two blocks, 256x256."""
    for module in (loader, submission):
        monkeypatch.setattr(module, "BLOCKS", 2)
    monkeypatch.setattr(loader, "PUBLISHED_IMAGES", 2)
    noisy = np.random.RandomState(0).randint(0, 256, size=(2, 2, 256, 256, 3)).astype(np.uint8)
    (tmp_path / "sidd").mkdir()
    savemat(tmp_path / "sidd" / "BenchmarkNoisyBlocksSrgb.mat", {"BenchmarkNoisyBlocksSrgb": noisy})
    return tmp_path / "sidd"


def test_submit_writes_both_files(root, tmp_path, zoo_bench):
    outcome = zoo_bench("submit", "identity", "--data-root", root, "-o", tmp_path / "out", "--authors", "Me")
    assert (outcome.code, outcome.out.splitlines()) == (
        0,
        [str(tmp_path / "out" / name) for name in ("SubmitSrgb.mat", "SubmitSrgb.csv")],
    )
    content = loadmat(tmp_path / "out" / "SubmitSrgb.mat")
    noisy = loadmat(root / "BenchmarkNoisyBlocksSrgb.mat")["BenchmarkNoisyBlocksSrgb"]
    rows = read_csv(tmp_path / "out" / "SubmitSrgb.csv")[1:]
    for place in np.ndindex(2, 2):
        block = content["DenoisedBlocksSrgb"][place]
        np.testing.assert_allclose(block, noisy[place] / 255, atol=1e-7)
        assert base64.b64decode(rows[2 * place[0] + place[1]][1]) == noisy[place].tobytes()
    assert content["TimeMPSrgb"].item() > 0
    assert content["OptionalData"][0, 0]["MethodName"].item() == "identity"
    assert content["OptionalData"][0, 0]["Authors"].item() == "Me"


def test_submit_refuses_what_means_nothing(root, tmp_path, zoo_bench):
    for model, part in (("unet", "a raw2rgb model"), ("vdn_w8", "untrained"), ("nothing", "no model called")):
        outcome = zoo_bench("submit", model, "--data-root", root, "-o", tmp_path / "out")
        assert outcome.code == 2
        assert part in outcome.err
    with pytest.raises(UserError, match=r"no BenchmarkNoisyBlocksSrgb\.mat"):
        submission.submit("identity", tmp_path / "none", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        submission.submit("identity", root, tmp_path / "file")
    assert not (tmp_path / "out").exists()
