"""The scripts of `speed/`: found, run by one command, results kept and compared. No figure is judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

from speed.__main__ import scripts
from speed.figures import Figure
from speed.history import Busy, comparison, is_quiet, keep, kept, last, page_of, record_of

ROOT = Path(__file__).parents[1]


def record(value: float, *, cpu: str = "A", others: float | None = 0.0, command: str = "python -m speed x") -> dict:
    made = record_of(command, [Figure("ratio", value, "x", at_most=2)], Busy(0, 0, 0), Busy(10, 12, 12))
    return made | {"cpu": cpu, "others_busy_cores": others}


def test_goals_are_met_at_their_limits_and_never_by_a_figure_that_is_no_number() -> None:
    assert Figure("a", 2.0, at_most=2).met
    assert not Figure("a", 2.01, at_most=2).met
    assert Figure("a", 2.0, at_least=2).met
    assert not Figure("a", 1.99, at_least=2).met
    assert not Figure("a", float("nan"), at_least=2).met
    assert not Figure("a", float("nan"), at_most=2).met
    assert Figure("a", float("nan")).met


def test_others_processor_time_is_what_this_process_and_its_children_did_not_use() -> None:
    assert Busy(10, 15, 8).others_since(Busy(0, 0, 0)) == pytest.approx(0.7)
    assert Busy(10, None, 8).others_since(Busy(0, 0, 0)) is None
    assert Busy(10, 7, 8).others_since(Busy(0, 0, 0)) == 0


def test_last_prefers_the_same_processor() -> None:
    records = [record(1), record(2), record(3, cpu="B"), record(4, command="python -m speed y")]
    assert last(records, "python -m speed x", "A") == records[1]
    assert last(records, "python -m speed x", "C") == records[2]
    assert last(records, "python -m speed z", "A") is None


def test_comparison_shows_both_values_and_whether_the_goal_is_met() -> None:
    text = comparison(record(2.5), record(1.5))
    assert text.splitlines()[-1].split() == ["ratio", "2.5x", "1.5x", "at", "most", "2x:", "MISSED"]
    assert comparison(record(1.5), None).splitlines()[-1].split() == ["ratio", "1.5x", "-", "at", "most", "2x:", "met"]


def test_results_are_kept_and_the_page_has_the_last_of_each_processor(tmp_path: Path) -> None:
    file, page = tmp_path / "results.jsonl", tmp_path / "RESULTS.md"
    for one in (record(1.25), record(1.5, others=0.3), record(7, cpu="B")):
        keep(one, file, page)
    assert [one["figures"][0]["value"] for one in kept(file)] == [1.25, 1.5, 7]
    text = page.read_text()
    assert text == page_of(kept(file))
    assert text.count("`python -m speed x`") == 2
    assert "| ratio    | 1.5x    | 1.25x    | at most 2x: met |" in text
    assert "| ratio    | 7x      |          | at most 2x: MISSED |" in text
    assert "others kept 0.3 cores busy" in text
    assert not is_quiet(record(1, others=None))


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    folder = ROOT / "speed"
    assert (folder / "RESULTS.md").read_text(encoding="utf-8") == page_of(kept())


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "speed", *words], cwd=ROOT, capture_output=True, text=True)


def test_an_unknown_script_is_one_line() -> None:
    done = run("fast")
    assert done.returncode == 1
    assert done.stderr.startswith("python -m speed: 'fast' is no script; expected one of bands, ")
    assert done.stderr.count("\n") == 1


def test_every_script_says_what_it_does() -> None:
    assert all(scripts().values())
    assert {"metrics", "fullres", "cluster"} <= scripts().keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["engines", "plainunet_8", "--size", "32x32"],
        ["evaluate", "4"],
        ["fullres", "plainunet_8", "--size", "96x128", "--passes", "1"],
        ["gate", "4", "quiet"],
        ["hyper", "hyperunet_8_8_64", "--frame", "64x64"],
        ["bands", "awnet_4ch", "--size", "128x128", "--whole"],
        ["leaderboard", "20"],
        ["memory", "plainunet_8"],
        ["metrics", "2"],
        ["overhead", "bilinear"],
        ["patches", "plainunet_8", "--size", "64x64", "--turns", "1"],
        ["table_times", "OUT", "plainunet_8"],
        ["timing_intervals", "--runs", "4", "--samples", "9", "--noise", "jitter"],
        ["train", "2"],
        ["flops", "--models", "plainunet_8", "--repeat", "1"],
        ["latency", "plainunet_8", "32x32"],
        ["frozen", "--size", "64x64", "--passes", "1"],
        ["datacheck", "40"],
    ],
    ids=lambda words: words[0],
)
def test_scripts_run(words: list[str], tmp_path: Path) -> None:
    """Small arguments; a script whose extra is missing says so."""
    done = run(*[str(tmp_path / "out.jsonl") if word == "OUT" else word for word in words])
    assert done.returncode == 0, done.stderr
    assert "\nnow: " in done.stdout
