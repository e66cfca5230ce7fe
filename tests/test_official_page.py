"""The page of official weights, and the example that measures them: figures by digest, and nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.leaderboard.official import official_page
from benchmark.opening import dataset_card
from benchmark.results.store import read_folders
from benchmark.selection import select
from tests.page_records import measurement, record, write_records
from zoo import UserError, create_model, official
from zoo.official import digest_of_tensors, official_files
from zoo.weights import file_digest, save_state

ROOT = Path(__file__).parent.parent
SET12, BSD68 = "awgn (set12)", "awgn (bsd68)"
YAML = """
remark: as it is.
metrics: {gray: "psnr[gray]"}
sources: {saoyan: a table}
files:
  - {repository: cszn/DnCNN, path: "model/specifics/sigma=25.mat", source: saoyan, colours: gray, figures: FIGURES}
"""
FIGURES = f'[["{SET12}", sigma25, "30.436"], ["{BSD68}", sigma25-gray-matlab, "29.23"], ["{SET12}", sigma50, null]]'
(FILE,) = [file for file in official_files() if file.path == "model/specifics/sigma=25.mat"]


def write_yaml(folder: Path, *changes: tuple[str, str]) -> Path:
    text = YAML.replace("FIGURES", FIGURES)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "official.yaml").write_text(text)
    return folder / "official.yaml"


def measured(dataset: str, split: str, psnr: float, *, sha256: str = FILE.sha256, **fields):
    score = measurement(psnr, "score", True, "dB", ci_low=psnr - 1, ci_high=psnr + 1, n=12, num_scenes=12)
    more = {"weights": {"name": "any.mat", "sha256": sha256}, "split": split, "n": 12, "num_scenes": 12, "data": {}}
    more |= {"evidence": "official-weights", **fields}
    return record("dncnn_17", dataset=dataset, more={"psnr[gray]": score}, **more)


def lines(folder: Path, *records) -> list[list[str]]:
    results = read_folders([write_records(folder / "results.jsonl", list(records))]) if records else []
    page = official_page(write_yaml(folder), results)
    rows = [line for line in page.splitlines() if line.startswith("| sigma=25.mat") or "sigma=25.mat" in line]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_measured_values_stand_beside_the_published_ones_with_their_digits(tmp_path) -> None:
    first, second, third = lines(
        tmp_path, measured(SET12, "sigma25", 30.4321), measured(BSD68, "sigma25-gray-matlab", 29.2281)
    )
    assert first[3:] == [f"{SET12}, sigma25", "30.436 (saoyan)", "30.432 [29.432, 31.432]", "-0.004", "12, 12 scenes"]
    # Two digits are printed, so two are compared.
    assert second[4:7] == ["29.23 (saoyan)", "29.23 [28.23, 30.23]", "+0.00"]
    assert third[4:] == ["-", "-", "-", "-"]


@pytest.mark.parametrize(
    "other",
    [
        {"sha256": "0" * 64},
        {"evidence": "weights-file"},
        {"status": "error", "error": "killed"},
        {"data": {"part": "3 of 12"}},
    ],
)
def test_another_file_and_a_part_of_the_data_are_not_measured_values(tmp_path, other: dict) -> None:
    assert lines(tmp_path, measured(SET12, "sigma25", 30.4, **other))[0][5:] == ["-", "-", "-"]


def test_the_newest_record_counts(tmp_path) -> None:
    old = measured(SET12, "sigma25", 20.0, created="2026-01-01T00:00:00+00:00")
    new = measured(SET12, "sigma25", 30.4, created="2026-02-01T00:00:00+00:00", options={"padding": "zeros"})
    files = [write_records(tmp_path / f"{name}.jsonl", [one]) for name, one in (("a", new), ("b", old))]
    assert "| 30.400 [" in official_page(write_yaml(tmp_path), read_folders(files)).replace("   ", " ").replace(
        "  ", " "
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sigma=25.mat", "sigma=26.mat", "no official file model/specifics/sigma=26.mat of cszn/DnCNN; expected one"),
        ("source: saoyan", "source: nobody", "no 'nobody'; expected one of saoyan"),
        ("colours: gray", "colours: rgb", "no 'rgb'; expected one of psnr|no 'rgb'; expected one of gray"),
        ('"30.436"', "thirty", "official.yaml"),
    ],
)
def test_a_mistake_in_the_figures_is_named(tmp_path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        official_page(write_yaml(tmp_path, (old, new)), [])


@pytest.fixture
def example(monkeypatch):
    spec = importlib.util.spec_from_file_location("official_weights", ROOT / "examples" / "official_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(folder: Path, count: int, *, colour: bool, suffix: str = ".png", names: str = "{}") -> Path:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        shape = (40, 48, 3) if colour else (40, 48)
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{names.format(number)}{suffix}")
    return folder


def test_the_documents_say_how_far_the_committed_figures_are_from_the_published_ones() -> None:
    text = (ROOT / "leaderboards" / "official.md").read_text(encoding="utf-8")
    differences = [abs(float(found)) for found in re.findall(r"\| +([+-]\d+\.\d+) \|", text)]
    said = {"README.md": "in all {} cases to within {:.3f} dB", "docs/howto/weights.md": "the {} differ by {:.3f} dB"}
    for file, words in said.items():
        assert words.format(len(differences), max(differences)) in (ROOT / file).read_text(encoding="utf-8")


def test_the_example_has_a_label_of_its_own_for_each_official_file_of_a_network(example) -> None:
    named = [(file.model, example.label_of(file)) for file in official_files() if file.model]
    assert len(set(named)) == len(named)
    for _, label in named:
        weights = {f"unet_w8@{label}": "shipped"}
        (entry,) = select(dataset_card("zrr"), models=["unet_w8"], weights=weights, options={})
        assert entry.label == f"unet_w8 ({label})"


@pytest.mark.thorough
def test_the_example_finds_files_by_digest_and_measures_every_figure(tmp_path, monkeypatch, example) -> None:
    """The files have other names, the weights are a small network's, and the table knows their digests."""
    torch.manual_seed(0)
    gray = create_model("ffdnet_gray").eval()
    path = tmp_path / "weights" / "deep" / "renamed.safetensors"
    path.parent.mkdir(parents=True)
    save_state(path, gray.state_dict(), {"model": "ffdnet_gray"})
    (tmp_path / "weights" / "other.txt").write_text("not weights")
    known = next(file for file in official_files() if file.path == "models/FFDNet_gray.mat")
    mine = replace(known, sha256=file_digest(path), tensors=(digest_of_tensors(gray.state_dict()),))
    monkeypatch.setattr(official, "official_files", lambda: (mine,))
    pictures(tmp_path / "awgn" / "Set12", 2, colour=False)
    found = official.official_files_in(tmp_path / "weights")
    assert [(file.path, place.name) for file, place in found] == [("models/FFDNet_gray.mat", "renamed.safetensors")]
    wanted = {(dataset, split) for dataset, split, _ in example.awgn_runs(found)}
    assert {(SET12, "sigma15"), (SET12, "sigma50"), (BSD68, "sigma75-gray-matlab")} <= wanted
    command = ["official_weights.py", str(tmp_path / "weights"), str(tmp_path / "awgn"), "-o", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    example.main()
    results = read_folders([tmp_path / "out"])
    assert {(one.dataset, one.split) for one in results} == {pair for pair in wanted if pair[0] == SET12}
    assert {(one.evidence, one.n, one.status) for one in results} == {("official-weights", 2, "ok")}


@pytest.mark.thorough
def test_the_example_names_real_noise_as_the_part_that_it_is(tmp_path, monkeypatch, example) -> None:
    polyu = tmp_path / "polyu"
    polyu.mkdir()
    for side in ("real", "mean"):
        for file in pictures(tmp_path / side, 2, colour=True, suffix=".JPG").iterdir():
            file.rename(polyu / f"Canon_{'ab'[int(file.stem)]}chair_11_{side}.JPG")
    for number, scene in enumerate(("001", "002"), start=1):
        folder = tmp_path / "sidd" / "Data" / f"{number:04d}_{scene}_S6_00100_00060_3200_L"
        pictures(folder, 1, colour=True, suffix=".PNG", names="GT_SRGB_01{}")
        (folder / "NOISY_SRGB_010.PNG").write_bytes((folder / "GT_SRGB_010.PNG").read_bytes())
    example.run_real_noise([], tmp_path / "sidd", polyu, {"out": str(tmp_path / "out"), "sizes": ["none"]})
    results = read_folders([tmp_path / "out"])
    found = {(one.dataset, one.part, one.name): one.num_scenes for one in results}
    labels = ("identity", "vdn_w8 (shipped)", "hypervdn_8 (shipped)")
    assert found == {
        **{("sidd", "2 of 160", name): 2 for name in labels},
        **{("pairs (polyu)", "", name): 2 for name in labels},
    }
