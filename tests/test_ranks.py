"""Ranks, Pareto fronts and footnotes: the parts of a table that judge its rows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmark.htmlpage.data import document
from benchmark.leaderboard import boards
from benchmark.leaderboard.cells import Footnotes
from benchmark.leaderboard.pages import index_page
from benchmark.leaderboard.ranks import front
from benchmark.leaderboard.tables import tables_by_page
from benchmark.results.records import content_of
from benchmark.results.store import Store, read_results
from benchmark.types import Result
from tests.sample_records import measurement, result

HARD = np.random.default_rng(0).normal(25, 4, 30)


def stored(
    folder: Path, scores: dict[str, np.ndarray], without: tuple[str, ...] = (), *, scenes=None, params=None
) -> list[Result]:
    """Store a record per model with these scores per image; return the records as they are read.

    ``scenes``: that of each image, by default one of its own; ``params`` by model.
    """
    store = Store(folder)
    for model, values in scores.items():
        shown = [str(index) for index in range(len(values))] if scenes is None else scenes
        record = result(model, float(np.mean(values)), n=len(values), num_scenes=len({*shown} - {""}) or None)
        if params:
            costs = {"params": measurement(params[model], kind="count", higher=False)}
            record = record.model_copy(update={"measurements": {**record.measurements, **costs}})
        if model not in without:
            journal = store.journal(record.key)
            for index, value in enumerate(values):
                journal.append(str(index), {"psnr[rgb]": float(value)}, scene=str(shown[index]))
            record = record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"})
        store.append(record)
    return store.results()


def ranks(records: list[Result]) -> dict[str, str]:
    board = boards(records, "zrr-standin")[0]
    return {row[1]: row[0] for row in board.rows}


def noisy(shift: float, seed: int) -> np.ndarray:
    return HARD + shift + np.random.default_rng(seed).normal(0, 0.3, len(HARD))


def test_rows_that_do_not_differ_significantly_share_a_rank(tmp_path) -> None:
    records = stored(
        tmp_path, {"best": noisy(2, 1), "twin": noisy(1.95, 2), "third": noisy(0, 3), "last": noisy(-2, 4)}
    )
    assert ranks(records) == {"best": "1=", "twin": "1=", "third": "3", "last": "4"}
    board = boards(records, "zrr-standin")[0]
    assert any("95% interval" in note and "`psnr[rgb]`" in note for note in board.notes)
    assert any("over the 30 scenes" in note for note in board.notes)


def test_a_group_is_led_by_its_best_row(tmp_path) -> None:
    """A chain of small steps is not one group: each row is compared with the leader, not with its neighbour."""
    wave = np.where(np.arange(30) % 2, 0.3, -0.3)
    steps = {"a": HARD, "b": HARD - 0.08 + wave, "c": HARD - 0.16}
    assert ranks(stored(tmp_path, steps)) == {"a": "1=", "b": "1=", "c": "3"}


def test_without_scores_per_image_no_tie_is_shown_and_that_is_said(tmp_path) -> None:
    records = stored(tmp_path, {"a": HARD, "b": HARD}, without=("a", "b"))
    assert ranks(records) == {"a": "1", "b": "2"}
    assert any("no tie is shown" in note for note in boards(records, "zrr-standin")[0].notes)


def test_a_row_whose_scores_are_missing_is_marked(tmp_path) -> None:
    records = stored(tmp_path, {"a": HARD, "b": HARD - 0.001, "c": HARD - 0.002}, without=("b",))
    assert ranks(records) == {"a": "1", "b": "2?", "c": "3"}
    assert any(note.startswith("?: no scores per image") for note in boards(records, "zrr-standin")[0].notes)


def test_lower_is_better_where_the_metric_says_so(tmp_path) -> None:
    records = stored(tmp_path, {"a": HARD, "b": HARD + 1, "c": HARD + 1})
    turned = []
    for record in records:
        score = record.measurements["psnr[rgb]"].model_copy(update={"higher_is_better": False})
        turned.append(record.model_copy(update={"measurements": {**record.measurements, "psnr[rgb]": score}}))
    assert ranks(turned) == {"a": "1", "b": "2=", "c": "2="}


def test_images_of_one_scene_do_not_decide_a_rank(tmp_path) -> None:
    """Of ten scenes with three images each, one row is better on six: no difference, whatever the images say."""
    shift = np.repeat([1.0, 0.9, -0.8, 1.1, -0.7, 0.8, 1.2, -0.9, 1.0, -1.0], 3)
    both = {"a": HARD + shift + 0.3, "b": HARD}
    assert ranks(stored(tmp_path / "own", both)) == {"a": "1", "b": "2"}
    grouped = stored(tmp_path / "grouped", both, scenes=np.repeat(list("abcdefghij"), 3))
    board = boards(grouped, "zrr-standin")[0]
    assert (board.title, [row[0] for row in board.rows]) == ("zrr-standin, test: 30 images, 10 scenes", ["1=", "1="])
    # What does not differ from the best is as bold.
    column = board.headers.index("`psnr[rgb]` [dB] ↑")
    assert {y for y, x in board.best if x == column} == {0, 1}


@pytest.mark.parametrize(("number", "words"), [
    (5, "5 scenes: too few to rank"), (1, "1 scene: too few to rank"), (None, "scenes unknown: measure again to rank"),
])  # fmt: skip
def test_with_few_or_unknown_scenes_nothing_is_ranked(tmp_path, number: int | None, words: str) -> None:
    scenes = np.resize(list("abcde")[:number], 30) if number else np.full(30, "")
    records = stored(tmp_path, {"a": HARD + 5, "b": HARD}, scenes=scenes, params={"a": 2, "b": 1})
    board = boards(records, "zrr-standin")[0]
    assert board.title == f"zrr-standin, test: 30 images, {words}"
    assert (board.headers[0], [row[0] for row in board.rows]) == ("model", ["a", "b"])
    assert "Pareto" not in board.headers
    column = board.headers.index("`psnr[rgb]` [dB] ↑")
    assert not [place for place in board.best if place[1] == column]
    assert [place for place in board.best if board.headers[place[1]] == "params [M] ↓"]
    assert words[1:] in board.notes[0]
    (table,) = [one for data in document(records).content["datasets"] for one in data["tables"]]
    assert words in table["title"]
    assert words[1:] in table["caution"]
    assert not {"rank", "pareto"} & {column["id"] for column in table["columns"]}
    index = index_page(tables_by_page(records), {"zrr-standin": 2}, {})
    assert index.count(words) == 2
    assert "stand-in data: 2 models with quality (test: 30 images" in index


def test_rows_of_other_scenes_share_no_table(tmp_path) -> None:
    records = stored(tmp_path / "a", {"a": HARD}) + stored(
        tmp_path / "b", {"b": HARD}, scenes=np.resize(list("abcdef"), 30)
    )
    titles = [board.title for board in boards(records, "zrr-standin")]
    assert titles == [
        "zrr-standin, test: 30 images, 30 scenes",
        "zrr-standin, test: 30 images, 6 scenes",
        "zrr-standin: costs",
    ]


def test_titles_of_tables_whose_scenes_were_found_by_other_rules_say_so(tmp_path) -> None:
    data = {"standin": True, "generator": 1, "sources": "abc"}
    first, second = stored(tmp_path, {"a": HARD, "b": HARD})
    ruled = second.model_copy(update={"data": {**data, "scene": "^(.)_"}})
    (shown,) = document([first, ruled]).content["datasets"]
    titles = [table["title"].partition("30 scenes")[2] for table in shown["tables"] if table["kind"] == "quality"]
    assert sorted(titles) == [", each picture a scene", ", scenes by ^(.)_"]
    lines = [line for board in boards([first, ruled], "zrr-standin") for line in board.lead]
    assert "**Scenes**: found in the names of the inputs by the regular expression ^(.)_" in lines


def test_the_interval_stands_beside_the_score(tmp_path) -> None:
    (record,) = stored(tmp_path, {"a": HARD})
    interval = {"ci_low": float(HARD.mean()) - 0.414, "ci_high": float(HARD.mean()) + 0.414}
    score = record.measurements["psnr[rgb]"].model_copy(update=interval)
    record = record.model_copy(update={"measurements": {**record.measurements, "psnr[rgb]": score}})
    board = boards([record], "zrr-standin")[0]
    assert f"{HARD.mean():.2f} [24.10, 24.93]" in board.rows[0]
    assert any(note.startswith("In brackets: the 95% interval of the mean over scenes") for note in board.notes)
    (table,) = [one for data in document([record]).content["datasets"] for one in data["tables"]]
    (cell,) = [c for c in table["rows"][0]["cells"] if isinstance(c, list) and c[1] == f"{HARD.mean():.2f}"]
    assert cell[3]["spread"] == "[24.10, 24.93]"


def naive_front(scores: list[float], costs: list[float]) -> set[int]:
    points = list(zip(scores, costs))
    return {
        i
        for i, (score, cost) in enumerate(points)
        if not any(s >= score and c <= cost and (s > score or c < cost) for s, c in points)
    }


def test_the_front_is_what_nobody_beats() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        scores, costs = rng.integers(0, 6, 12).tolist(), rng.integers(0, 6, 12).tolist()
        assert front(scores, costs) == naive_front(scores, costs)


def test_rows_without_a_value_are_on_no_front() -> None:
    assert front([1.0, None, 3.0, 2.0], [1.0, 1.0, None, 2.0]) == {0, 3}


def priced(model: str, psnr: float, params: int, latency: float, **more: object) -> Result:
    record = result(model, psnr, **more)
    costs = {
        "params": measurement(params, kind="count", higher=False),
        "latency_ms": measurement(latency, kind="timing", higher=False, input_shape=[1, 4, 224, 224]),
    }
    return record.model_copy(update={"measurements": {**record.measurements, **costs}})


def test_the_pareto_column_names_the_costs() -> None:
    board = boards([priced("a", 22, 5, 9.0), priced("b", 21, 6, 8.0), priced("c", 20, 7, 9.0)], "zrr-standin")[0]
    assert board.headers[-1] == "Pareto"
    assert [row[-1] for row in board.rows] == ["PT", "·T", "··"]
    assert any(note.startswith("Pareto: costs (P params, T median time)") for note in board.notes)


def relative(result: Result, ratio: float, **doubt: object) -> Result:
    """Add a time relative to the calibration kernel; ``doubt`` is on both times."""
    known = result.measurements
    time = known["latency_ms"].model_copy(update=doubt)
    return result.model_copy(
        update={
            "measurements": {
                **known,
                "latency_ms": time,
                "relative_latency": time.model_copy(update={"value": ratio, "unit": ""}),
            }
        }
    )


def test_times_are_decided_by_the_calibration_kernel() -> None:
    # The machine was slow while "a" was timed: it takes more milliseconds, and fewer passes of the kernel.
    records = [relative(priced("a", 22, 5, 9.0), 0.8), relative(priced("b", 21, 6, 8.0), 0.9)]
    board = boards(records, "zrr-standin")[0]
    assert [row[-1] for row in board.rows] == ["PT", "··"]
    assert any("T median time, relative to the calibration kernel's" in note for note in board.notes)
    bold = {(board.rows[y][board.headers.index("model")], board.headers[x]) for y, x in board.best}
    times = {(name, header) for name, header in bold if "time" in header or "calibration" in header}
    assert {name for name, _ in times} == {"a"}
    assert len(times) == 2


@pytest.mark.parametrize("doubt", [{"tainted": ("others were busy",)}, {"remark": "3 samples"}])
def test_a_disturbed_or_cut_time_decides_nothing(doubt: dict[str, object]) -> None:
    fast = relative(priced("fast", 20, 5, 1.0), 0.1, **doubt)
    records = [fast, relative(priced("a", 22, 5, 9.0), 0.9), relative(priced("b", 21, 6, 8.0), 0.8)]
    board = boards(records, "zrr-standin")[0]
    assert {row[board.headers.index("model")]: row[-1] for row in board.rows} == {"a": "PT", "b": "·T", "fast": "··"}
    bold = {board.rows[y][board.headers.index("model")] for y, x in board.best if "time" in board.headers[x]}
    assert bold == {"b"}
    assert any(cell.endswith(("†1", "‡1")) for cell in board.rows[-1])


def test_times_of_two_machines_make_no_front() -> None:
    board = boards([priced("a", 22, 5, 9.0), priced("b", 21, 4, 8.0, machine="m2")], "zrr-standin")[0]
    assert [row[-1] for row in board.rows] == ["P", "P"]


@pytest.mark.parametrize(("first", "second"), list(product(["3 % (limit 5)", "-7.5 % (limit 5)"], repeat=2)))
def test_notes_that_differ_in_numbers_share_a_footnote(first: str, second: str) -> None:
    notes = Footnotes()
    assert [notes.mark("†", [first]), notes.mark("†", [second, "other {x}"])] == ["†1", "†1,2"]
    span = first.split()[0] if first == second else "-7.5 to 3"
    assert notes.lines() == [f"†1: {span} % (limit 5)", "†2: other (x)"]
    assert notes.mark("‡", ["3 samples"]) == "‡3"
    assert notes.mark("†", []) == ""


def test_ranks_come_from_the_file_that_the_records_were_read_from(tmp_path) -> None:
    records = stored(tmp_path / "here", {"a": HARD, "b": HARD})
    moved = tmp_path / "there" / "results.jsonl"
    moved.parent.mkdir()
    moved.write_bytes((tmp_path / "here" / "results.jsonl").read_bytes())
    assert ranks(records) == {"a": "1=", "b": "1="}
    assert ranks(read_results(moved)) == {"a": "1", "b": "2"}
    assert all(content_of(record)["digest"] for record in records)
