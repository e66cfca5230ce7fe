"""Tables on a terminal: in one piece at 80 and 120 columns, chosen columns, notes below, COLUMNS in a pipe."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli.tables import print_tables, room
from benchmark.fitting import width_of, wrapped
from benchmark.leaderboard.brief import Brief, brief_of
from benchmark.leaderboard.rows import rows_of
from benchmark.leaderboard.tables import Table, tables_of
from benchmark.results.store import Store, read_results
from tests.conftest import TINY
from tests.sample_records import measurement, result
from tests.test_rows import HARD, priced

ROOT = Path(__file__).parent.parent
RUN = ("--plugin", TINY, "run", "--dataset", "tiny", "--sizes", "none", "--models", "tiny_free", "--limit", 2)
LABELLED = "hyperunet_64_32_2048[hidden_width=128] (second try of tuesday), bf16"


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[Table]:
    """Quality with three scores and their intervals, one disturbed time, one failure, names of any length; costs."""
    store = Store(tmp_path_factory.mktemp("records"))
    others = {
        "ssim[gaussian11,rgb]": measurement(0.7812, ci_low=0.7654, ci_high=0.7961),
        "msssim[perchannel]": measurement(0.9403, ci_low=0.9331, ci_high=0.9466),
    }
    slow = measurement(186.4, kind="timing", higher=False, n=9, tainted=("other processes kept 1.5 cores busy",))
    wave = np.where(np.arange(12) % 2, 0.3, -0.3)
    for model, scores in (
        (LABELLED, HARD),
        ("twin", HARD - 0.01 + wave),
        ("unet_w8", HARD - 3),
        ("bilinear", HARD - 6),
    ):
        mean = math.fsum(scores) / 12
        psnr = measurement(mean, unit="dB", ci_low=mean - 1.2, ci_high=mean + 0.9)
        time = {} if model == "bilinear" else {"latency_ms": slow}
        record = priced(result(model, mean), 302_000, **{"psnr[rgb]": psnr, **others, **time})
        journal = store.journal(record.key)
        for index, value in enumerate(scores):
            scored = {"psnr[rgb]": float(value), **{id: one.value for id, one in others.items()}}
            journal.append(str(index), scored, scene=str(index))
        store.append(record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"}))
    store.append(result("pynet", None, status="oom", error="killed at 9 GiB"))
    return tables_of(rows_of(read_results(store.results_file)))


def lines_of(brief: Brief | None, width: int | None) -> list[str]:
    assert brief is not None
    return [*brief.lines, *(line for note in brief.notes for line in wrapped(note, width, "  "))]


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_is_in_one_piece_with_all_that_matters(tables, width: int) -> None:
    found = brief_of(tables[0], width)
    lines = lines_of(found, width)
    assert max(map(width_of, lines)) <= width
    text = "\n".join(lines)
    assert "left out" not in text
    rows = [line.split() for line in found.lines if " ● " in f"{line} "]
    assert [row[0] for row in rows] == ["1=", "1=", "3", "4"]
    assert [row[-6:-1] for row in rows][2] == [f"{HARD.mean() - 3:.2f}", "0.7812", "0.9403", "0.302", "0.302"]
    assert [row[-1] for row in rows] == ["186†1", "186†1", "186†1", "12.3"]
    # Each interval stands below its score.
    low, high = f"{HARD.mean() - 4.2:.2f}", f"{HARD.mean() - 2.1:.2f}"
    assert f"{low}-{high} 0.7654-0.7961 0.9331-0.9466".split() in [line.split() for line in found.lines]
    names = {"rank", "model", "psnr", "ssim", "msssim", "params", "MACs", "time"}
    assert names <= set(" ".join(found.lines[1:4]).split())


def test_what_a_short_table_does_not_say_is_said_below_it(tables) -> None:
    notes = brief_of(tables[0], 80).notes
    assert notes[0] == "● trained"
    assert notes[1].startswith("psnr is psnr[rgb]; ssim is ssim[gaussian11,rgb]; msssim is msssim[perchannel]; MACs")
    assert "below a score: the 95 % interval of the mean over 12 scenes" in notes
    assert "=: not significantly worse than the first row of this rank, by psnr[rgb]" in notes
    assert "†1: timings were disturbed: other processes kept 1.5 cores busy" in notes
    costs = brief_of(tables[1], 80)
    assert costs.notes[0] == "● trained, ○ untrained, ✗ failed"
    assert "pynet: oom: killed at 9 GiB" in costs.notes
    assert [line.split()[:2] for line in costs.lines if line.startswith("pynet")] == [["pynet", "○✗"]]


@pytest.mark.parametrize("width", [60, 50, 40])
def test_narrower_terminals_lose_columns_and_never_digits(tables, width: int) -> None:
    for table in tables:
        found = brief_of(table, width)
        assert max(map(width_of, lines_of(found, width))) <= width
    quality = brief_of(tables[0], width)
    assert f"{HARD.mean() - 3:.2f}" in "\n".join(quality.lines)
    (gone,) = [note for note in quality.notes if note.startswith("left out for lack of room")]
    assert "msssim[perchannel]" in gone


def test_in_a_pipe_nothing_is_shortened(tables) -> None:
    found = brief_of(tables[0], None)
    line = next(line for line in found.lines if LABELLED in line)
    assert f"{HARD.mean():.2f} [{HARD.mean() - 1.2:.2f}, {HARD.mean() + 0.9:.2f}]" in line
    assert "ssim[gaussian11,rgb] ↑" in "\n".join(found.lines[:4])
    assert "in brackets: the 95 % interval of the mean over 12 scenes" in found.notes


def test_columns_are_chosen_by_id_title_or_base_in_the_order_given(tables) -> None:
    (head, *_) = [line for line in brief_of(tables[0], None, ["MACs", "params", "psnr"]).lines if "model" in line]
    found = brief_of(tables[0], None, ["MACs", "params", "psnr", "params", "evidence"])
    assert re.sub(r"\s+", " ", " ".join(found.lines[1:4])).count("params") == 1
    assert "● trained" in "\n".join(found.lines[4:])
    text = " ".join(found.lines[1:4])
    assert text.index("MACs") < text.index("params") < text.index("psnr[rgb]")
    assert "rank" in head
    assert brief_of(tables[1], 80, ["psnr"]) is None
    assert "● trained" in "\n".join(brief_of(tables[1], 80, ["Evidence"]).lines)
    # The exact id wins over a title that several sizes share.
    assert "12 MP" not in "\n".join(brief_of(tables[1], 60, ["params", "flops@12mp", "flops"]).lines[:1])


def test_chosen_columns_that_do_not_fit_come_in_pieces(tables, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_tables(tables, ["psnr", "ssim", "msssim", "params", "macs", "time"], wide=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(width_of, lines)) <= 60
    text = "\n".join(lines)
    for part in ("0.7812 [0.7654, 0.7961]", "0.9403 [0.9331, 0.9466]", f"{HARD.mean() - 3:.2f}"):
        assert part in text


def test_wide_shows_every_column_and_note_at_any_width(tables, capsys, monkeypatch) -> None:
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        print_tables(tables, None, wide=True)
        out = capsys.readouterr().out
        assert max(map(width_of, out.splitlines())) <= width
        for text in ("Pareto", "● trained", "186†1", "Rank: rows that share one"):
            assert text in " ".join(out.split())


def test_notes_on_several_tables_are_printed_once(tables, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_tables(tables, None, wide=False)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("stand-in data:") for line in lines) == 1
    # The numbers of footnotes are those of a table.
    assert sum(line.startswith("†1") for line in lines) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("parms", "--columns: no column is called 'parms'; did you mean params"),
        ("psnr[rbg]", "did you mean psnr[rgb]"),
        (",", "--columns: expected names of columns"),
    ],
)
def test_a_wrong_column_is_one_line_before_anything_is_measured(zoo_bench, tmp_path, value: str, words: str) -> None:
    outcome = zoo_bench(*RUN, "--out", tmp_path / "out", "--columns", value)
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert words in outcome.err
    assert not (tmp_path / "out").exists()
    both = zoo_bench(*RUN, "--out", tmp_path / "out", "--columns", "params", "--wide")
    assert (both.code, "cannot be combined" in both.err) == (2, True)


def test_run_honours_columns_in_a_pipe(zoo_bench, tmp_path, monkeypatch) -> None:
    def table(*flags: object) -> list[str]:
        outcome = zoo_bench(*RUN, "--out", tmp_path, *flags)
        assert outcome.code == 0
        # The paths below the tables are never cut.
        return outcome.out.partition("\nrecords ")[0].splitlines()

    assert any("ssim[gaussian11,rgb]" in line for line in table())
    monkeypatch.setenv("COLUMNS", "60")
    for flags in ((), ("--wide",)):
        assert max(map(width_of, table(*flags))) <= 60
    outcome = zoo_bench(*RUN, "--out", tmp_path, "--columns", "params,mae")
    assert "warning: --columns: no table has mae" in outcome.err
    for wrong, width in (("0", None), ("-3", None), ("wide", None), ("80", 80)):
        monkeypatch.setenv("COLUMNS", wrong)
        assert room() == width


def on_terminal(columns: int, script: str, *arguments: object) -> str:
    """Run a script with a pseudo-terminal of this width as stdout; return what it printed there."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=child, env=environment)
    os.close(child)
    printed = b""
    try:
        while part := os.read(parent, 65536):
            printed += part
    except OSError:  # Linux says so when the other side is closed.
        pass
    os.close(parent)
    assert process.wait(timeout=100) == 0
    return printed.decode()


SCRIPT = """
import sys
from pathlib import Path
from benchmark.cli.tables import print_tables
from benchmark.leaderboard.rows import rows_of
from benchmark.leaderboard.tables import tables_of
from benchmark.results.store import read_results

print_tables(tables_of(rows_of(read_results(Path(sys.argv[1])))), None, wide="wide" in sys.argv)
"""


@pytest.mark.parametrize(("columns", "flags"), [(80, ()), (120, ()), (80, ("wide",))])
def test_a_terminal_gets_a_table_of_its_width(tables, columns: int, flags: tuple[str, ...]) -> None:
    printed = on_terminal(columns, SCRIPT, tables[0].rows[0].result.source.file, *flags)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed).split("\r\n")
    assert max(map(width_of, plain)) <= columns
    assert any("unet_w8" in line and "●" in line for line in plain)
    # The best score is bold.
    assert "\x1b[1m" in printed


def test_the_table_at_the_end_of_a_sweep_fits(capsys, monkeypatch) -> None:
    from benchmark.cli.sweep import _print_summary

    costs = {"params": 303_096, "flops": 405_000_000, "seeds": 3, "test_error": 0.0597, "train_error": 0.0569}
    members = [{"family": f"hyperunet_8_8_64_with_many_layers_{n}", "value": 2**n, **costs} for n in (1, 2)]
    members[1]["incomplete"] = "without fft"
    about = {"title": "Widths", "error": "1 - MS-SSIM", "dataset": "zrr", "train_part": None, "test_part": None}
    monkeypatch.setenv("COLUMNS", "60")
    _print_summary({**about, "members": members, "thresholds": {}, "files": []})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(width_of, lines)) <= 60
    assert [line.split()[1:] for line in lines[3:5]] == [
        ["2", "303,096", "0.405", "3", "0.0597", "0.0569"],
        ["4", "303,096", "0.405", "3", "0.0597", "0.0569"],
    ]
    assert lines[-1].endswith("4: without fft")
