"""Records as lines: digests, schemas, duplicates, conflicts, and the commands that look after files of them."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from benchmark.leaderboard import boards, rows_of
from benchmark.leaderboard.ranks import DISTRUSTED
from benchmark.regression.baseline import Kept, read_baseline, write_baseline
from benchmark.results.conflicts import conflicts, warnings
from benchmark.results.journal import Journal
from benchmark.results.jsonl import append_line
from benchmark.results.records import content_of, digest_of, newest
from benchmark.results.store import Store, image_scores, read_folders, read_results, scores_problem
from benchmark.results.upkeep import Migrated, drop, migrate
from benchmark.types import SCHEMA, Result
from tests.sample_records import measurement, result
from zoo import UserError, get_card


def write(file: Path, *records: Result) -> Path:
    for record in records:
        append_line(file, content_of(record))
    return file


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def as_schema_1(file: Path, *records: Result) -> Path:
    for record in records:
        line = {**content_of(record), "record_schema": 1}
        del line["digest"]
        append_line(file, line)
    return file


def test_a_record_comes_back_intact(tmp_path) -> None:
    record = result("a", math.inf, notes=["ü"])
    (back,) = read_results(write(tmp_path / "r.jsonl", record))
    assert back.model_dump() == record.model_dump()
    assert back.source is not None
    assert (back.source.number, back.source.is_intact, back.is_edited) == (1, True, False)


def test_an_edited_number_is_found(tmp_path) -> None:
    file = write(tmp_path / "r.jsonl", result("a", 20.25), result("b", 21.25))
    edit(file, '"value": 20.25', '"value": 29.25')
    a, b = read_results(file)
    assert (a.is_edited, b.is_edited) == (True, False)
    (line,) = warnings([a, b])
    assert f"{file}, record 1: a on zrr-standin was edited by hand" in line
    assert "results drop" in line


def test_a_digest_that_was_taken_away_is_found(tmp_path) -> None:
    file = tmp_path / "r.jsonl"
    line = content_of(result("a", 20.0))
    del line["digest"]
    append_line(file, line)
    assert [record.is_edited for record in read_results(file)] == [True]


def test_other_white_space_and_escapes_are_no_edit(tmp_path) -> None:
    file = tmp_path / "r.jsonl"
    line = json.dumps(content_of(result("a", 20.0, notes=["ü"])), separators=(",", ":"))
    file.write_text(line + "\n", encoding="utf-8")
    (record,) = read_results(file)
    assert record.source is not None
    assert record.source.is_intact


def test_an_edited_row_is_marked_and_wins_nothing(tmp_path) -> None:
    file = write(tmp_path / "r.jsonl", result("a", 20.25), result("b", 21.25), result("c", 19.0))
    edit(file, '"value": 20.25', '"value": 29.25')
    board = boards(read_results(file), "zrr-standin")[0]
    rows = {row[1]: (y, row) for y, row in enumerate(board.rows)}
    y, row = rows["a"]
    assert (row[0], row[2]) == ("-", "● trained ✎ edited by hand")
    assert not [cell for cell in board.best if cell[0] == y]
    assert (board.headers[-1], row[-1], rows["b"][1][-1]) == ("Pareto", "··", "PT")
    assert (rows["b"][1][0], rows["c"][1][0]) == ("1", "2")
    assert "a: ✎ r.jsonl, record 1 is not as it was written (its digest does not match); not ranked" in board.notes


def test_records_of_schema_1_are_read(tmp_path) -> None:
    (record,) = read_results(as_schema_1(tmp_path / "r.jsonl", result("a", 20.0)))
    assert record.source is not None
    assert (record.record_schema, record.source.is_intact, record.is_edited) == (SCHEMA, None, False)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (0, r"record 2: schema 0 is too old, this version reads schema 1 and 2; run again with --rerun always"),
        (3, r"record 2: schema 3 is newer than this version, which reads schema 1 and 2; update it"),
        (None, r"record 2: no record_schema; .*Was it written by `zoo-bench run`"),
        ("2", r"record 2: no record_schema"),
        (True, r"record 2: no record_schema"),
    ],
)
def test_other_schemas_are_named(tmp_path, schema: object, message: str) -> None:
    file = write(tmp_path / "r.jsonl", result("a", 20.0))
    append_line(file, {"record_schema": schema})
    with pytest.raises(UserError, match=message):
        read_results(file)


def test_migration_keeps_everything_but_schema_and_digest(tmp_path) -> None:
    first, second = result("a", 20.0), result("b", math.inf)
    file = as_schema_1(tmp_path / "r.jsonl", first, second)
    before = [json.loads(line) for line in file.read_text().splitlines()]
    done = migrate(file)
    assert (done.rewritten, done.total, done.edited) == (2, 2, ())
    after = [json.loads(line) for line in file.read_text().splitlines()]
    for old, new in zip(before, after):
        assert new.pop("digest") == digest_of(new)
        assert new == {**old, "record_schema": SCHEMA}
        assert list(new) == list(old)
    assert [record.source.is_intact for record in read_results(file) if record.source] == [True, True]
    bytes_before = file.read_bytes()
    assert migrate(file).rewritten == 0
    assert file.read_bytes() == bytes_before


def test_migration_blesses_no_edited_record(tmp_path) -> None:
    file = write(tmp_path / "r.jsonl", result("a", 20.25))
    edit(file, "20.25", "29.25")
    as_schema_1(file, result("b", 20.0))
    assert migrate(file).edited == (1,)
    assert [record.is_edited for record in read_results(file)] == [True, False]


def of_version(version: int, model: str = "unet_w8", **more: object) -> Result:
    record = result(model, 20.0, **more)
    spec = record.spec.model_copy(update={"code": f"builtin-v{version}"})
    path = f"scores/{spec.key()}.jsonl"
    return record.model_copy(update={"spec": spec, "key": spec.key(), "n": 1, "per_image": path})


def test_migration_gives_a_network_the_digest_of_its_code_and_a_key_with_it(tmp_path) -> None:
    old = of_version(1)
    older = old.model_copy(update={"created": "2025-01-01"})
    other = of_version(1, threads=3)
    for record in (old, other):
        Journal(tmp_path / record.per_image).append("0", {"psnr[rgb]": 20.0})
    file = write(tmp_path / "r.jsonl", older, old, other)
    assert migrate(file) == Migrated(3, 3, ())
    code = get_card("unet_w8").code_digest
    new = read_results(file)
    for record, before in zip(new, (older, old, other)):
        assert record.source.is_intact
        assert record.spec == before.spec.model_copy(update={"code": code})
        assert record.key == record.spec.key() != before.key
        assert record.measurements == before.measurements
        assert image_scores(record) == {"0": {"psnr[rgb]": 20.0}}
    assert {path.stem for path in (tmp_path / "scores").glob("*.jsonl")} == {record.key for record in new}
    content = file.read_bytes()
    assert migrate(file) == Migrated(0, 3, ())
    assert file.read_bytes() == content


def test_migration_takes_no_other_code_for_the_one_that_is_here(tmp_path) -> None:
    point = of_version(1).model_copy(update={"key": "0" * 20})
    records = [of_version(2), of_version(1, "not_registered"), of_version(1, spec={"code": "a" * 16}), point]
    records[2] = records[2].model_copy(update={"spec": records[2].spec.model_copy(update={"code": "a" * 16})})
    records = [record.model_copy(update={"per_image": None}) for record in records]
    file = write(tmp_path / "r.jsonl", *records)
    assert migrate(file).rewritten == 0
    assert read_results(file) == records


def test_migration_takes_out_files_that_are_not_there_and_says_so(zoo_bench, tmp_path) -> None:
    (tmp_path / "kept.png").touch()
    record = result("a", 20.0, per_image="scores/x.jsonl", pictures="kept.png", timings="timings/x.json")
    file = write(tmp_path / "r.jsonl", record)
    done = zoo_bench("results", "migrate", file)
    assert "2 files that do not exist are no longer named, the first one scores/x.jsonl" in done.out
    (new,) = read_results(file)
    assert new == record.model_copy(update={"per_image": None, "timings": None})
    assert "no longer named" not in zoo_bench("results", "migrate", file).out


def test_migration_says_what_a_time_needs_beside_what_was_predicted(tmp_path) -> None:
    text = "not run: input 1x3x3072x4096 needs 28.14 GiB (predicted), 21.75 GiB are available"
    record = result("a", 20.0, notes=[f"time at 3x3072x4096: {text}"])
    skipped = record.measurements["latency_ms"].model_copy(update={"value": None, "remark": f"skipped: {text}"})
    record = record.model_copy(update={"measurements": {**record.measurements, "latency_ms": skipped}})
    file = write(tmp_path / "r.jsonl", record)
    migrate(file)
    (new,) = read_results(file)
    parts = "needs 28.14 GiB: 0.60 GiB for libraries and, for a heap that keeps freed memory, 1.4 times the pass with"
    for found in (*new.notes, new.measurements["latency_ms"].remark):
        assert f"{parts} its input and weights, 19.67 GiB (predicted), 21.75 GiB are available" in found


def test_migration_of_a_baseline(zoo_bench, tmp_path) -> None:
    baseline = tmp_path / "baseline.jsonl"
    write_baseline(baseline, [Kept(of_version(1), {"0": {"psnr[rgb]": 20.0}}, {})])
    assert zoo_bench("results", "migrate", baseline).out == f"{baseline}: 1 of 1 records rewritten\n"
    (kept,) = read_baseline(baseline)
    assert kept.result.spec.code == get_card("unet_w8").code_digest
    assert kept.result.key == kept.result.spec.key()
    assert kept.scores == {"0": {"psnr[rgb]": 20.0}}
    assert zoo_bench("results", "migrate", baseline).out == f"{baseline}: 0 of 1 records rewritten\n"


COMMITTED = sorted((Path(__file__).parent.parent / "leaderboards" / "results").glob("*.jsonl"))


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_records_are_whole(file: Path) -> None:
    """Each is as it was written, under the key of its spec, and every file that it names lies beside it."""
    before = file.read_bytes()
    for record in read_results(file):
        assert record.source.is_intact
        # The key of a sweep's record is that of its training.
        assert "sweep" in record.training or record.key == record.spec.key()
        assert not record.spec.code.startswith("builtin")
        names = (record.per_image, record.pictures, record.gallery, record.timings, record.shift_plot)
        assert [name for name in names if name and not (file.parent / name).exists()] == []
        assert not record.per_image or len(image_scores(record)) == record.n
    named = {record.per_image for other in COMMITTED for record in read_results(other)}
    assert {f"scores/{path.name}" for path in (file.parent / "scores").iterdir()} <= named
    assert file.read_bytes() == before


def test_the_committed_baseline_is_whole() -> None:
    for kept in read_baseline(COMMITTED[0].parents[1] / "baselines" / "ci.jsonl"):
        assert kept.result.key == kept.result.spec.key()
        assert not kept.result.spec.code.startswith("builtin")


def test_the_newest_record_does_not_depend_on_the_order() -> None:
    old, new = result("a", 20.0, created="2026-01-01"), result("a", 21.0, created="2026-01-02")
    assert newest([old, new]) == newest([new, old]) == [new]


def dated(file: Path, *created: str) -> list[Result]:
    return read_results(write(file, *(result("a", 20.0 + day, created=date) for day, date in enumerate(created))))


AHEAD = "2999-01-01T00:00:00+00:00"


@pytest.mark.parametrize("first", [AHEAD, "2026-06-01T00:00:00+00:00"])
def test_within_a_file_the_later_line_counts_whatever_its_date(tmp_path, first: str) -> None:
    old, new = dated(tmp_path / "results.jsonl", first, "2026-01-01T00:00:00+00:00")
    assert newest([old, new]) == newest([new, old]) == [new]
    assert Store(tmp_path).latest() == {new.key: new}
    assert [row.result for row in rows_of(read_folders([tmp_path]))] == [new]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (["2026-01-01"], ["2026-01-02"]),
        (["2026-01-01T23:00:00-05:00"], ["2026-01-02T05:00:00+01:00", "2026-01-02T04:00:01Z"]),
        ([AHEAD], ["2026-01-01"]),
        (["2026-01-03", AHEAD], ["2026-01-04"]),
        # The second line of b was written after its first, by a clock that was set back.
        (["2026-01-02"], ["2026-01-03", "2001-01-01"]),
    ],
)
def test_between_files_the_later_date_counts_and_none_in_the_future(tmp_path, a: list[str], b: list[str]) -> None:
    old, new = dated(tmp_path / "a.jsonl", *a), dated(tmp_path / "b.jsonl", *b)
    assert newest([*old, *new]) == newest([*new, *old]) == [new[-1]]


def test_a_date_in_the_future_is_reported(tmp_path) -> None:
    (line,) = warnings(dated(tmp_path / "r.jsonl", AHEAD))
    assert f"r.jsonl, record 1: a on zrr-standin is dated {AHEAD}, in the future" in line


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "../../../victim"),
        ("key", "/tmp/victim"),
        ("key", ""),
        ("dataset", "../../up"),
        ("dataset", "/tmp/escaped"),
        ("dataset", "zrr\n::error::x"),
        ("dataset", ".hidden"),
        ("split", "test\x1b[31m"),
    ],
)
def test_names_that_would_leave_the_folder_are_refused(tmp_path, field: str, value: str) -> None:
    file = write(tmp_path / "r.jsonl", result("a", 20.0).model_copy(update={field: value}))
    with pytest.raises(UserError, match=rf"r\.jsonl, record 1: field {field}: .* cannot name a file") as caught:
        read_results(file)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(UserError, match="cannot name a file"):
        drop(file, models=("a",))


@pytest.mark.parametrize("dataset", ["pairs", "pairs (polyu)", "zrr-standin (bsds500)"])
def test_names_of_datasets_are_read(tmp_path, dataset: str) -> None:
    assert read_results(write(tmp_path / "r.jsonl", result("a", 20.0, dataset=dataset)))[0].dataset == dataset


def test_a_store_reads_what_was_added_and_what_was_rewritten(tmp_path) -> None:
    store, other = Store(tmp_path), Store(tmp_path)
    assert store.results() == []
    other.append(result("a", 20.0))
    assert [r.model for r in store.results()] == ["a"]
    other.append(result("b", 20.0))
    other.append(result("a", 21.0))
    assert [r.model for r in store.results()] == ["a", "b", "a"]
    assert {r.model: r.measurements["psnr[rgb]"].value for r in store.latest().values()} == {"a": 21.0, "b": 20.0}
    assert [r.source.number for r in store.results() if r.source] == [1, 2, 3]
    drop(store.results_file, models=("a",))
    assert [r.model for r in store.results()] == ["b"]
    store.results_file.unlink()
    assert store.latest() == {}


def test_a_store_reads_each_record_once(tmp_path, monkeypatch) -> None:
    store = Store(tmp_path)
    read = []
    validate = Result.model_validate_json
    monkeypatch.setattr(Result, "model_validate_json", lambda text: read.append(1) or validate(text))
    for index in range(20):
        store.append(result(f"m{index}", 20.0))
        assert len(store.latest()) == index + 1
    assert len(read) == 20


def test_a_store_passes_over_a_torn_line(tmp_path) -> None:
    store = Store(tmp_path)
    store.append(result("a", 20.0))
    with store.results_file.open("ab") as stream:
        stream.write(b'{"record_schema": 2, "key')
    assert [r.model for r in store.results()] == ["a"]
    Store(tmp_path).append(result("b", 20.0))
    assert [r.model for r in store.results()] == ["a", "b"]


def counted(value: int, **more: object) -> Result:
    record = result("a", 20.0, **more)
    params = {"params": measurement(value, kind="count", higher=False)}
    return record.model_copy(update={"measurements": {**record.measurements, **params}})


@pytest.mark.parametrize(
    ("older", "newer", "text"),
    [
        (counted(5), counted(6, created="2026-01-02"), "params is 6, and 5 in an older record of the same key"),
        (result("a", 20.0), result("a", 21.0), r"psnr[rgb] is 21, and 20 in an older record of the same key"),
        (result("a", 20.0), result("a", 20.0001), ""),
        (result("a", 20.0), result("b", 21.0), ""),
        (result("a", 20.0), result("a", None), ""),
    ],
)
def test_records_that_cannot_both_be_right_are_found(older: Result, newer: Result, text: str) -> None:
    for records in ([older, newer], [newer, older]) if older.created != newer.created else ([older, newer],):
        assert list(conflicts(records).values()) == ([text] if text else [])


def test_a_conflict_is_marked_in_the_table_and_reported(tmp_path) -> None:
    records = read_results(write(tmp_path / "r.jsonl", result("a", 20.0), result("a", 21.0)))
    board = boards(records, "zrr-standin")[0]
    assert board.rows[0][2] == "● trained ≠ conflicting records"
    assert any(
        "≠ psnr[rgb] is 21, and 20 in an older record of the same key (r.jsonl, record 1)" in n for n in board.notes
    )
    assert "the newest is shown, marked" in warnings(records)[0]


def scored(tmp_path: Path, scores: list[float], mean: float) -> Result:
    record = result("a", mean, n=len(scores))
    record = record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"})
    for index, score in enumerate(scores):
        (tmp_path / "scores").mkdir(exist_ok=True)
        Journal(tmp_path / "scores" / f"{record.key}.jsonl").append(str(index), {"psnr[rgb]": score})
    (back,) = read_results(write(tmp_path / "r.jsonl", record))
    return back


def test_scores_per_image_are_found_beside_the_file(tmp_path) -> None:
    found = image_scores(scored(tmp_path, [20.0, 22.0], 21.0))
    assert found == {"0": {"psnr[rgb]": 20.0}, "1": {"psnr[rgb]": 22.0}}


@pytest.mark.parametrize(("scores", "mean"), [([20.0, 22.0], 21.001), ([], 21.0), ([21.0, math.inf], 21.0)])
def test_scores_of_other_means_are_not_used(tmp_path, scores: list[float], mean: float) -> None:
    assert image_scores(scored(tmp_path, scores, mean)) == {}


def test_scores_outside_the_folder_are_not_read(tmp_path) -> None:
    record = scored(tmp_path, [20.0, 22.0], 21.0).model_copy(update={"per_image": f"../{tmp_path.name}/scores/x.jsonl"})
    assert image_scores(record) == {}


def test_scores_behind_a_link_out_of_the_folder_are_not_read(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    record = scored(tmp_path / "run", [20.0, 22.0], 21.0)
    (tmp_path / "run" / "scores").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "scores").symlink_to(tmp_path / "elsewhere")
    assert image_scores(record) == {}
    assert "outside of the record's folder" in scores_problem(record)
    with pytest.raises(UserError, match="a link leads out"):
        drop(tmp_path / "run" / "r.jsonl", models=("a",))
    assert len(list((tmp_path / "elsewhere").glob("*.jsonl"))) == 1


def test_edited_scores_are_reported_and_rank_nothing(tmp_path) -> None:
    record = scored(tmp_path, [20.0, 22.0], 21.0)
    path = tmp_path / record.per_image
    assert scores_problem(record) == ""
    # The mean stays as it was.
    path.write_text(path.read_text().replace("20.0", "19.0").replace("22.0", "23.0"))
    assert image_scores(record) == {}
    (line,) = warnings([record])
    assert f"{path}, line 1: not as it was written" in line
    assert "the scores per image of a on zrr-standin are not used" in line
    board = boards([record], "zrr-standin")[0]
    assert f"a: {DISTRUSTED}" in board.notes


def test_scores_of_an_earlier_version_are_held_against_the_mean(tmp_path) -> None:
    record = scored(tmp_path, [20.0, 22.0], 21.0)
    path = tmp_path / record.per_image
    lines = [{k: v for k, v in json.loads(line).items() if k != "digest"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(image_scores(record)) == 2
    path.write_text(path.read_text().replace("20.0", "29.0"))
    assert image_scores(record) == {}
    assert "not the scores that the record's means were made of" in scores_problem(record)


def test_a_failed_drop_keeps_the_scores(tmp_path, monkeypatch) -> None:
    record = scored(tmp_path, [20.0, 22.0], 21.0)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(UserError, match=r"r\.jsonl: cannot be written \(No space left on device\)"):
        drop(tmp_path / "r.jsonl", models=("a",))
    monkeypatch.undo()
    assert len(read_results(tmp_path / "r.jsonl")) == 1
    assert len(image_scores(record)) == 2


def test_results_drop_takes_records_and_their_scores(zoo_bench, tmp_path) -> None:
    record = scored(tmp_path, [20.0, 22.0], 21.0)
    write(tmp_path / "r.jsonl", result("b", 20.0), result("c", None, status="error", error="no"))
    assert zoo_bench("results", "drop", tmp_path / "r.jsonl").code == 2
    outcome = zoo_bench("results", "drop", tmp_path / "r.jsonl", "--model", "nothing")
    assert (outcome.code, "no record in" in outcome.err) == (2, True)
    outcome = zoo_bench("results", "drop", tmp_path, "--key", record.key, "--status", "error")
    assert outcome.out.splitlines() == [
        f"dropped {record.key} a on zrr-standin (ok)",
        f"dropped {result('c', None).key} c on zrr-standin (error)",
    ]
    assert [r.model for r in read_results(tmp_path / "r.jsonl")] == ["b"]
    assert list((tmp_path / "scores").glob("*.jsonl")) == []


def test_results_migrate_says_what_it_did(zoo_bench, tmp_path) -> None:
    as_schema_1(tmp_path / "r.jsonl", result("a", 20.0))
    assert zoo_bench("results", "migrate", tmp_path).out == f"{tmp_path / 'r.jsonl'}: 1 of 1 records rewritten\n"
    assert zoo_bench("results", "migrate", tmp_path / "nowhere").code == 2


def test_leaderboard_warns_of_an_edited_record(zoo_bench, tmp_path) -> None:
    edit(write(tmp_path / "r.jsonl", result("a", 20.25)), "20.25", "29.25")
    outcome = zoo_bench("leaderboard", "--results", tmp_path, "--out", tmp_path / "tables")
    assert outcome.code == 0
    assert "warning: " in outcome.err
    assert "✎ edited by hand" in (tmp_path / "tables" / "zrr-standin.md").read_text(encoding="utf-8")
