"""Folders merged into one: the same bytes in any order and again, with all files, and nothing from elsewhere."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.results.conflicts import conflicts
from benchmark.results.journal import Journal
from benchmark.results.jsonl import lock_of
from benchmark.results.merging import Merged, merge
from benchmark.results.records import newest
from benchmark.results.store import Store, image_scores, read_results
from benchmark.types import Result
from tests.sample_records import measurement, result
from zoo import UserError


def tree(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def add(folder: Path, model: str, scores: list[float], *, day: int = 1, note: str = "", **more) -> Result:
    """Add a record with all the files that a run writes; the key is that of the model alone."""
    record = result(model, sum(scores) / len(scores), n=len(scores), created=f"2026-01-{day:02}T00:00:00+00:00", **more)
    key, store = record.key, Store(folder)
    for index, score in enumerate(scores):
        store.journal(key, again=True).append(f"{index}", {"psnr[rgb]": score}, scene=f"s{index}")
    store.journal(key, again=True).become(store.journal(key))
    gallery = folder / "images" / "zrr" / f"{model}_{key[:8]}"
    gallery.mkdir(parents=True, exist_ok=True)
    (gallery / "pictures.json").write_text(json.dumps({"of": note}))
    for name in (gallery / f"{len(scores)}_input.jpg", gallery.with_suffix(".png"), Path(f"{gallery}_shifts.png")):
        name.write_text(f"{model}{note}")
    paths = {
        "per_image": f"scores/{key}.jsonl",
        "pictures": str(gallery.with_suffix(".png").relative_to(folder)),
        "gallery": str(gallery.relative_to(folder)),
        "shift_plot": f"{gallery.relative_to(folder)}_shifts.png",
        "timings": store.save_timings(key, {"": {"latency_ms": [1.0, day]}}),
        "notes": [note] if note else [],
    }
    return store.append(record.model_copy(update=paths))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    a, b = tmp_path / "a", tmp_path / "b"
    add(a, "first", [20.0, 22.0], day=3)
    add(a, "both", [20.0, 21.0, 22.0], day=4, note="of a")
    add(b, "second", [25.0], day=1)
    add(b, "both", [20.0, 21.00001], day=2, note="of b")
    return a, b


def test_everything_comes_along(zoo_bench, two, tmp_path) -> None:
    outcome = zoo_bench("results", "merge", *two, "-o", tmp_path / "c")
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{tmp_path / 'c' / 'results.jsonl'}: 4 records, 4 of them new; 18 files written\n"
    records = read_results(tmp_path / "c" / "results.jsonl")
    assert [(r.model, r.created[:10]) for r in records] == [
        ("second", "2026-01-01"), ("both", "2026-01-02"), ("first", "2026-01-03"), ("both", "2026-01-04"),
    ]  # fmt: skip
    assert [len(image_scores(r)) for r in newest(records)] == [1, 3, 2]
    for record in newest(records):
        for path in (record.per_image, record.pictures, record.gallery, record.shift_plot, record.timings):
            origin = two[record.model == "second"]
            assert tree(tmp_path / "c" / path) == tree(origin / path)
            assert (tmp_path / "c" / path).exists()


def test_order_and_repetition_change_no_byte(two, tmp_path) -> None:
    a, b = two
    add(tmp_path / "x", "third", [30.0], day=4)
    add(tmp_path / "x", "both", [20.0], day=4, note="of x")
    outs = []
    for number, order in enumerate(itertools.permutations([a, b, tmp_path / "x"])):
        outs.append(tmp_path / f"c{number}")
        merge(order, outs[-1])
    # One after the other, into what is there.
    outs.append(tmp_path / "one by one")
    for folder in (tmp_path / "x", b, a, b):
        merge([folder], outs[-1])
    shutil.copytree(b, tmp_path / "into")
    merge([a, tmp_path / "x"], tmp_path / "into")
    outs.append(tmp_path / "into")
    assert all(tree(out) == tree(outs[0]) for out in outs)
    before = {path: path.stat().st_mtime_ns for path in outs[0].rglob("*.*") if not path.name.startswith(".")}
    assert merge([b, a, tmp_path / "x", outs[0]], outs[0]) == Merged(6, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_later_records_of_a_folder_say_stays_the_newest(tmp_path) -> None:
    # A label given, and given back: three lines of one date.
    record = add(tmp_path / "a", "net", [20.0])
    for label in ("old", ""):
        Store(tmp_path / "a").append(record.labelled(label))
    lines = (tmp_path / "a" / "results.jsonl").read_text().splitlines()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.jsonl").write_text(f"{lines[0]}\n")
    for number, order in enumerate(itertools.permutations([tmp_path / "a", tmp_path / "b"])):
        merge(order, tmp_path / f"c{number}")
        (last,) = newest(read_results(tmp_path / f"c{number}" / "results.jsonl"))
        assert last.label == ""
    assert tree(tmp_path / "c0") == tree(tmp_path / "c1")


def test_folders_that_contradict_each_other_about_the_order_still_merge_alike(two, tmp_path) -> None:
    text = (two[0] / "results.jsonl").read_text().splitlines()
    turned = tmp_path / "turned"
    turned.mkdir()
    (turned / "results.jsonl").write_text("\n".join(reversed(text)) + "\n")
    merge([two[0], turned], tmp_path / "c")
    merge([turned, two[0]], tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")
    for again in (two[0], turned):
        assert merge([again], tmp_path / "c") == Merged(2, 0, 0)


def test_contradictions_are_reported_by_the_existing_rule(zoo_bench, two, tmp_path) -> None:
    add(two[1], "first", [20.0, 22.5], day=5)
    outcome = zoo_bench("results", "merge", *two, "-o", tmp_path / "c")
    assert outcome.code == 0
    assert "psnr[rgb] is 21.25, and 21 in an older record of the same key (results.jsonl, record 3)" in outcome.err
    # The other one is in the folders as they are: "both" has three images in one, two in the other.
    assert len(conflicts(read_results(tmp_path / "c" / "results.jsonl"))) == 2


def test_an_edited_record_stays_marked_and_hides_no_other(zoo_bench, two, tmp_path) -> None:
    shutil.copytree(two[0], tmp_path / "edited")
    file = tmp_path / "edited" / "results.jsonl"
    file.write_text(file.read_text().replace("12.345", "1.5"))
    outcome = zoo_bench("results", "merge", tmp_path / "edited", two[0], "-o", tmp_path / "c")
    assert outcome.code == 0
    assert outcome.err.count("was edited by hand") == 2
    records = read_results(tmp_path / "c" / "results.jsonl")
    assert sorted(r.is_edited for r in records) == [False, False, True, True]
    assert not any(r.is_edited for r in newest(records))
    merge([two[0], tmp_path / "edited"], tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


def test_a_line_that_is_no_record_is_named_and_nothing_is_merged(zoo_bench, two, tmp_path) -> None:
    file = two[1] / "results.jsonl"
    file.write_text(file.read_text().replace('{"record_schema"', '{"record"', 1))
    outcome = zoo_bench("results", "merge", *two, "-o", tmp_path / "c")
    assert outcome.code == 2
    assert f"{file}, record 1: no record_schema" in outcome.err
    assert not (tmp_path / "c").exists()


def test_whole_scores_are_taken_before_damaged_ones(zoo_bench, two, tmp_path) -> None:
    shutil.copytree(two[0], tmp_path / "damaged")
    for file in (tmp_path / "damaged" / "scores").glob("*.jsonl"):
        file.write_text(file.read_text().replace("22.0", "29.0"))
    outcome = zoo_bench("results", "merge", tmp_path / "damaged", two[0], "-o", tmp_path / "c")
    assert "not as it was written" not in outcome.err
    assert all(image_scores(r) for r in read_results(tmp_path / "c" / "results.jsonl"))
    # Where there are no others, they are what they are everywhere else.
    outcome = zoo_bench("results", "merge", tmp_path / "damaged", "-o", tmp_path / "d")
    assert (outcome.code, outcome.err.count("not as it was written")) == (0, 2)


def test_scores_of_runs_that_were_stopped_come_together(tmp_path) -> None:
    failed = result("net", None, status="timeout", error="stopped", per_image="scores/KEY.jsonl", key="KEY")
    for name, images in (("a", "123"), ("b", "345"), ("only", "9")):
        (tmp_path / name / "scores").mkdir(parents=True)
        for image in images:
            Journal(tmp_path / name / "scores" / "KEY.jsonl").append(image, {"psnr[rgb]": 20.0 + int(image)})
    Store(tmp_path / "a").append(failed)
    with (tmp_path / "b" / "scores" / "KEY.jsonl").open("a") as file:
        file.write('{"id": "7", "scores": {"psnr[rgb]": 20.0}, "digest": "of another run"}\n')
    merge([tmp_path / "a", tmp_path / "b", tmp_path / "only"], tmp_path / "c")
    for name in ("only", "b", "a"):
        merge([tmp_path / name], tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")
    assert sorted(Journal(tmp_path / "c" / "scores" / "KEY.jsonl").read()) == ["1", "2", "3", "4", "5", "9"]
    # A finished record has its own scores, however many a stopped run of the same key has.
    done = result("net", 20.0, n=1, key="KEY", per_image="scores/KEY.jsonl", created="2026-02-01")
    Store(tmp_path / "done").journal("KEY").append("0", {"psnr[rgb]": 20.0})
    Store(tmp_path / "done").append(done)
    merge([tmp_path / "done"], tmp_path / "c")
    assert list(Journal(tmp_path / "c" / "scores" / "KEY.jsonl").read()) == ["0"]


@pytest.mark.parametrize("field", ["per_image", "pictures", "gallery", "timings", "shift_plot"])
@pytest.mark.parametrize("path", ["../b/results.jsonl", "results.jsonl", "scores/../results.jsonl", "/etc/hostname"])
def test_names_that_leave_the_folder_are_refused(zoo_bench, two, tmp_path, field: str, path: str) -> None:
    Store(two[0]).append(result("bad", 20.0, **{field: path}))
    outcome = zoo_bench("results", "merge", *two, "-o", tmp_path / "c")
    assert outcome.code == 2
    assert f"results.jsonl, record 3: {field} is '{path}', outside of the record's folders" in outcome.err
    assert tree(tmp_path / "c") == {}


def test_links_out_of_a_folder_are_refused(two, tmp_path) -> None:
    (two[0] / "scores").rename(tmp_path / "elsewhere")
    (two[0] / "scores").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"per_image is '.*', outside"):
        merge(two, tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"pictures is '.*', outside"):
        merge([two[1]], tmp_path / "d")


def test_a_folder_with_other_files_of_records_is_refused(two, tmp_path) -> None:
    (two[0] / "results.jsonl").rename(two[0] / "mine.jsonl")
    with pytest.raises(UserError, match=r"holds mine\.jsonl"):
        merge([two[1]], two[0])
    merge([two[0] / "mine.jsonl", two[1]], tmp_path / "c")
    assert len(read_results(tmp_path / "c" / "results.jsonl")) == 4
    with pytest.raises(UserError, match=r"no \*\.jsonl in"):
        merge([tmp_path], tmp_path / "d")


def test_a_run_that_writes_the_same_scores_is_not_disturbed(tmp_path) -> None:
    for name in ("a", "c"):
        (tmp_path / name / "scores").mkdir(parents=True)
    Journal(tmp_path / "a" / "scores" / "KEY.jsonl").append("1", {"psnr[rgb]": 20.0})
    with lock_of(tmp_path / "c" / "scores" / "KEY.run"), pytest.raises(UserError, match="a run is writing"):
        merge([tmp_path / "a"], tmp_path / "c")


def test_a_full_disk_is_one_line_and_loses_nothing(zoo_bench, two, tmp_path, monkeypatch) -> None:
    merge([two[0]], tmp_path / "c")
    before = read_results(tmp_path / "c" / "results.jsonl")

    def no_room(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", no_room)
    outcome = zoo_bench("results", "merge", two[1], "-o", tmp_path / "c")
    monkeypatch.undo()
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "cannot be written (No space left on device). Free some space" in outcome.err
    assert read_results(tmp_path / "c" / "results.jsonl") == before


_KILLED = """
import os, sys
from pathlib import Path
from benchmark.results import merging
replace, left = os.replace, int(sys.argv[4])
def count(*paths):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    replace(*paths)
os.replace = count
merging.merge([Path(sys.argv[1]), Path(sys.argv[2])], Path(sys.argv[3]))
"""


@pytest.mark.parametrize("writes", [0, 7, 17, 18])
def test_a_kill_loses_nothing_and_the_same_command_completes(two, tmp_path, writes: int) -> None:
    merge(two, tmp_path / "whole")
    merge([two[1]], tmp_path / "c")
    command = [sys.executable, "-c", _KILLED, *map(str, two), str(tmp_path / "c"), str(writes)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    assert done.returncode in (0, -signal.SIGKILL)
    there = {r.model: len(r.notes) for r in read_results(tmp_path / "c" / "results.jsonl")}
    assert {"second", "both"} <= there.keys()
    merge(two, tmp_path / "c")
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


def test_infinite_scores_survive(tmp_path) -> None:
    add(tmp_path / "a", "net", [float("inf"), 20.0])
    record = read_results(tmp_path / "a" / "results.jsonl")[0]
    assert record.measurements["psnr[rgb]"] == measurement(float("inf"), unit="dB")
    merge([tmp_path / "a"], tmp_path / "c")
    assert image_scores(read_results(tmp_path / "c" / "results.jsonl")[0])["0"] == {"psnr[rgb]": float("inf")}
