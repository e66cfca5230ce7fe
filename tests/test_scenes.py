"""Scenes through the whole tool: which image shows which scene, what a record knows of it, and what is not ranked."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmark import evaluate, run, score
from benchmark.datacheck.checking import check_dataset
from benchmark.datasets import pairs, sidd, zrr
from benchmark.results.journal import Journal
from benchmark.results.store import Store, image_scenes, read_results
from benchmark.scoring.intervals import over_scenes
from benchmark.standin.cache import MARKER
from benchmark.standin.zrr import STANDIN, PairPlan
from benchmark.training.subset import Subset
from benchmark.types import scenes_of
from zoo.errors import UserError

NAMES = [f"{scene}_{shot}" for scene in ("cat", "cup", "elk", "fig", "oak", "owl") for shot in (1, 2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of each of six scenes, and their targets."""
    for side in ("input", "target"):
        (tmp_path / "data" / side).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        random = np.random.RandomState(number)
        target = random.randint(0, 256, (24, 24, 3))
        noisy = (target + random.normal(0, 20 + number, target.shape)).clip(0, 255)
        for side, pixels in (("input", noisy), ("target", target)):
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / side / f"{name}.png")
    return tmp_path / "data"


def run_pairs(folder: Path, out: Path, **how):
    how = {"task": "denoise_rgb", "sizes": ["none"], "isolate": False, "models": "identity"} | how
    return run("pairs", data_root=folder, out=out, **how)


@pytest.fixture(scope="module")
def standin(tmp_path_factory) -> Path:
    """A stand-in of three test patches: coffee, chelsea and coffee again."""
    root = tmp_path_factory.mktemp("standin") / "zrr"
    STANDIN.write(root, plan=PairPlan(train=2, test=3, size=64))
    return root


# --- which image shows which scene --------------------------------------------------------------------------------


def test_patches_of_the_stand_in_name_their_photograph(standin: Path) -> None:
    data = zrr.ZrrSplit(standin, "test")
    assert set(data.scenes) == {"coffee", "chelsea"}
    entries = json.loads((standin / MARKER).read_text())["images"]["test"]
    assert list(data.scenes) == [entry["photograph"] for entry in entries]
    assert data[1].scene == data.scenes[1]


def test_a_marker_without_photographs_is_refused(standin: Path, tmp_path: Path) -> None:
    marker = json.loads((standin / MARKER).read_text())
    (tmp_path / MARKER).write_text(json.dumps({**marker, "images": {}}))
    with pytest.raises(UserError, match="expected the photograph of each image"):
        zrr.scenes_of_pairs(tmp_path, "zrr-standin", "test", ["0"])


def test_the_scenes_of_a_marker_without_images_are_unknown(standin: Path, tmp_path: Path) -> None:
    marker = json.loads((standin / MARKER).read_text())
    del marker["images"]
    shutil.copytree(standin, tmp_path / "zrr")
    (tmp_path / "zrr" / MARKER).write_text(json.dumps(marker))
    assert scenes_of(zrr.ZrrSplit(tmp_path / "zrr", "test")) == {}
    (record,) = run("zrr", data_root=tmp_path / "zrr", models="bilinear", metrics=["psnr[rgb]"], sizes=["none"],
                    out=tmp_path, isolate=False)  # fmt: skip
    assert (record.num_scenes, record.measurements["psnr[rgb]"].num_scenes) == (None, None)
    assert "zrr-standin names no scenes, so no score has an interval or a rank" in record.notes


def test_a_labelled_stand_in_and_a_part_of_it_name_their_photographs(standin: Path, tmp_path: Path) -> None:
    shutil.copytree(standin, tmp_path / "zrr")
    marker = json.loads((standin / MARKER).read_text())
    (tmp_path / "zrr" / MARKER).write_text(json.dumps({**marker, "label": "mine"}))
    data = zrr.ZrrSplit(tmp_path / "zrr", "test")
    assert (data.name, len(set(data.scenes))) == ("zrr-standin (mine)", 2)
    assert list(Subset(data, limit=2, window=32).scenes) == list(data.scenes)[:2]


def test_real_patches_are_in_blocks_of_neighbouring_numbers(tmp_path: Path) -> None:
    scenes = zrr.scenes_of_pairs(tmp_path, "zrr", "test", ["0", "23", "24", "1203"])
    assert scenes == ["test 0 to 23", "test 0 to 23", "test 24 to 47", "test 1200 to 1223"]


def test_blocks_of_sidd_show_their_image(tmp_path: Path) -> None:
    assert sidd.scenes_of_images(tmp_path, "sidd", 2) == ["image 0", "image 1"]
    blocks = np.random.RandomState(0).randint(0, 256, (2, sidd.BLOCKS, *sidd.BLOCK), np.uint8)
    for stem in (sidd.VALIDATION_NOISY, sidd.VALIDATION_TARGET):
        savemat(tmp_path / f"{stem}.mat", {stem: blocks})
    data = sidd.SiddBlocks(tmp_path, partial=True)
    assert [data.scenes[i] for i in (0, 31, 32, 63)] == ["image 0", "image 0", "image 1", "image 1"]
    assert data[40].scene == "image 1"


def test_pairs_of_a_sidd_folder_show_its_instance(tmp_path: Path) -> None:
    for instance in ("0001", "0011"):
        scene = tmp_path / f"{instance}_001_S6_00100_00060_3200_L"
        scene.mkdir()
        for frame in ("010", "011"):
            for side in ("NOISY", "GT"):
                Image.new("RGB", (8, 8)).save(scene / f"{instance}_{side}_SRGB_{frame}.PNG")
    data = sidd.SiddFolders(tmp_path, partial=True)
    assert list(data.scenes) == ["0001", "0001", "0011", "0011"]


def test_pairs_are_scenes_of_their_own_unless_a_rule_says_more(folder: Path) -> None:
    assert list(pairs.open_pairs(folder).scenes) == sorted(NAMES)
    for rule in ("([a-z]+)_[0-9]", "[a-z]{3}(?=_)"):
        data = pairs.open_pairs(folder, scene=rule)
        assert list(data.scenes) == [name[:3] for name in sorted(NAMES)]
        assert data.provenance["scene"] == rule
        assert data[0].scene == "cat"
    assert set(pairs.open_pairs(folder, scene="input/(.)").scenes) == {"c", "e", "f", "o"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("dog", "finds no scene in 12 of 12 names, the first one input/cat_1.png"),
        ("(cat|cup|elk|fig|oak)_", "finds no scene in 2 of 12 names, the first one input/owl_1.png"),
        ("cat|(o..)", "finds no scene in 8 of 12 names"),
        ("(x*)", "finds no scene in 12 of 12"),
        ("png", "all 12 images are one scene, 'png': nothing can be ranked"),
        ("(cat", "no regular expression (missing ), unterminated subpattern at position 0)"),
    ],
)
def test_bad_rules_are_one_clear_line(folder: Path, rule: str, words: str, zoo_bench) -> None:
    for command in (("run", "--dataset", "pairs", "--out", folder.parent / "out"), ("data", "check", "pairs")):
        outcome = zoo_bench(*command, "--data-root", folder, "--scene", rule)
        if command[0] == "run":
            assert outcome.code == 2
            assert len(outcome.err.strip().splitlines()) == 1
        assert words in outcome.err + outcome.out
        assert outcome.code in (1, 2)
    outcome = zoo_bench("score", folder / "input", folder / "target", "--scene", rule)
    assert outcome.code == 2
    assert words.replace("input/", "") in outcome.err


def test_scene_is_for_pairs_only(zoo_bench) -> None:
    assert (
        "zrr takes no scene; those are for --dataset pairs" in zoo_bench("run", "--dataset", "zrr", "--scene", "x").err
    )


def test_data_check_counts_the_scenes(folder: Path, standin: Path, zoo_bench) -> None:
    assert check_dataset("pairs", folder)["scenes"] == {"test": 12}
    assert check_dataset("pairs", folder, scene="^input/(...)")["scenes"] == {"test": 6}
    assert check_dataset("zrr", standin)["scenes"]["test"] == 2
    assert "6 scenes in test" in zoo_bench("data", "check", "pairs", "--data-root", folder, "--scene", "/(...)").out


# --- what a record knows --------------------------------------------------------------------------------------------


def test_each_line_of_scores_and_the_record_know_their_scenes(folder: Path, tmp_path: Path) -> None:
    (record,) = run_pairs(folder, tmp_path / "out", scene="/([a-z]+)_")
    lines = [json.loads(line) for line in (tmp_path / "out" / record.per_image).read_text().splitlines()]
    assert [line["scene"] for line in lines] == [name[:3] for name in sorted(NAMES)]
    assert all(list(line)[-1] == "digest" for line in lines)
    assert (record.n, record.num_scenes) == (12, 6)
    psnr = record.measurements["psnr[rgb]"]
    assert (psnr.n, psnr.num_scenes) == (12, 6)
    assert psnr.ci_low < psnr.value < psnr.ci_high
    assert psnr.value == pytest.approx(np.mean([line["scores"]["psnr[rgb]"] for line in lines]))
    (stored,) = read_results(tmp_path / "out" / "results.jsonl")
    assert image_scenes(stored) == {line["id"]: line["scene"] for line in lines}
    assert stored == record


def test_fewer_than_six_scenes_have_no_interval(folder: Path, tmp_path: Path) -> None:
    (record,) = run_pairs(folder, tmp_path / "out", scene="input/(.)")
    psnr = record.measurements["psnr[rgb]"]
    assert (psnr.num_scenes, psnr.ci_low, psnr.ci_high) == (4, None, None)


def test_an_infinite_score_leaves_no_interval() -> None:
    scenes = {str(i): str(i) for i in range(8)}
    assert over_scenes("psnr[rgb]", [math.inf, *[30.0] * 7], list(scenes), scenes) == {"num_scenes": 8}
    assert over_scenes("psnr[rgb]", [30.0] * 8, list(scenes), scenes)["ci_low"] == 30.0
    assert over_scenes("psnr[rgb]", [30.0] * 8, list(scenes), {"0": "a"}) == {}


def test_another_rule_groups_the_same_scores_anew(folder: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    (first,) = run_pairs(folder, out)
    assert (first.num_scenes, "scene" in first.data) == (12, False)
    monkeypatch.setattr("benchmark.running.session._Recording.run", lambda self: pytest.fail("measured again"))
    (second,) = run_pairs(folder, out, scene="/([a-z]+)_")
    assert (second.key, second.num_scenes, second.data["scene"]) == (first.key, 6, "/([a-z]+)_")
    old, new = (one.measurements["psnr[rgb]"] for one in (first, second))
    assert (new.value, new.num_scenes) == (old.value, 6)
    assert new.ci_low != old.ci_low
    assert set(image_scenes(second).values()) == {name[:3] for name in NAMES}
    assert run_pairs(folder, out, scene="/([a-z]+)_") == [second]
    assert len(Store(out).results()) == 2


def test_a_record_of_an_earlier_version_gets_its_scenes_without_a_run(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    (record,) = run_pairs(folder, out)
    store = Store(out)
    journal = Journal(out / record.per_image)
    scores = journal.read()
    journal.clear()
    for id, values in scores.items():
        journal.append(id, values)
    bare = {id: m.model_copy(update={"num_scenes": None, "ci_low": None, "ci_high": None})
            for id, m in record.measurements.items()}  # fmt: skip
    (out / "results.jsonl").unlink()
    store.append(record.model_copy(update={"num_scenes": None, "measurements": bare}))
    assert image_scenes(store.results()[0]) == {}
    monkeypatch.setattr("benchmark.running.session._Recording.run", lambda self: pytest.fail("measured again"))
    assert run_pairs(folder, out)[0] == record


def test_a_stopped_run_continues_with_the_scenes_of_the_new_rule(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (record,) = run_pairs(folder, out)
    (out / "results.jsonl").unlink()
    (again,) = run_pairs(folder, out, scene="/([a-z]+)_")
    assert (again.num_scenes, again.phases["forward"]) == (6, 0.0)
    assert len(image_scenes(again)) == record.n


def test_evaluate_and_score_name_the_scenes(folder: Path, zoo_bench) -> None:
    found = evaluate("identity", "pairs", data_root=folder, scene="/([a-z]+)_")
    assert [image["scene"] for image in found] == [name[:3] for name in sorted(NAMES)]
    document = score(folder / "input", folder / "target", scene="^([a-z]+)_", metrics=["psnr[rgb]"])
    assert (document["n"], document["num_scenes"]) == (12, 6)
    low, high = document["intervals"]["psnr[rgb]"]
    assert low < document["scores"]["psnr[rgb]"] < high
    assert {image["scene"] for image in document["per_image"]} == {name[:3] for name in NAMES}
    few = score(folder / "input", folder / "target", scene="^(.)", metrics=["psnr[rgb]"])
    assert (few["num_scenes"], few["intervals"]) == (4, {})
    text = zoo_bench("score", folder / "input", folder / "target", "--scene", "^(.)", "--metrics", "psnr[rgb]").out
    assert text.startswith("12 images, 4 scenes: too few for intervals")
