"""A part of a dataset: used when --partial says so, called "5 of 12" wherever its scores stand, never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmark import evaluate
from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions
from benchmark.datacheck import plans
from benchmark.datacheck.checking import check_dataset
from benchmark.datasets import DATASETS, sidd, zrr
from benchmark.htmlpage.data import document
from benchmark.leaderboard import boards
from benchmark.leaderboard.pages import write_tables
from benchmark.opening import open_dataset
from benchmark.regression.comparing import compare
from benchmark.regression.sources import open_set
from benchmark.reporting import Reporter
from benchmark.results.store import Store, read_folders
from benchmark.running import session as running_session
from benchmark.standin.cache import MARKER
from benchmark.sweeping.child import train_point
from benchmark.training.loop import train
from benchmark.types import Result
from zoo.errors import UserError
from zoo.weights import read_checkpoint

TRAIN, TEST, SIZE = 40, 12, 32
# What titles say of this dataset's few images besides their number.
ONE_SCENE = ", 1 scene: too few to rank"
# Of 40 pairs validation is these two: the last twentieth of each of two stretches.
HELD_OUT = (19, 39)


class Heard(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Write five of the twelve test pairs and six of the forty train pairs of a small ZRR."""
    monkeypatch.setattr(zrr, "PUBLISHED_COUNTS", {"train": TRAIN, "test": TEST})
    monkeypatch.setattr(plans, "ZRR_PATCH", (SIZE, SIZE))
    for number in (0, 3, 4, 8, 11):
        add(tmp_path / "zrr", "test", number)
    for number in (2, 3, 18, 19, 20, 21):
        add(tmp_path / "zrr", "train", number)
    return tmp_path / "zrr"


def add(root: Path, split: str, number: int, *, halves: str = "both") -> None:
    random = np.random.RandomState(number + 1000 * (split == "test"))
    files = {"huawei_raw": random.randint(500, 520, (SIZE, SIZE)).astype(np.uint16)}
    files["canon"] = random.randint(100, 104, (SIZE, SIZE, 3)).astype(np.uint8)
    for folder, pixels in files.items():
        (root / split / folder).mkdir(parents=True, exist_ok=True)
        if halves in ("both", folder):
            path = root / split / folder / f"{number}.{'png' if folder == 'huawei_raw' else 'jpg'}"
            Image.fromarray(pixels).save(path)


def complete(root: Path) -> None:
    for split, count in (("train", TRAIN), ("test", TEST)):
        for number in range(count):
            add(root, split, number)


def opened(root: Path, split: str = "test", **flags):
    return DATASETS.get("zrr").open(root, split, **flags)


def run(dataset: str, root: Path, out: Path, **more) -> Result:
    """Run in this process without timings."""
    quick = {"isolate": False, "sizes": ["none"], "conditions": Conditions(), "metrics": ["psnr[rgb]"]}
    quick["models"] = "bilinear" if dataset == "zrr" else "identity"
    (result,) = run_as_users_do(dataset, data_root=root, out=out, **{**quick, **more})
    return result


# --- what is opened -----------------------------------------------------------------------------------------


def test_without_the_flag_a_part_is_refused_and_the_flag_named(root) -> None:
    with pytest.raises(
        UserError, match=r"expected 12 files in .*found 5; .* Or use the 5 of 12 test pairs .*--partial"
    ):
        opened(root)


def test_what_is_there_is_opened_and_says_how_much(root) -> None:
    data = opened(root, partial=True)
    assert list(data.ids) == ["0", "3", "4", "8", "11"]
    assert data.provenance == {"standin": False, "part": "5 of 12"}
    assert data.notes == ["zrr: 5 of 12 test images are there. Records and tables say so."]
    assert data.left_out == {}


def test_a_whole_dataset_is_just_whole(root) -> None:
    complete(root)
    whole, same = opened(root), opened(root, partial=True)
    assert (same.ids, same.provenance, same.notes) == (whole.ids, {"standin": False}, [])
    assert same.digest() == whole.digest()


def test_how_much_is_there_is_part_of_the_digest(root) -> None:
    before = opened(root, partial=True)
    first = before.digest(2)
    add(root, "test", 9)
    assert opened(root, partial=True).digest(2) != first
    complete(root)
    assert opened(root).digest(1) not in (first, before.digest(1))


def test_half_a_pair_is_left_out_and_said(root) -> None:
    add(root, "test", 7, halves="huawei_raw")
    add(root, "test", 9, halves="canon")
    data = opened(root, partial=True)
    assert data.provenance["part"] == "5 of 12"
    assert list(data.left_out) == ["7", "9"]
    assert f"left out: 7 (no file {root}/test/canon/7.jpg) and 1 more" in data.notes[0]


@pytest.mark.parametrize("name", ["12.png", "007.png"])
def test_files_that_are_not_of_the_dataset_are_refused(root, name: str) -> None:
    Image.new("I;16", (SIZE, SIZE)).save(root / "test" / "huawei_raw" / name)
    with pytest.raises(UserError, match=name):
        opened(root, partial=True)


def test_nothing_at_all_is_refused(root, tmp_path) -> None:
    with pytest.raises(UserError, match=r"expected 12 files in .*: there is no such folder"):
        opened(tmp_path / "nowhere", partial=True)
    for folder in ("huawei_raw", "canon"):
        (root / "train" / folder / ("19.png" if folder == "huawei_raw" else "19.jpg")).unlink()
    with pytest.raises(UserError, match=r"none of the 2 validation pairs, 19 to 39, is complete in .*train"):
        opened(root, "validation", partial=True)


def test_a_pair_is_of_train_or_validation_by_its_number_whatever_is_there(root) -> None:
    train_split, validation = opened(root, "train", partial=True), opened(root, "validation", partial=True)
    assert (list(train_split.ids), list(validation.ids)) == (["2", "3", "18", "20", "21"], ["19"])
    assert (train_split.provenance["part"], validation.provenance["part"]) == ("5 of 38", "1 of 2")
    complete(root)
    assert set(validation.ids) < set(opened(root, "validation").ids)
    assert set(train_split.ids) < set(opened(root, "train").ids)


def test_the_folder_that_is_there_is_named(root, tmp_path) -> None:
    for folder in ("huawei_raw", "canon"):
        for path in (root / "test" / folder).iterdir():
            path.unlink()
        (root / "test" / folder).rmdir()
    with pytest.raises(UserError, match=r"no such folder\. .* for its images pass --split train"):
        opened(root)


def test_left_out_with_skip_bad_it_is_a_part_too(root) -> None:
    data = opened(root, skip_bad=True)
    assert (data.provenance["part"], len(data.left_out)) == ("5 of 12", 7)


def test_a_stand_in_is_whole_or_refused(tmp_path) -> None:
    marker = {"name": "zrr-standin", "version": 1, "sources": "", "seed": 0, "counts": {"test": 1, "train": 0}}
    (tmp_path / MARKER).write_text(json.dumps(marker))
    add(tmp_path, "test", 0)
    heard = Heard()
    data = open_dataset(DATASETS.get("zrr"), tmp_path, "test", heard, partial=True)
    assert "part" not in data.provenance
    assert heard.lines == ["zrr-standin: --partial changes nothing here, because no number of images is published."]
    (tmp_path / MARKER).write_text(json.dumps({**marker, "counts": {"test": 2, "train": 0}}))
    with pytest.raises(UserError, match="expected 2 files"):
        opened(tmp_path, partial=True)


# --- SIDD ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scenes(tmp_path, monkeypatch) -> Path:
    """Write two of the three pairs of a small SIDD-Small."""
    monkeypatch.setattr(sidd, "PUBLISHED_SMALL", (3, 3))
    for number in (1, 34):
        folder = tmp_path / "sidd" / "Data" / f"{number:04}_001_S6_00100_00060_3200_L"
        folder.mkdir(parents=True)
        for side in ("NOISY", "GT"):
            pixels = np.random.RandomState(number + len(side)).randint(1, 256, (SIZE, SIZE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{side}_SRGB_010.PNG")
    return tmp_path / "sidd"


@pytest.fixture
def blocks(tmp_path, monkeypatch) -> Path:
    """Write two of the three images of small validation blocks."""
    monkeypatch.setattr(sidd, "PUBLISHED_IMAGES", 3)
    monkeypatch.setattr(sidd, "BLOCKS", 2)
    monkeypatch.setattr(sidd, "BLOCK", (SIZE, SIZE, 3))
    (tmp_path / "blocks").mkdir()
    for stem in ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"):
        write_blocks(tmp_path / "blocks", stem, 2)
    return tmp_path / "blocks"


def write_blocks(folder: Path, stem: str, images: int) -> None:
    pixels = np.random.RandomState(len(stem)).randint(1, 256, (images, 2, SIZE, SIZE, 3)).astype(np.uint8)
    savemat(folder / f"{stem}.mat", {stem: pixels})


def test_scenes_are_opened_in_part(scenes) -> None:
    assert sidd.open_sidd(scenes, "train").provenance["part"] == "2 of 3"
    (scenes / "Data" / "0003_001_S6_00100_00060_3200_L").mkdir()
    data = sidd.open_sidd(scenes, "train", partial=True)
    assert (list(data.ids), data.provenance["part"]) == (["0001_010", "0034_010"], "2 of 3")
    assert "has no NOISY_SRGB pictures" in data.notes[0]
    (scenes / "Data" / "0034_001_S6_00100_00060_3200_L" / "GT_SRGB_010.PNG").unlink()
    data = sidd.open_sidd(scenes, "train", partial=True)
    assert (data.provenance["part"], len(data.left_out)) == ("1 of 3", 2)


def test_more_scenes_than_published_are_refused(scenes, monkeypatch) -> None:
    monkeypatch.setattr(sidd, "PUBLISHED_SMALL", (1, 1))
    with pytest.raises(UserError, match="has 2 pairs in 2 folders; expected 1 pairs in 1 folders"):
        sidd.open_sidd(scenes, "train", partial=True)


def test_blocks_are_opened_in_part(blocks) -> None:
    with pytest.raises(UserError, match=r"holds uint8 2x2x32x32x3; .* use the 2 images that are there with --partial"):
        sidd.open_sidd(blocks, "validation")
    data = sidd.open_sidd(blocks, "validation", partial=True)
    assert (len(data), data.provenance["part"]) == (4, "4 of 6")
    write_blocks(blocks, "ValidationGtBlocksSrgb", 1)
    with pytest.raises(UserError, match=r"holds 2 images, .* holds 1"):
        sidd.open_sidd(blocks, "validation", partial=True)


def test_a_submission_stays_whole(blocks) -> None:
    write_blocks(blocks, "BenchmarkNoisyBlocksSrgb", 2)
    with pytest.raises(UserError, match=r"holds uint8 2x2x32x32x3; expected uint8 3x2x32x32x3\. Download it again\.$"):
        sidd.SiddBenchmark(blocks)


def test_the_split_that_is_there_is_named(scenes, blocks) -> None:
    with pytest.raises(UserError, match=r"no ValidationNoisyBlocksSrgb\.mat in .* scene folders: .*--split train\.$"):
        sidd.open_sidd(scenes, "validation")
    with pytest.raises(UserError, match=r"no scene folders .* validation blocks: .*--split validation\.$"):
        sidd.open_sidd(blocks, "train")


# --- data check ---------------------------------------------------------------------------------------------


def test_data_check_lets_be_what_is_missing(root, zoo_bench) -> None:
    assert {problem["kind"] for problem in check_dataset("zrr", root)["problems"]} == {"count"}
    found = check_dataset("zrr", root, partial=True)
    assert (found["ok"], found["parts"]) == (True, {"train": "6 of 40", "test": "5 of 12"})
    outcome = zoo_bench("data", "check", "zrr", "--data-root", root, "--partial")
    assert outcome.code == 0
    assert "zrr: no problems in 22 files" in outcome.out
    assert "6 of 40 train images, 5 of 12 test images" in outcome.out
    add(root, "test", 7, halves="canon")
    found = check_dataset("zrr", root, partial=True)
    assert [problem["kind"] for problem in found["problems"]] == ["partner"]
    complete(root)
    (root / "test" / "canon" / "3.jpg").write_bytes(b"")
    found = check_dataset("zrr", root, partial=True)
    assert [problem["kind"] for problem in found["problems"]] == ["damaged"]
    assert "parts" not in found


def test_data_check_of_one_split_alone(root) -> None:
    for path in sorted((root / "train").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    found = check_dataset("zrr", root, partial=True)
    assert (found["ok"], found["parts"]) == (True, {"train": "0 of 40", "test": "5 of 12"})


def test_data_check_of_a_part_of_sidd(scenes, blocks) -> None:
    found = check_dataset("sidd", scenes, partial=True)
    assert (found["ok"], found["parts"], found["files"]) == (True, {"train": "2 of 3"}, 4)
    found = check_dataset("sidd", blocks, partial=True)
    assert (found["ok"], found["parts"]) == (True, {"validation": "4 of 6"})
    (scenes / "Data" / "0034_001_S6_00100_00060_3200_L" / "GT_SRGB_010.PNG").unlink()
    assert [p["kind"] for p in check_dataset("sidd", scenes, partial=True)["problems"]] == ["partner"]


# --- runs and their records ---------------------------------------------------------------------------------


def test_the_record_and_every_table_say_so(root, tmp_path, zoo_bench) -> None:
    out = tmp_path / "out"
    flags = ("--data-root", root, "--out", out, "--models", "bilinear", "--metrics", "psnr[rgb]", "--sizes", "none")
    refused = zoo_bench("run", "--dataset", "zrr", *flags)
    assert refused.code == 2
    assert "--partial" in refused.err
    outcome = zoo_bench("run", "--dataset", "zrr", *flags, "--partial", "--json")
    assert "5 of 12 test images are there" in outcome.err
    (record,) = json.loads(outcome.out)["results"]
    assert (record["n"], record["data"]["part"], record["status"]) == (5, "5 of 12", "ok")
    assert "zrr, test: 5 of 12 images" in zoo_bench("run", "--dataset", "zrr", *flags, "--partial").out
    page = (out / "leaderboards" / "zrr.md").read_text()
    assert "## zrr, test: 5 of 12 images" in page
    assert "## zrr: costs, from runs on 5 of 12 images" in page


def test_a_part_that_grows_is_measured_again_and_the_whole_has_its_own_key(root, tmp_path) -> None:
    out = tmp_path / "out"
    keys = [run("zrr", root, out, partial=True, limit=2).key]
    add(root, "test", 9)
    keys.append(run("zrr", root, out, partial=True, limit=2).key)
    complete(root)
    whole = run("zrr", root, out)
    assert run("zrr", root, out, partial=True) == whole
    assert (whole.part, whole.n) == ("", 12)
    assert len({*keys, whole.key}) == 3
    assert len(Store(out).results()) == 3
    titles = [board.title.replace(ONE_SCENE, "") for board in boards(Store(out).results(), "zrr")]
    assert titles == [
        "zrr, test: 12 images",
        "zrr: costs",
        "zrr, test: the first 2 of 5 of 12 images",
        "zrr: costs, from runs on 5 of 12 images",
        "zrr, test: the first 2 of 6 of 12 images",
        "zrr: costs, from runs on 6 of 12 images",
    ]


def test_images_that_change_while_the_run_goes_on_are_noticed(root, tmp_path, monkeypatch) -> None:
    measure = running_session.Session.measure

    def then_grow(session, *arguments, **more):
        add(root, "test", 1)
        return measure(session, *arguments, **more)

    monkeypatch.setattr(running_session.Session, "measure", then_grow)
    with pytest.raises(UserError, match="are not those with which this run began"):
        run("zrr", root, tmp_path / "out", partial=True)


def test_a_bad_image_of_a_part_is_refused_or_left_out(root, tmp_path) -> None:
    (root / "test" / "canon" / "3.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 5 images are bad"):
        run("zrr", root, tmp_path / "out", partial=True)
    result = run("zrr", root, tmp_path / "out", partial=True, skip_bad=True)
    assert (result.n, result.num_skipped, result.part) == (4, 1, "5 of 12")
    assert boards([result], "zrr")[0].title == f"zrr, test: 4 images of 5 of 12{ONE_SCENE}"
    limited = run("zrr", root, tmp_path / "out", partial=True, skip_bad=True, limit=3)
    assert boards([limited], "zrr")[0].title == f"zrr, test: 2 images of the first 3 of 5 of 12{ONE_SCENE}"


def test_scenes_and_blocks_run_in_part(scenes, blocks, tmp_path) -> None:
    assert run("sidd", scenes, tmp_path / "a", split="train", partial=True).part == "2 of 3"
    assert run("sidd", blocks, tmp_path / "b", partial=True).part == "4 of 6"
    assert len(evaluate("identity", "sidd", data_root=blocks, partial=True, metrics=["psnr[rgb]"])) == 4


def test_a_record_of_a_part_of_sidd_small_from_before_is_one_too() -> None:
    from tests.sample_records import result

    data = {"standin": False, "layout": "small", "pairs": 40, "published_pairs": 160}
    assert result("identity", 30.0, data=data).part == "40 of 160"
    assert result("identity", 30.0, data={**data, "pairs": 160}).part == ""


# --- what records become ------------------------------------------------------------------------------------


@pytest.fixture
def both(root, tmp_path) -> tuple[Path, Path]:
    """Return two folders of records: of a part, and of the whole."""
    part, whole = tmp_path / "part", tmp_path / "whole"
    run("zrr", root, part, partial=True)
    complete(root)
    run("zrr", root, whole)
    return part, whole


def test_part_and_whole_share_no_table(both, tmp_path) -> None:
    records = [record for folder in both for record in Store(folder).results()]
    (tmp_path / "tables").mkdir()
    write_tables(records, tmp_path / "tables")
    index = (tmp_path / "tables" / "README.md").read_text()
    assert f"1 model with quality (test: 12 images{ONE_SCENE}), 1 model with quality (test: 5 of 12 images" in index
    assert "costs of 1 (5 of 12 images)" in index
    assert index.count(ONE_SCENE.strip(", ")) == 3  # the index shows no best row of one scene
    write_tables(records[:1], tmp_path / "tables")
    assert (tmp_path / "tables" / "README.md").read_text().count(ONE_SCENE.strip(", ")) == 1
    content = document(read_folders(folder / "results.jsonl" for folder in both)).content
    titles = [table["title"].replace(ONE_SCENE, "") for data in content["datasets"] for table in data["tables"]]
    assert titles == ["Quality: test, 12 images, zrr-v1", "Quality: test, 5 of 12 images, zrr-v1"]
    assert ["--partial" in record["commands"][-1] for record in content["records"]] == [False, True]


def test_part_and_whole_are_not_comparable(both) -> None:
    part, whole = both
    found = {one.measurement: one for one in compare(open_set(str(part)), open_set(str(whole))).findings}
    assert found["psnr[rgb]"].verdict == "not comparable"
    assert found["psnr[rgb]"].evidence == "5 of 12 images before, all images after"
    assert found["macs"].verdict == "same"
    # Where both sets have both, each meets its own.
    for record in Store(part).results():
        Store(whole).append(record)
    findings = compare(open_set(str(whole)), open_set(str(whole))).findings
    assert {one.verdict for one in findings} == {"same"}
    assert [one.measurement for one in findings].count("psnr[rgb]") == 2


@pytest.mark.parametrize("more", [{"data": {"part": "12 of 1204"}, "n": 12}, {"num_skipped": 1, "n": 1203}])
def test_no_part_stands_in_a_papers_column(tmp_path, more: dict) -> None:
    from benchmark.leaderboard.paper_tables import paper_pages
    from tests.test_published import record, section, write

    pages = paper_pages(write(tmp_path), [record("bilinear", psnr=20.0, **more)])
    (page,) = pages.values()
    assert "20.00" not in json.dumps(section(page, "Quality"))
    assert "1203 images" not in page


# --- training -----------------------------------------------------------------------------------------------

RECIPE = """
model: tiny_net
dataset: zrr
max_steps: 2
batch_size: 2
crop: 8
lr: 1e-3
device: cpu
checkpoint_every: 1
validation: {every: 1, split: validation, pictures: 0}
"""


@pytest.fixture
def recipe(tiny, tmp_path, monkeypatch) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(RECIPE)
    return path


def test_training_on_a_part_is_said_by_the_weights_and_every_row(root, recipe, tmp_path, zoo_bench) -> None:
    flags = ("--set", f"data_root={root}", "-o", tmp_path / "run")
    refused = zoo_bench("train", recipe, *flags)
    assert (refused.code, "--partial" in refused.err) == (2, True)
    outcome = zoo_bench("train", recipe, *flags, "--partial")
    assert outcome.code == 0
    assert "zrr: 5 of 38 train images are there" in outcome.err
    assert "zrr: 1 of 2 validation images are there" in outcome.err
    weights = tmp_path / "run" / "weights.safetensors"
    metadata = read_checkpoint(weights).metadata
    assert metadata["part"] == "5 of 38"
    assert json.loads(metadata["scores"])["part"] == "1 of 2"
    complete(root)
    result = run("zrr", root, tmp_path / "out", models="tiny_net", weights={"tiny_net": str(weights)})
    (board,) = [board for board in boards([result], "zrr") if "images" in board.title]
    assert "trained (short, on 5 of 38 images)" in board.rows[0][1]


def test_a_part_that_grows_is_noticed_by_resume(root, recipe, tmp_path) -> None:
    heard = Heard()

    def go_on(steps: int) -> None:
        overrides = {"data_root": str(root), "partial": True, "max_steps": steps}
        train(recipe, tmp_path / "run", overrides=overrides, resume=True, reporter=heard)

    go_on(1)
    add(root, "train", HELD_OUT[1])
    go_on(2)
    assert any("validation had 1 of 2 images before, it has all now" in line for line in heard.lines)
    add(root, "train", 5)
    with pytest.raises(UserError, match=r"other data \(digest \w+, here \w+ of 6 of 38 images\)"):
        go_on(3)


def test_a_sweep_takes_a_part_and_notices_one_that_grows(root, recipe, tmp_path, monkeypatch) -> None:
    from benchmark.host.isolation import Outcome
    from benchmark.leaderboard.sweeps import summary_of
    from benchmark.sweeping.budget import Costs
    from benchmark.sweeping.points import expand, open_splits
    from benchmark.sweeping.session import result_of, task_of
    from benchmark.sweeping.settings import load_sweep

    path = tmp_path / "widths.yaml"
    path.write_text(
        f"recipe: {recipe}\noverrides: {{data_root: {root}}}\nplot: {{error: mse}}\n"
        "families: [{name: wide, model: tiny_net, option: width, values: [1]}]\nevaluation: {metrics: ['psnr[rgb]']}\n"
    )
    plan = load_sweep(path)
    with pytest.raises(UserError, match="--partial"):
        open_splits(plan, expand(plan), Heard())
    plan = load_sweep(path, {"recipe.partial": True})
    (point,) = points = expand(plan)
    heard = Heard()
    splits = open_splits(plan, points, heard)
    assert [line.split(" images")[0] for line in heard.lines] == ["zrr: 5 of 38 train", "zrr: 5 of 12 test"]
    failed = result_of(
        plan, point, task_of(plan, point, "0" * 20, splits, tmp_path), splits, Costs({}, None), Outcome("oom")
    )
    assert summary_of([failed])["test_part"] == "5 of 12"
    task = task_of(plan, point, "0" * 20, splits, tmp_path / "out")
    add(root, "test", 9)
    with pytest.raises(UserError, match="are not those with which this sweep began"):
        train_point(task)
