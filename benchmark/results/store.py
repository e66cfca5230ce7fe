"""Where results live: one append-only file of records, per-image scores and pictures beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock

from benchmark.replacing import replace_text
from benchmark.results.jsonl import append_line, lock_of, read_lines
from benchmark.results.records import content_of, read_records, without_gc
from benchmark.types import Result, Source, decode_number, encode_number
from zoo.errors import UserError

Scores = dict[str, float]
_MEAN_TOLERANCE = 1e-9


class Journal:
    """Per-image scores of one record, written as they come: a killed run continues behind the last image."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Scores]:
        """Return the scores by image id."""
        lines = read_lines(self.path)
        return {line["id"]: {k: decode_number(v) for k, v in line["scores"].items()} for line in lines}

    def shifts(self) -> dict[str, tuple[float, float]]:
        """Return by image id the shifts (dy, dx) that were found, where scores align the output first."""
        return {line["id"]: (line["shift"][0], line["shift"][1]) for line in read_lines(self.path) if "shift" in line}

    def append(self, id: str, scores: Scores, shift: tuple[float, float] | None = None) -> None:
        """Write one image's scores, and the shift (dy, dx) behind aligned ones; they are on disk when this returns."""
        line: dict[str, Any] = {"id": id, "scores": {k: encode_number(v) for k, v in scores.items()}}
        append_line(self.path, line if shift is None else {**line, "shift": list(shift)})

    def lock(self) -> FileLock:
        """Return the lock that one evaluation of this record holds."""
        return lock_of(self.path.with_suffix(".run"))

    def clear(self) -> None:
        """Forget the scores, to measure again."""
        self.path.unlink(missing_ok=True)


def make_writable(folder: Path, flag: str) -> None:
    """Make a folder; raises UserError naming the ``flag`` that asked for it if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{flag}: cannot write to {folder} ({error.strerror}); name a folder that you may write to."
        ) from None


class Store:
    """A folder with ``results.jsonl``, ``scores/``, ``timings/``, ``images/`` and ``leaderboards/``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.results_file = self.root / "results.jsonl"
        make_writable(self.root, "--out")
        (self.root / "scores").mkdir(exist_ok=True)
        self._tail = _Tail(self.results_file)

    def append(self, result: Result) -> Result:
        """Add one record; it is on disk when this returns, and knows where. Raises ValueError for NaN."""
        append_line(self.results_file, content_of(result))
        return result.found_at(Source(self.results_file, None, True))

    def results(self) -> list[Result]:
        """Return every record, oldest first; a second call reads only what was added since the first."""
        return list(self._tail.read().records)

    def latest(self) -> Mapping[str, Result]:
        """Return the newest record of each key; a second call reads only what was added since the first."""
        return MappingProxyType(self._tail.read().latest)

    def save_timings(self, key: str, samples: Mapping[str, Any]) -> str:
        """Write the raw samples of a record's timings, atomically; return the path, relative to the folder."""
        path = self.root / "timings" / f"{key}.json"
        path.parent.mkdir(exist_ok=True)
        replace_text(path, json.dumps(samples, allow_nan=False))
        return str(path.relative_to(self.root))

    def journal(self, key: str) -> Journal:
        """Return the per-image journal of the record with ``key``."""
        return Journal(self.root / "scores" / f"{key}.jsonl")


class _Tail:
    """The records of a file that only grows: each call reads what was added, or all of a file that was rewritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.records: list[Result] = []
        self.latest: dict[str, Result] = {}
        self._end, self._file = 0, (0, 0)

    def read(self) -> _Tail:
        """Bring ``records``, oldest first, and ``latest`` up to date."""
        if not self.path.exists():
            self._forget()
            return self
        state = self.path.stat()
        file = (state.st_dev, state.st_ino)
        if file != self._file or state.st_size < self._end:
            self._forget()
            self._file = file
        with without_gc():
            for record, end in read_records(self.path, self._end, before=len(self.records)):
                self.records.append(record)
                self.latest[record.key] = record
                self._end = end
        return self


def read_results(path: Path) -> list[Result]:
    """Return the records in one file; raises UserError naming the line of another schema or a damaged one."""
    with without_gc():
        return [record for record, _ in read_records(path)]


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """Return the records of every ``*.jsonl`` in ``folders`` (a file counts as itself), oldest file name first."""
    return [record for file in record_files(folders) for record in read_results(file)]


def record_files(folders: Iterable[Path]) -> list[Path]:
    """Return every ``*.jsonl`` in ``folders`` (a file counts as itself); raises UserError where there is none."""
    found = []
    for folder in folders:
        files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else [folder] if folder.is_file() else []
        if not files:
            raise UserError(f"--results: no *.jsonl in {folder}; expected a folder that `zoo-bench run --out` wrote.")
        found += files
    return found


def beside(result: Result, path: str | None) -> Path | None:
    """Return where a ``path`` that a record names lies, links resolved; None outside of the folder of its file.

    Paths in a record are seen from that folder. None too for a record that was never stored, and for no path.
    """
    if result.source is None or path is None or "\0" in path:
        return None
    root = result.source.file.parent.resolve()
    found = (root / path).resolve()
    return found if found.is_relative_to(root) else None


def image_scores(result: Result) -> dict[str, Scores]:
    """Return by image id the scores behind a record's means; empty if they are not there, or not behind these means.

    They lie at ``per_image``, seen from the folder of the file that the record was read from.
    """
    path = beside(result, result.per_image)
    try:
        scores = Journal(path).read() if path and path.is_file() else {}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: no scores per image; was it edited? Restore it or run again.") from None
    return scores if _are_behind(scores, result) else {}


def _are_behind(scores: Mapping[str, Scores], result: Result) -> bool:
    means = {id: m for id, m in result.measurements.items() if m.kind == "score"}
    if not scores or len(scores) != result.n or not all(set(means) <= set(one) for one in scores.values()):
        return False
    for id, mean in means.items():
        expected = math.fsum(one[id] for one in scores.values()) / len(scores)
        if mean.value is None or not math.isclose(expected, float(mean.value), rel_tol=_MEAN_TOLERANCE):
            return False
    return True
