"""Tables: what they show, what they refuse to mix, and that the committed ones are fresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.leaderboard import boards, page, stale_pages, write_pages
from benchmark.store import read_folders
from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec

LEADERBOARDS = Path(__file__).parent.parent / "leaderboards"


def measurement(value, *, unit="", kind="score", higher=True, version=1, **more) -> Measurement:
    return Measurement(
        value=value, unit=unit, definition="as defined", kind=kind, higher_is_better=higher, version=version, **more
    )


def result(model: str, psnr: float | None, *, machine="m1", threads=2, digest="d", version=1, **more) -> Result:
    measurements = {
        "params": measurement(1_000_000, kind="count", higher=False),
        "flops@12mp": measurement(2 * 10**12, kind="count", higher=False, input_shape=[1, 4, 1536, 2048]),
    }
    if psnr is not None:
        measurements["psnr[rgb]"] = measurement(psnr, unit="dB", version=version)
        timing = {"kind": "timing", "higher": False, "input_shape": [1, 4, 224, 224]}
        measurements["latency_ms"] = measurement(12.345, q1=12.0, q3=13.0, n=9, threads=threads, **timing)
    spec = RunSpec(
        model=model,
        options=more.get("options", {}),
        code="builtin-v1",
        weights_digest=None,
        dataset="zrr-standin",
        dataset_digest=digest,
        split="test",
        limit=None,
        protocol="zrr-v1",
        metrics={},
        profilers=[],
        device="cpu",
        precision="float32",
        threads=threads,
        seed=0,
        evaluate=psnr is not None,
    )
    environment = Environment(
        machine=machine,
        cpu=f"CPU {machine}",
        cores=2,
        memory_bytes=1,
        platform="Linux",
        python="3.11",
        torch="2.x",
        packages={},
        threads=threads,
        load=0.0,
        commit=None,
        dirty=None,
    )
    fields = {
        "key": spec.key() + machine,
        "model": model,
        "options": {},
        "dataset": "zrr-standin",
        "split": "test",
        "n": 12 if psnr is not None else 0,
        "evidence": "trained" if psnr is not None else "untrained",
        "status": "ok",
        "error": None,
        "seconds": 1.0,
        "created": "2026-01-01",
        "measurements": measurements,
        "per_image": None,
        "pictures": None,
        "spec": spec,
        "protocol": ProtocolRecord(name="zrr", version=1, text="clamped"),
        "environment": environment,
        "data": {"standin": True, "generator": 1, "sources": "abc"},
    }
    return Result(**{**fields, **more})


def test_rows_are_sorted_by_score_and_the_best_is_marked() -> None:
    (board,) = boards([result("a", 20.0), result("b", 22.0), result("c", 21.0)], "zrr-standin")
    assert [row[0] for row in board.rows] == ["b", "c", "a"]
    assert "**22.00**" in page([result("a", 20.0), result("b", 22.0)], "zrr-standin")


def test_headers_name_unit_size_and_direction() -> None:
    (board,) = boards([result("a", 20.0)], "zrr-standin")
    assert "`psnr[rgb]` [dB] ↑" in board.headers
    assert "FLOPs [T] at 4x1536x2048 ↓" in board.headers
    assert "CPU time [ms] at 4x224x224 ↓" in board.headers
    assert "12.3 (12.0-13.0)" in board.rows[0]


def test_untrained_rows_stand_in_a_table_of_their_own() -> None:
    quality, costs = boards([result("a", 20.0), result("b", None)], "zrr-standin")
    assert [row[0] for row in quality.rows] == ["a"]
    assert [row[0] for row in costs.rows] == ["b"]
    assert not any("psnr" in header for header in costs.headers)
    assert "No quality is shown for untrained weights" in costs.notes[0]


@pytest.mark.parametrize("other", [{"digest": "other data"}, {"version": 2}])
def test_what_cannot_be_compared_is_not_in_one_table(other: dict) -> None:
    tables = boards([result("a", 20.0), result("b", 22.0, **other)], "zrr-standin")
    assert [len(table.rows) for table in tables] == [1, 1]


def test_the_newest_record_of_a_key_counts() -> None:
    (board,) = boards([result("a", 20.0), result("a", 21.0)], "zrr-standin")
    assert [row[2] for row in board.rows] == ["21.00"]


def test_timings_of_two_machines_are_told_apart() -> None:
    (board,) = boards([result("a", 20.0), result("b", 22.0, machine="m2", threads=4)], "zrr-standin")
    times = [row[board.headers.index("CPU time [ms] at 4x224x224 ↓")] for row in board.rows]
    assert times == ["12.3 (12.0-13.0) B", "12.3 (12.0-13.0) A"]
    machines = [note for note in board.notes if note.startswith("Machine of the timings")]
    assert ["A = CPU m1" in machines[0], "B = CPU m2" in machines[1]] == [True, True]
    assert not any(x == board.headers.index("CPU time [ms] at 4x224x224 ↓") for _, x in board.best)


def marked(result: Result, id: str, **beside) -> Result:
    timing = measurement(beside.pop("value", 5.0), kind="timing", higher=False, input_shape=[1, 4, 224, 224], **beside)
    return result.model_copy(update={"measurements": {**result.measurements, id: timing}})


def test_timings_that_are_not_like_the_others_are_marked_and_explained() -> None:
    first = marked(result("a", 20.0), "latency_ms", tainted=("others were busy",), remark="one cold pass")
    second = marked(result("b", 19.0), "latency_ms@12mp", value=None, remark="skipped: needs 33 GiB")
    (board,) = boards([first, second], "zrr-standin")
    row = dict(zip(board.headers, board.rows[0]))
    assert "5.00†‡" in row.values()
    alone = marked(result("c", 18.0), "latency_ms", q1=5.0, q3=5.0, n=1)
    assert "5.00" in boards([alone], "zrr-standin")[0].rows[0]
    assert "a: † time at 4x224x224 on a disturbed machine: others were busy" in board.notes
    assert "a: ‡ time at 4x224x224: one cold pass" in board.notes
    assert "-‡" in board.rows[1]


def test_columns_say_which_way_is_better() -> None:
    share = measurement(0.5, kind="timing", higher=True, input_shape=[1, 4, 8, 8])
    record = result("a", 20.0)
    record = record.model_copy(update={"measurements": {**record.measurements, "ceiling_share@12mp": share}})
    (board,) = boards([record], "zrr-standin")
    assert dict(zip(board.headers, board.rows[0]))["of ceilings [%] at 4x8x8 ↑"] == "50"


def test_conditions_that_are_not_the_usual_ones_stand_in_the_name() -> None:
    record = result("a", 20.0)
    spec = record.spec.model_copy(update={"precision": "bf16", "channels_last": True})
    (board,) = boards([record.model_copy(update={"spec": spec, "key": "other"}), record], "zrr-standin")
    assert sorted(row[0] for row in board.rows) == ["a", "a, bf16, channels last"]


def test_a_failed_record_says_why() -> None:
    tables = boards([result("a", None, status="error", error="ValueError: no")], "zrr-standin")
    assert tables[0].rows[0][1] == "untrained, error"
    assert "a: error: ValueError: no" in tables[0].notes


def test_a_stand_in_is_always_called_one() -> None:
    text = page([result("a", 20.0)], "zrr-standin")
    assert "Stand-in data" in text
    assert "zrr-standin, test: 12 images" in text


def test_the_same_records_give_the_same_bytes(tmp_path) -> None:
    records = [result("a", 20.0), result("b", 22.0), result("c", None)]
    (path,) = write_pages(records, tmp_path)
    first = path.read_bytes()
    write_pages(records[::-1], tmp_path)
    assert path.read_bytes() == first
    assert stale_pages(records, tmp_path) == []
    path.write_text(path.read_text() + "edited")
    assert stale_pages(records, tmp_path) == [path]


def test_committed_tables_are_fresh() -> None:
    records = read_folders([LEADERBOARDS / "results"])
    assert records
    assert stale_pages(records, LEADERBOARDS) == []


def test_committed_records_hold_no_score_for_untrained_weights() -> None:
    for record in read_folders([LEADERBOARDS / "results"]):
        if record.evidence == "untrained":
            assert not [id for id, m in record.measurements.items() if m.kind == "score"]
        assert record.status == "ok"
        assert record.spec.dataset == record.dataset
