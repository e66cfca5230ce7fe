"""A file is whole or as it was, and what keeps it from being written is said with its name."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.replacing import naming, replace_text, replacing
from benchmark.results.jsonl import append_line, read_lines
from zoo.errors import DiskError


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files of more than 4 KiB cannot be written: EFBIG, as on a disk with a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path, no_room) -> None:
    path = tmp_path / "report.xml"
    path.write_text("old")
    with pytest.raises(DiskError, match=rf"^--junit {path}: cannot be written \(File too large\)\. Free some space"):
        replace_text(path, "x" * 10_000, "--junit")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_without_room_is_named_and_the_lines_before_it_stay(tmp_path, no_room) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, {"a": 1})
    with pytest.raises(DiskError, match=rf"^{path}: cannot be written"):
        append_line(path, {"b": "x" * 10_000})
    append_line(path, {"c": 1})
    assert read_lines(path) == [{"a": 1}, {"c": 1}]


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below" / "images"
    with (
        pytest.raises(DiskError, match=rf"^--out {folder}: cannot be written \(Not a directory\)"),
        naming(folder, "--out"),
    ):
        folder.mkdir(parents=True)


@pytest.mark.parametrize("error", [OSError("truncated"), FileNotFoundError(errno.ENOENT, "truncated", "/data/0.png")])
def test_an_error_of_another_file_keeps_its_own_name(tmp_path, error: OSError) -> None:
    with pytest.raises(OSError, match="truncated") as caught, replacing(tmp_path / "out.csv"):
        raise error
    assert caught.value is error


def test_a_device_is_written_to_and_not_replaced(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_text(pipe, "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]
    assert Path(os.devnull).is_char_device()
    replace_text(Path(os.devnull), "text")
    assert Path(os.devnull).is_char_device()
