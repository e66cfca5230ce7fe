"""The example of a real experiment: no scene on both sides, and it runs on data in the real layouts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from benchmark.reporting import Reporter

EXAMPLE = Path(__file__).parent.parent / "examples" / "real_denoising.py"
SCENES = ("001", "001", "001", "002", "003", "004")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_denoising", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_sidd_small(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for number, scene in enumerate(SCENES, start=1):
        folder = root / "Data" / f"{number:04d}_{scene}_S6_00100_00060_3200_L"
        folder.mkdir(parents=True)
        clean = np.repeat(np.repeat(rng.integers(30, 220, (16, 16, 3)), 12, axis=0), 12, axis=1)
        noisy = (clean + rng.normal(0, 12, clean.shape)).clip(0, 255)
        for name, pixels in (("GT", clean), ("NOISY", noisy)):
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}_SRGB_010.PNG")
    return root


def test_no_scene_is_on_both_sides(example, tmp_path) -> None:
    name, scenes = example.scenes_of(write_sidd_small(tmp_path))
    first, second = example.halves(scenes)
    assert name == "sidd"
    assert (len(first), len(second)) == (3, 3)
    numbers = [{path.name.split("_")[1] for path in half} for half in (first, second)]
    assert numbers == [{"001"}, {"002", "003", "004"}]


def test_pairs_of_polyu_are_grouped_by_what_they_show(example, tmp_path) -> None:
    for name in ("Canon_5_chair_11", "Canon_5_chair_2", "Nikon_8_plant_4", "Nikon_8_plant__5"):
        for side in ("real", "mean"):
            (tmp_path / f"{name}_{side}.JPG").touch()
    name, scenes = example.scenes_of(tmp_path)
    assert name == "pairs"
    assert {scene: len(files) for scene, files in scenes.items()} == {"Canon_5_chair": 4, "Nikon_8_plant": 4}


def test_a_folder_of_something_else_is_one_line(example, tmp_path) -> None:
    with pytest.raises(SystemExit, match="expected scene folders of SIDD-Small or PolyU"):
        example.scenes_of(tmp_path)


@pytest.mark.slow
def test_it_trains_and_scores_on_data_in_the_real_layout(example, tmp_path) -> None:
    results = example.experiment(write_sidd_small(tmp_path / "data"), tmp_path / "out", 2, Reporter())
    assert [(result.model, result.status, result.n) for result in results] == [
        ("identity", "ok", 3),
        ("vdn_w8", "ok", 3),
        ("hypervdn_8", "ok", 3),
    ]
