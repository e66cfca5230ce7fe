"""The store under crashes, several writers and bad values."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.results.journal import Journal
from benchmark.results.jsonl import append_line, read_lines
from benchmark.results.store import Store, read_results
from zoo import UserError


def test_lines_come_back_in_order(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    for value in ({"a": 1}, {"b": "ü"}, {"c": [1.5, None]}):
        append_line(file, value)
    assert read_lines(file) == [{"a": 1}, {"b": "ü"}, {"c": [1.5, None]}]


@pytest.mark.parametrize("torn", [b'{"a": 2, "b', b"{", b'{"text": "half of \xc3'])
def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path, torn: bytes) -> None:
    file = tmp_path / "a.jsonl"
    append_line(file, {"a": 1})
    with file.open("ab") as stream:
        stream.write(torn)
    assert read_lines(file) == [{"a": 1}]
    append_line(file, {"a": 3})
    assert read_lines(file) == [{"a": 1}, {"a": 3}]
    assert file.read_bytes() == b'{"a": 1}\n{"a": 3}\n'


def test_a_whole_last_line_without_its_end_is_kept(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2}')
    assert read_lines(file) == [{"a": 1}, {"a": 2}]
    append_line(file, {"a": 3})
    assert read_lines(file) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_long_torn_line_is_cut_off(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    append_line(file, {"a": 1})
    with file.open("ab") as stream:
        stream.write(b'{"b": "' + b"x" * 200_000)
    append_line(file, {"a": 2})
    assert read_lines(file) == [{"a": 1}, {"a": 2}]


def test_damage_in_the_middle_is_named(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: not JSON"):
        read_lines(file)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_numbers_are_refused(tmp_path, value: float) -> None:
    file = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match=r"not JSON compliant"):
        append_line(file, {"a": value})
    assert read_lines(file) == []


def test_a_journal_keeps_infinite_scores_and_refuses_nan(tmp_path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("0", {"psnr[rgb]": math.inf})
    assert journal.read() == {"0": {"psnr[rgb]": math.inf}}
    with pytest.raises(ValueError, match="NaN is not a measurement"):
        journal.append("1", {"psnr[rgb]": math.nan})


def a_journal(folder: Path, run: str = "a") -> Journal:
    journal = Journal(folder / f"{run}.jsonl")
    journal.append("0", {"psnr[rgb]": 20.0})
    journal.append("1", {"psnr[rgb]": math.inf}, shift=(0.5, -1.0))
    return journal


def unseal(text: str) -> str:
    line = json.loads(text)
    del line["digest"]
    return json.dumps(line)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda line: line.replace("20.0", "99.0"), "line 1: not as it was written"),
        (lambda line: line.replace('"0"', '"2"'), "line 1: not as it was written"),
        (lambda line: line[:-8] + "}", "line 1: damaged"),
        (lambda line: "[]", "line 1: damaged"),
        (lambda line: '{"id": "0", "scores": {"psnr[rgb]": "much"}, "digest": "x"}', "line 1: damaged"),
        (lambda line: '{"id": "0", "scores": {"psnr[rgb]": NaN}}', "line 1: damaged"),
        (unseal, "1 lines without a digest"),
    ],
)
def test_a_line_of_a_journal_that_is_not_as_it_was_written_is_taken_out(tmp_path, change, problem: str) -> None:
    journal = a_journal(tmp_path)
    first, second = journal.path.read_text().splitlines()
    journal.path.write_text(f"{change(first)}\n{second}\n")
    assert journal.read() == {"1": {"psnr[rgb]": math.inf}}
    (wrong,) = journal.mend()
    assert str(journal.path) in wrong
    assert problem in wrong
    assert journal.path.read_text() == f"{second}\n"
    assert journal.mend() == ()
    assert journal.shifts() == {"1": (0.5, -1.0)}


def test_a_line_of_another_run_is_not_believed(tmp_path) -> None:
    lines = a_journal(tmp_path, "a").path.read_text()
    other = Journal(tmp_path / "b.jsonl")
    other.path.write_text(lines)
    assert other.read() == {}
    assert len(other.mend()) == 2


def test_halves_of_characters_are_written_and_read(tmp_path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append("photo\udcff", {"psnr[rgb]": 20.0})
    assert journal.read() == {"photo\udcff": {"psnr[rgb]": 20.0}}


_WRITER = """
import sys
from pathlib import Path
from benchmark.results.jsonl import append_line
file, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for index in range(count):
    append_line(file, {"writer": name, "index": index, "padding": "x" * 5000})
    print(index, flush=True)
"""


def test_two_processes_lose_nothing(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(file), name, "40"], stdout=subprocess.DEVNULL)
        for name in ("a", "b")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    lines = [(line["writer"], line["index"]) for line in read_lines(file)]
    assert len(lines) == 80
    assert [index for writer, index in lines if writer == "a"] == list(range(40))
    assert [index for writer, index in lines if writer == "b"] == list(range(40))


def test_kill_loses_at_most_the_line_in_flight(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(file), "a", "100000"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    confirmed = -1
    deadline = time.monotonic() + 60
    while confirmed < 20 and time.monotonic() < deadline:
        confirmed = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()
    confirmed = int(rest[-1]) if rest else confirmed
    indices = [line["index"] for line in read_lines(file)]
    assert indices == list(range(len(indices)))
    assert len(indices) >= confirmed + 1
    # The dead process's lock does not hold the next writer up.
    append_line(file, {"index": len(indices)})
    assert [line["index"] for line in read_lines(file)] == list(range(len(indices) + 1))


def test_an_unwritable_folder_is_named(tmp_path) -> None:
    file = tmp_path / "a file"
    file.touch()
    with pytest.raises(UserError, match="--out: cannot write to"):
        Store(file / "below")


def test_content_that_is_no_record_is_named(tmp_path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps({"record_schema": 1, "key": 3}) + "\n")
    with pytest.raises(UserError, match=r"record 1: field .*; was it edited"):
        read_results(file)
