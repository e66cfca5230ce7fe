"""Records kept in a committed file: one of each key, with its scores per image, and no other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.results.keeping import Kept, keep
from benchmark.results.store import image_scores, read_results
from tests.test_merging import add, tree
from zoo import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    add(folder, "first", [20.0, 22.0], day=3)
    add(folder, "second", [30.0, 31.0], day=4, note="old")
    add(folder, "second", [32.0, 33.0], day=5, note="new")
    return folder


def test_the_newest_record_of_each_key_comes_with_its_scores_and_nothing_else(run, tmp_path) -> None:
    file = tmp_path / "kept" / "some.jsonl"
    assert keep([run], file) == Kept(2, 2, 0)
    first, second = read_results(file)
    assert (first.model, second.notes) == ("first", ["new"])
    assert not first.is_edited
    assert [one["psnr[rgb]"] for one in image_scores(second).values()] == [32.0, 33.0]
    assert set(tree(file.parent)) == {"some.jsonl", first.per_image, second.per_image}
    assert (first.timings, first.pictures, first.gallery, first.shift_plot) == (None,) * 4


def test_a_record_takes_the_place_of_that_with_its_key_and_others_stay(run, tmp_path) -> None:
    file = tmp_path / "kept" / "some.jsonl"
    keep([run], file)
    later = tmp_path / "later"
    add(later, "first", [25.0, 27.0], day=9)
    add(later, "third", [1.0], day=9)
    assert keep([later], file) == Kept(3, 1, 1)
    assert [(one.model, len(image_scores(one))) for one in read_results(file)] == [
        ("first", 2),
        ("second", 2),
        ("third", 1),
    ]
    assert [one["psnr[rgb]"] for one in image_scores(read_results(file)[0]).values()] == [25.0, 27.0]
    before = tree(file.parent)
    assert keep([later], file) == Kept(3, 0, 2)
    assert tree(file.parent) == before
    # The file itself may be among the folders.
    assert keep([file], file) == Kept(3, 0, 3)
    assert tree(file.parent) == before


def test_records_that_cannot_be_trusted_are_refused_and_nothing_changes(run, tmp_path) -> None:
    file = tmp_path / "kept" / "some.jsonl"
    scores = run / read_results(run / "results.jsonl")[0].per_image
    text = scores.read_text()
    scores.write_text(text.replace("20.0", "29.0"))
    with pytest.raises(UserError, match="nothing was kept"):
        keep([run], file)
    scores.unlink()
    with pytest.raises(UserError, match="are missing; nothing was kept"):
        keep([run], file)
    scores.write_text(text)
    lines = (run / "results.jsonl").read_text().splitlines()
    edited = json.loads(lines[0]) | {"n": 3}
    (run / "results.jsonl").write_text("\n".join([json.dumps(edited), *lines[1:]]) + "\n")
    with pytest.raises(UserError, match="was edited by hand; nothing was kept"):
        keep([run], file)
    earlier = json.loads(lines[0]) | {"record_schema": 1}
    del earlier["digest"]
    (run / "results.jsonl").write_text("\n".join([json.dumps(earlier), *lines[1:]]) + "\n")
    with pytest.raises(UserError, match="is of an earlier version; nothing was kept"):
        keep([run], file)
    assert not file.exists()
    with pytest.raises(UserError, match="expected a file of records"):
        keep([run], tmp_path / "folder")


def test_the_command_says_what_it_did(run, tmp_path, zoo_bench) -> None:
    file = tmp_path / "kept.jsonl"
    assert zoo_bench("results", "keep", run, "-o", file).out == f"{file}: 2 records, 2 of them new; 0 replaced\n"
