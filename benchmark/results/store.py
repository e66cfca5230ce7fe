"""A folder of results: one append-only file of records, and the files that the records name."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmark.replacing import naming, replace_text
from benchmark.results.journal import Entry, Journal, Scores
from benchmark.results.jsonl import append_line
from benchmark.results.records import content_of, newest, read_records, without_gc
from benchmark.types import Measurement, Result, Source
from zoo.errors import UserError

_MEAN_TOLERANCE = 1e-9


def make_writable(folder: Path, flag: str) -> None:
    """Make a folder; if it cannot be written, raises UserError naming the ``flag`` that requested it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may test the folder too
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
        with naming(self.root / "scores", "--out"):
            (self.root / "scores").mkdir(exist_ok=True)
        # The newest record of each key; the number of records read, the byte position reached, and the file.
        self._latest: dict[str, Result] = {}
        self._count, self._end, self._file = 0, 0, (0, 0)

    def append(self, result: Result) -> Result:
        """Add one record, return it with its position; it is on disk when this returns. Raises ValueError for NaN."""
        append_line(self.results_file, content_of(result))
        return result.found_at(Source(self.results_file, None, True))

    def results(self) -> list[Result]:
        """Return every record, oldest first."""
        return read_results(self.results_file)

    def latest(self) -> Mapping[str, Result]:
        """Return the newest record of each key; a second call reads only records that were added since the first.

        A file that was replaced or became shorter is read again from the start.
        """
        size, file = 0, (0, 0)
        with contextlib.suppress(FileNotFoundError):
            state = self.results_file.stat()
            size, file = state.st_size, (state.st_dev, state.st_ino)
        if file != self._file or size < self._end:
            self._latest, self._count, self._end, self._file = {}, 0, 0, file
        with without_gc():
            for record, end in read_records(self.results_file, self._end, before=self._count):
                self._latest[record.key] = record
                self._count, self._end = self._count + 1, end
        return MappingProxyType(self._latest)

    def save_timings(self, key: str, samples: Mapping[str, Any]) -> str:
        """Write the raw samples of a record's timings, atomically; return the path, relative to the folder."""
        path = self.root / "timings" / f"{key}.json"
        replace_text(path, json.dumps(samples, allow_nan=False))
        return str(path.relative_to(self.root))

    def journal(self, key: str, *, again: bool = False) -> Journal:
        """Return the per-image journal of the record with ``key``.

        ``again``: the journal of a run that measures a record again; it replaces the other one when the run is done.
        """
        return Journal(self.root / "scores" / f"{key}{'.again' if again else ''}.jsonl", key)


def read_results(path: Path) -> list[Result]:
    """Return the records in one file; raises UserError naming a line that is damaged or of another schema."""
    with without_gc():
        return [record for record, _ in read_records(path)]


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """Return the records of every ``*.jsonl`` in ``folders`` (a file counts as itself), oldest file name first."""
    return [record for file in record_files(folders) for record in read_results(file)]


def record_files(folders: Iterable[Path]) -> list[Path]:
    """Return every ``*.jsonl`` in ``folders`` (a file counts as itself); raises UserError if there is none."""
    found = []
    for folder in folders:
        files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else [folder] if folder.is_file() else []
        if not files:
            raise UserError(f"--results: no *.jsonl in {folder}; expected a folder that `zoo-bench run --out` wrote.")
        found += files
    return found


def files_of(path: Path) -> Iterator[Path]:
    """Yield a file of records, or those of a folder, and the files beside them: scores, timings and pictures."""
    folder = path if path.is_dir() else path.parent
    yield from folder.glob("*.jsonl") if path.is_dir() else [path]
    for name in ("scores", "timings", "images"):
        yield from (file for file in folder.glob(f"{name}/**/*") if file.is_file())


def beside(result: Result, path: str | None) -> Path | None:
    """Return the resolved location of a ``path`` in a record; None if it is outside the folder of the record's file.

    Paths in a record are relative to that folder. The result is also None for a record that was never stored, and for
    a ``path`` of None.
    """
    if result.source is None or path is None or "\0" in path:
        return None
    root = result.source.file.parent.resolve()
    found = (root / path).resolve()
    return found if found.is_relative_to(root) else None


def image_scores(result: Result) -> dict[str, Scores]:
    """Return by image id the scores behind a record's means; empty if they are missing or cannot be trusted.

    They are stored at ``per_image``, relative to the folder of the file that the record was read from.
    """
    return {image: entry.scores for image, entry in _stored_entries(result)[0].items()}


def image_scenes(result: Result) -> dict[str, str]:
    """Return by image id the scenes beside ``image_scores``; empty unless all are known, as many as the record says."""
    scenes = {image: entry.scene for image, entry in _stored_entries(result)[0].items()}
    return scenes if all(scenes.values()) and len(set(scenes.values())) == result.num_scenes else {}


def scores_problem(result: Result) -> str:
    """Return what is wrong with the scores per image beside a record; empty if nothing is wrong or there are none.

    If something is wrong, none of them is used, neither for ranks nor for comparisons.
    """
    return _stored_entries(result)[1]


def scores_warnings(results: Iterable[Result]) -> list[str]:
    """Return a line for each newest record whose scores per image cannot be trusted."""
    return [
        f"{problem}; the scores per image of {result.name} on {result.dataset} are not used. Restore the file, or"
        " measure again with --rerun always."
        for result in newest(results)
        if (problem := scores_problem(result))
    ]


def _stored_entries(result: Result) -> tuple[dict[str, Entry], str]:
    means = {id: m for id, m in result.measurements.items() if m.kind == "score"}
    if result.source is None or result.per_image is None or result.status != "ok":
        return {}, ""
    path = beside(result, result.per_image)
    if path is None:
        return {}, f"{result.source}: per_image names a file outside of the record's folder"
    if not path.is_file():
        return {}, ""
    entries, bad = _journal(path).stored()
    scores = {image: entry.scores for image, entry in entries.items()}
    if bad or not are_behind(scores, result):
        return {}, bad[0] if bad else f"{path}: not the scores that the record's means were made of"
    # Records of a sweep also have means that are derived from other values, or are over training images.
    return (entries, "") if result.training or all(set(means) <= set(one) for one in scores.values()) else ({}, "")


@functools.lru_cache(maxsize=1)
def _journal(path: Path) -> Journal:
    """Return a journal that a table asks for its scores, then its scenes and its problems: it reads the file once."""
    return Journal(path)


def are_behind(scores: Mapping[str, Scores], result: Result) -> bool:
    """Whether scores by image id belong to a record: the number of images is equal, and so is every mean."""
    means = {id: m for id, m in result.measurements.items() if m.kind == "score"}
    known = [id for id in means if all(id in one for one in scores.values())]
    return len(scores) == result.n and all(_is_mean(means[id], scores, id) for id in known)


def _is_mean(mean: Measurement, scores: Mapping[str, Scores], id: str) -> bool:
    expected = math.fsum(one[id] for one in scores.values()) / max(len(scores), 1)
    return mean.value is not None and math.isclose(expected, float(mean.value), rel_tol=_MEAN_TOLERANCE)
