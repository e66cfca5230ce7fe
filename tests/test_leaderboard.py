"""Tables: what they show, what they refuse to mix, and that the committed ones are fresh."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from benchmark.leaderboard import Board, boards, pages
from benchmark.leaderboard.pages import index_page, stale_tables, write_tables
from benchmark.leaderboard.tables import tables_by_page
from benchmark.results.conflicts import warnings
from benchmark.results.store import image_scores, read_folders
from benchmark.types import Result
from tests.sample_records import measurement, result, under

LEADERBOARDS = Path(__file__).parent.parent / "leaderboards"


def quality(records: list[Result]) -> Board:
    """Return the first table of the stand-in's page."""
    return boards(records, "zrr-standin")[0]


def costs(records: list[Result]) -> Board:
    """Return the last table of the stand-in's page."""
    return boards(records, "zrr-standin")[-1]


def test_rows_are_sorted_by_score_and_the_best_is_marked() -> None:
    board = quality([result("a", 20.0), result("b", 22.0), result("c", 21.0)])
    assert [row[:2] for row in board.rows] == [("1", "b"), ("2", "c"), ("3", "a")]
    assert "**22.00**" in pages([result("a", 20.0), result("b", 22.0)])["zrr-standin.md"]


def test_headers_name_unit_size_and_direction() -> None:
    board = quality([result("a", 20.0)])
    assert "`psnr[rgb]` [dB] ↑" in board.headers
    assert "FLOPs [T] at 4x1536x2048 ↓" in costs([result("a", 20.0)]).headers
    assert "CPU time [ms] at 4x224x224 ↓" in board.headers
    assert "12.3 (12.0-13.0)" in board.rows[0]


def test_untrained_rows_stand_in_the_table_of_costs_alone() -> None:
    scored, costly = boards([result("a", 20.0), result("b", None)], "zrr-standin")
    assert [row[1] for row in scored.rows] == ["a"]
    assert [row[0] for row in costly.rows] == ["a", "b"]
    assert not any("psnr" in header for header in costly.headers)
    assert "No quality is shown for untrained weights" in costly.notes[0]


@pytest.mark.parametrize("other", [{"digest": "other data"}, {"version": 2}])
def test_what_cannot_be_compared_is_not_in_one_table(other: dict) -> None:
    tables = boards([result("a", 20.0), result("b", 22.0, **other)], "zrr-standin")
    assert [len(table.rows) for table in tables if table.headers[0] == "rank"] == [1, 1]


def test_the_newest_record_of_a_key_counts() -> None:
    board = quality([result("a", 20.0), result("a", 21.0)])
    assert [row[3] for row in board.rows] == ["21.00"]
    later = result("a", 22.0, created="2026-01-02")
    assert [row[3] for row in quality([later, result("a", 20.0)]).rows] == ["22.00"]


def test_timings_of_two_machines_are_told_apart() -> None:
    board = quality([result("a", 20.0), result("b", 22.0, machine="m2", threads=4)])
    times = [row[board.headers.index("CPU time [ms] at 4x224x224 ↓")] for row in board.rows]
    assert times == ["12.3 (12.0-13.0) B", "12.3 (12.0-13.0) A"]
    machines = [line for line in board.lead if line.startswith("**Machine of the timings")]
    assert ["A = CPU m1" in machines[0], "B = CPU m2" in machines[1]] == [True, True]
    assert not any(x == board.headers.index("CPU time [ms] at 4x224x224 ↓") for _, x in board.best)


def marked(result: Result, id: str, **beside) -> Result:
    timing = measurement(beside.pop("value", 5.0), kind="timing", higher=False, input_shape=[1, 4, 224, 224], **beside)
    return result.model_copy(update={"measurements": {**result.measurements, id: timing}})


def test_timings_that_are_not_like_the_others_are_marked_and_explained() -> None:
    first = marked(result("a", 20.0), "latency_ms", tainted=("others were busy for 3 s",), remark="one cold pass")
    second = marked(result("b", 19.0), "latency_ms@12mp", value=None, remark="skipped: needs 33 GiB")
    third = marked(result("c", 19.0), "latency_ms", tainted=("others were busy for 7 s",))
    board = costs([first, second, third])
    cells = {row[0]: row for row in board.rows}
    assert "5.00†1‡2" in cells["a"]
    assert "-‡3" in cells["b"]
    assert "5.00†1" in cells["c"]
    alone = marked(result("c", 18.0), "latency_ms", q1=5.0, q3=5.0, n=1)
    assert "5.00" in quality([alone]).rows[0]
    assert "†1: on a disturbed machine: others were busy for 3 to 7 s" in board.notes
    assert "‡2: one cold pass" in board.notes
    assert "‡3: skipped: needs 33 GiB" in board.notes


def counted_at(model: str, psnr: float, macs: float, shape: list[int]) -> Result:
    record = result(model, psnr)
    count = measurement(macs, kind="count", higher=False, input_shape=shape)
    return record.model_copy(update={"measurements": {"psnr[rgb]": record.measurements["psnr[rgb]"], "macs": count}})


def test_costs_of_one_image_are_compared_whatever_the_planes_of_a_network() -> None:
    packed = counted_at("plainunet_8", 20.0, 2e9, [1, 4, 224, 224])
    mosaic = counted_at("rmfa_tiny", 19.0, 1e9, [1, 3, 448, 448])
    board = quality([packed, mosaic])
    assert board.headers[-2:] == ("MACs [G] at 448x448 pixels ↓", "Pareto")
    assert [row[-2:] for row in board.rows] == [("2.00", "M"), ("1.00", "M")]
    # Planes of one size are not one image if only one of the networks packs the mosaic.
    smaller = quality([packed, counted_at("rmfa_tiny", 19.0, 1e9, [1, 3, 224, 224])])
    assert "Pareto" not in smaller.headers
    assert [row[-1] for row in smaller.rows] == ["2.00 at 4x224x224", "1.00 at 3x224x224"]


def test_columns_say_which_way_is_better() -> None:
    share = measurement(0.5, kind="timing", higher=True, input_shape=[1, 4, 8, 8])
    record = result("a", 20.0)
    record = record.model_copy(update={"measurements": {**record.measurements, "ceiling_share@12mp": share}})
    board = costs([record])
    assert dict(zip(board.headers, board.rows[0]))["of ceilings [%] at 4x8x8 ↑"] == "50"


def test_conditions_that_are_not_the_usual_ones_stand_in_the_name() -> None:
    record = result("a", 20.0)
    spec = under(record.spec, precision="bf16", channels_last=True)
    board = quality([record.model_copy(update={"spec": spec, "key": "other"}), record])
    assert sorted(row[1] for row in board.rows) == ["a", "a, bf16, channels last"]


def test_a_failed_record_says_why() -> None:
    tables = boards([result("a", None, status="error", error="ValueError: no")], "zrr-standin")
    assert tables[0].rows[0][1] == "○ untrained, error"
    assert "a: error: ValueError: no" in tables[0].notes


def test_a_stand_in_is_always_called_one() -> None:
    text = pages([result("a", 20.0)])["zrr-standin.md"]
    assert "Stand-in data" in text
    assert "zrr-standin, test: 12 images" in text


def test_a_stand_in_names_every_generator_that_made_its_images() -> None:
    records = [result(name, 20.0, data={"standin": True, "generator": number}) for name, number in (("a", 2), ("b", 1))]
    assert "by generator 1 or 2 (" in pages(records)["zrr-standin.md"]
    assert "by generator 2 (" in pages(records[:1])["zrr-standin.md"]


def test_a_real_dataset_never_shares_a_table_with_a_stand_in() -> None:
    """Not even where a record calls itself by the real name: its data says what it is."""
    names = {"dataset": "zrr", "split": "test"}
    records = [
        result("a", 20.0, **names, data={}),
        result("b", 22.0, **names),
        result("c", 21.0, **names, data={}),
        result("d", 23.0),
        result("e", None, **names),
    ]
    tables = boards(records, "zrr")
    models = [{row[board.labels - 2] for row in board.rows} for board in tables]
    assert models == [{"a", "c"}, {"a", "c"}, {"b"}, {"b", "e"}]
    assert [any("Stand-in data" in line for line in board.lead) for board in tables] == [False, False, True, True]


def test_the_same_records_give_the_same_bytes(tmp_path) -> None:
    records = [
        result("a", 20.0),
        result("b", 22.0, machine="m2"),
        result("b", 22.0, machine="m3"),
        result("c", None),
        result("c", None, status="error", error="no", key="of another version", created="2025-12-31"),
        result("d", 20.0, created="2026-01-02", notes=["late"]),
        result("d", 19.0),
        marked(result("e", 20.0), "latency_ms", tainted=("busy for 3 s", "busy for 2 s")),
    ]
    paths = write_tables(records, tmp_path)
    before = [path.read_bytes() for path in paths]
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert stale_tables(shuffled, tmp_path) == []
    assert [path.read_bytes() for path in write_tables(records[::-1], tmp_path)] == before
    page_path = tmp_path / "zrr-standin.md"
    page_path.write_text(page_path.read_text() + "edited")
    assert stale_tables(records, tmp_path) == [page_path]


def test_the_index_says_what_each_page_is(tmp_path) -> None:
    records = [result("a", 20.0), result("b", 22.0), result("c", None), result("a", 20.5)]
    write_tables(records, tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| [zrr-standin](zrr-standin.md)")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "stand-in data: 2 models with quality (test: 12 images, 12 scenes), costs of 3"
    assert cells[2] == "3"
    assert cells[3] == "b: `psnr[rgb]` [dB] ↑ 22.00 (● trained)"
    assert "2026" not in text


def test_names_with_markup_stay_text() -> None:
    text = pages([result("<script>alert(1)</script>", 20.0), result("a|b", 21.0)])["zrr-standin.md"]
    assert "<script" not in text
    assert "a\\|b" in text


def test_no_text_of_a_record_is_markup_or_a_line_of_its_own() -> None:
    bad = "x\n# y\x1b[2J\u202e<img src=z>[a](javascript:b)"
    record = result("m", 20.0, error=bad, notes=[bad], weights={"recipe": bad}, environment={"cpu": bad, "torch": bad})
    record = record.model_copy(update={"data": {"standin": True, "generator": bad, "sources": bad}})
    other = result(bad, None, status="error", error=bad, options={"x": bad})
    text = pages([record, other])["zrr-standin.md"]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert "<img" not in text
    assert "[a](" not in text
    assert not [line for line in text.splitlines() if line.startswith("# ") and "Leaderboard" not in line]


def test_pages_of_names_with_brackets_are_linked() -> None:
    records = [result("m", 20.0, dataset="zrr-standin (bsds500)")]
    text = index_page(tables_by_page(records), {"zrr-standin (bsds500)": 1}, {})
    assert "| [zrr-standin (bsds500)](zrr-standin%20%28bsds500%29.md) |" in text


def test_committed_tables_are_fresh() -> None:
    records = read_folders([LEADERBOARDS / "results"])
    assert records
    for name, text in pages(records).items():
        assert (LEADERBOARDS / name).read_text(encoding="utf-8") == text


def test_committed_records_are_intact_and_have_their_scores() -> None:
    records = read_folders([LEADERBOARDS / "results"])
    assert warnings(records) == []
    for record in records:
        assert record.source is not None
        assert record.source.is_intact
        if any(m.kind == "score" for m in record.measurements.values()):
            assert len(image_scores(record)) == record.n


def test_committed_records_hold_no_score_for_untrained_weights() -> None:
    for record in read_folders([LEADERBOARDS / "results"]):
        if record.evidence == "untrained":
            assert not [id for id, m in record.measurements.items() if m.kind == "score"]
        # A network that the machine has no memory for is listed with its costs and with what it needs.
        assert record.status == "ok" or record.error.startswith("skipped: not run: ")
        assert record.spec.dataset == record.dataset
