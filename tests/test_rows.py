"""One set of doubtful records in every medium: the same rows, values, ranks, signs and notes, whoever renders them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli.console import print_board
from benchmark.htmlpage.data import document
from benchmark.leaderboard import Board, boards, pages, rows_of
from benchmark.leaderboard.paper_tables import paper_pages
from benchmark.leaderboard.ranks import front
from benchmark.regression.comparing import compare
from benchmark.regression.sources import open_set
from benchmark.results.store import Store, read_results
from benchmark.types import Result
from tests.sample_records import measurement, result, under
from tests.test_published import section
from tests.test_published import write as write_paper

DATASET = "zrr-standin"
STANDIN = {"standin": True, "generator": 1, "sources": "abc"}
HARD = np.random.default_rng(0).normal(25, 4, 12)
SHOWN_ONLY = {"edited", "disputed", "rough, approximate tiles 64x64"}
RANKS = {
    "perfect": "1", "plain": "2=", "twin": "2=", "incomplete": "4=", "disturbed": "4=",
    **dict.fromkeys(SHOWN_ONLY, "-"),
}  # fmt: skip


def priced(record: Result, params: int, **changes) -> Result:
    """Return a record with parameters of its own, and ``changes`` to its other measurements."""
    costs = {
        "params": measurement(params, kind="count", higher=False),
        "macs": measurement(1000 * params, kind="count", higher=False, input_shape=[1, 4, 224, 224]),
    }
    return record.model_copy(update={"measurements": {**record.measurements, **costs, **changes}})


def scored(store: Store, model: str, scores: np.ndarray, params: int, **changes) -> None:
    """Add a record with these scores, and the scores beside it."""
    record = result(model, math.fsum(scores) / len(scores), n=len(scores))
    journal = store.journal(record.key)
    for index, value in enumerate(scores):
        journal.append(str(index), {"psnr[rgb]": float(value)}, scene=str(index))
    record = record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"})
    store.append(priced(record, params, **changes))


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Result]:
    store = Store(tmp_path_factory.mktemp("doubtful"))
    scored(store, "plain", HARD, 5_000_000)
    scored(store, "twin", HARD - 0.01 + np.where(np.arange(12) % 2, 0.3, -0.3), 6_000_000)
    scored(store, "perfect", np.full(12, math.inf), 7_000_000)
    time = {"kind": "timing", "higher": False, "input_shape": [1, 4, 224, 224]}
    slow = measurement(9.876, q1=9.0, q3=10.5, n=9, tainted=("others were busy for 3 s",), **time)
    few = measurement(None, remark="not run: needs 9 GiB", **time)
    scored(store, "disturbed", HARD - 2.5, 4_000_000, latency_ms=slow, **{"latency_ms@12mp": few})
    lacking = measurement(7, kind="count", higher=False, remark="incomplete: without fft", input_shape=[1, 4, 224, 224])
    scored(store, "incomplete", HARD - 2.5, 3_000_000, macs=lacking)
    store.append(priced(result("edited", 20.5), 1))
    store.append(priced(result("disputed", 20.0), 2))
    store.append(priced(result("disputed", 40.0), 2))
    rough = result("rough", 50.0)
    store.append(priced(rough.model_copy(update={"spec": under(rough.spec, tile=(64, 64), approximate=True)}), 3))
    store.append(priced(result("partial", 60.0, n=5, data={**STANDIN, "part": "5 of 12"}), 4))
    store.append(priced(result("failed", None, status="oom", error="killed at 9 GiB"), 5))
    store.append(priced(result("untrained", 70.0, evidence="untrained"), 6))
    file = store.results_file
    file.write_text(file.read_text(encoding="utf-8").replace('"value": 20.5,', '"value": 99.0,'), encoding="utf-8")
    return read_results(file)


@pytest.fixture(scope="module")
def tables(records) -> list[Board]:
    """The whole set's quality and costs, then those of the part."""
    return boards(records, DATASET)


def by_name(board: Board) -> dict[str, dict[str, str]]:
    """Return the cells by the row's name and the header."""
    cells = [dict(zip(board.headers, row)) for row in board.rows]
    return {row["model"]: row for row in cells}


def markdown_rows(text: str) -> list[list[list[str]]]:
    """Return the cells of each table of a page, without what makes them bold."""
    tables: list[list[list[str]]] = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            lines = [line for line in block.splitlines() if not line.startswith("|:")]
            tables.append([[cell.strip().replace("**", "") for cell in line.strip("|").split("|")] for line in lines])
    return tables


def page_tables(records: list[Result]) -> dict[str, dict]:
    """Return the tables of the HTML page by title."""
    (data,) = document(records).content["datasets"]
    return {table["title"]: table for table in data["tables"]}


def page_cells(table: dict) -> dict[str, dict[str, str]]:
    """Return by the row's name and the column's id what a cell of the page shows, in the signs of a keyboard."""
    found: dict[str, dict[str, str]] = {}
    for row in table["rows"]:
        cells = found.setdefault(row["name"], {})
        for index, (column, cell) in enumerate(zip(table["columns"], row["cells"])):
            if column["contexts"] is None or cell is None:
                cells[column["id"]] = "-" if cell is None else cell
                continue
            spread = cell[3].get("spread", "").replace("–", "-") if len(cell) > 3 else ""
            text = {"–": "-", "∞": "inf"}.get(cell[1], cell[1])
            cells[column["id"]] = text + (f" ({spread})" if spread else "") + row["signs"].get(index, "")
    return found


IDS = {"`psnr[rgb]` [dB] ↑": "psnr[rgb]", "params [M] ↓": "params", "MACs [G] at 4x224x224 ↓": "macs",
       "CPU time [ms] at 4x224x224 ↓": "latency_ms", "CPU time [s] at 4x224x224 ↓": "latency_ms@12mp",
       "FLOPs [T] at 4x1536x2048 ↓": "flops@12mp", "rank": "rank", "Pareto": "pareto"}  # fmt: skip


def test_what_is_only_shown_has_no_rank_and_wins_nothing(tables) -> None:
    quality = by_name(tables[0])
    assert {name: row["rank"] for name, row in quality.items()} == RANKS
    assert {quality[name]["Pareto"] for name in SHOWN_ONLY} == {"···"}
    best = {tables[0].rows[y][1] for y, _ in tables[0].best}
    assert not best & SHOWN_ONLY
    assert quality["incomplete"]["Pareto"].startswith("P·")


def test_the_signs_of_doubt_are_explained(tables) -> None:
    quality, notes = by_name(tables[0]), tables[0].notes
    assert quality["edited"]["evidence"] == "● trained ✎ edited by hand"
    assert quality["disputed"]["evidence"] == "● trained ≠ conflicting records"
    for name, text in (
        ("edited", "✎ results.jsonl, record 6 is not as it was written (its digest does not match)"),
        ("disputed", "≠ psnr[rgb] is 40, and 20 in an older record of the same key (results.jsonl, record 7)"),
        ("rough, approximate tiles 64x64", "put together from tiles that are not exact, which changes the output"),
    ):
        assert f"{name}: {text}; not ranked" in notes
    assert "†1: on a disturbed machine: others were busy for 3 s" in notes


def test_markdown_and_terminal_show_the_same(records, tables, capsys) -> None:
    written = markdown_rows(pages(records)[f"{DATASET}.md"])
    assert [[tuple(row) for row in rows[1:]] for rows in written] == [list(board.rows) for board in tables]
    for board in tables:
        print_board(board)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
        shown = [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in lines]
        assert shown == list(board.rows)


def test_the_page_shows_the_same(records, tables) -> None:
    found = page_tables(records)
    titles = [
        "Quality: test, 12 images, zrr-v1, 12 scenes", "Costs only: test", "Quality: test, 5 of 12 images, zrr-v1,"
        " 5 scenes: too few to rank"
    ]  # fmt: skip
    assert list(found) == titles
    scored = {name for title in titles if title.startswith("Quality") for name in page_cells(found[title])}
    for title, board in zip(titles, tables):
        expected = by_name(board)
        shown = page_cells(found[title])
        assert shown.keys() == (expected.keys() if title.startswith("Quality") else expected.keys() - scored)
        for name, cells in shown.items():
            for header, text in expected[name].items():
                if header in IDS:
                    assert cells[IDS[header]] == text, (title, name, header)
        # Of what the page shows beside the columns of the Markdown, notes may follow.
        said = set(found[title]["notes"]) | {found[title]["caution"]} | set(found[title]["remarks"])
        if title.startswith("Quality"):
            assert all(any(note in text for text in said) for note in board.notes)


def test_the_page_marks_the_same_rows_and_compares_none_of_them(records, tables) -> None:
    table = page_tables(records)["Quality: test, 12 images, zrr-v1, 12 scenes"]
    ids = [column["id"] for column in table["columns"]]
    evidence = {name: row["evidence"] for name, row in by_name(tables[0]).items()}
    for row in table["rows"]:
        assert row["fair"] == (row["name"] not in SHOWN_ONLY)
        assert all(doubt in evidence[row["name"]] for doubt in row["doubts"])
        compared = {id for id, cell in zip(ids, row["cells"]) if cell is not None} - {ids[x] for x in row["uncompared"]}
        expected = {"psnr[rgb]", "params", "macs", "latency_ms"} if row["fair"] else set()
        undecided = {"incomplete": {"macs"}, "disturbed": {"latency_ms"}}.get(row["name"], set())
        assert compared & {"psnr[rgb]", "params", "macs", "latency_ms"} == expected - undecided
    best = {(row["name"], ids[x]) for row in table["rows"] for x in row["best"]} & {
        (name, id) for name in evidence for id in IDS.values()
    }
    marked = {(tables[0].rows[y][1], IDS.get(tables[0].headers[x])) for y, x in tables[0].best}
    assert {one for one in best if one[1] in {id for _, id in marked}} == {one for one in marked if one[1]}


def test_the_front_of_the_plot_is_that_of_the_table(records, tables) -> None:
    """What the script draws: the front of the points whose values the data lets it compare."""
    table = page_tables(records)["Quality: test, 12 images, zrr-v1, 12 scenes"]
    ids = [column["id"] for column in table["columns"]]
    for letter, cost in (("P", "params"), ("M", "macs"), ("T", "latency_ms")):
        x, y = ids.index(cost), ids.index("psnr[rgb]")

        def value(row: dict, index: int) -> float | None:
            return None if index in row["uncompared"] else float(row["cells"][index][0])

        points = [(value(row, y), value(row, x)) for row in table["rows"]]
        known = [(s, c) if s is not None and c is not None else (None, None) for s, c in points]
        on = {table["rows"][i]["name"] for i in front([s for s, _ in known], [c for _, c in known])}
        assert on == {name for name, row in by_name(tables[0]).items() if letter in row["Pareto"]}


def test_compare_takes_the_same_rows_and_says_the_same_of_them(records) -> None:
    file = str(records[0].source.file)
    findings = {
        one.model: one for one in compare(open_set(file), open_set(file)).findings if one.measurement == "record"
    }
    rows = {row.name: row for row in rows_of(records)}
    assert findings.keys() == rows.keys()
    assert {name for name, one in findings.items() if one.verdict != "same"} == {"edited"}
    for name in SHOWN_ONLY - {"edited"}:
        assert findings[name].warnings == tuple(f"{when}: {rows[name].doubts[0]}" for when in ("before", "after"))
    assert not any(one.warnings for name, one in findings.items() if name not in SHOWN_ONLY)


def real(model: str, psnr: float, **more) -> Result:
    record = result(model, psnr, dataset="zrr", data=more.pop("data", {}), **more)
    return record.model_copy(update={"measurements": {"psnr[rgb]": measurement(psnr, unit="dB")}})


def test_the_papers_tables_leave_out_what_is_only_shown(tmp_path: Path) -> None:
    def shown(*records: Result) -> str:
        store = Store(tmp_path / str(len(list(tmp_path.iterdir()))))
        for record in records:
            store.append(record)
        file = store.results_file
        file.write_text(file.read_text(encoding="utf-8").replace('"value": 20.5,', '"value": 99.0,'), encoding="utf-8")
        text = paper_pages(write_paper(tmp_path / "published"), read_results(file))["small.md"]
        return section(text, "Quality")[1][3]

    rough = real("unet_w8", 50.0)
    assert shown(real("unet_w8", 21.25)) == "21.25"
    assert shown(real("unet_w8", 20.5)) == "-"  # edited to 99 dB
    assert shown(real("unet_w8", 20.0), real("unet_w8", 40.0)) == "-"
    assert shown(rough.model_copy(update={"spec": under(rough.spec, tile=(64, 64), approximate=True)})) == "-"
    assert shown(real("unet_w8", 60.0, data={"part": "5 of 12"})) == "-"
    assert shown(real("unet_w8", 70.0, evidence="untrained")) == "-"
    assert shown(real("unet_w8", 30.0, status="oom", error="killed")) == "-"
