"""Where results live: one append-only file of records, per-image scores and pictures beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from benchmark.jsonl import append_line, lock_of, read_lines
from benchmark.types import SCHEMA, Result, decode_number, encode_number
from zoo.errors import UserError

Scores = dict[str, float]


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

    def append(self, result: Result) -> None:
        """Add one record; it is on disk when this returns. Raises ValueError for NaN."""
        append_line(self.results_file, result.model_dump(mode="json"))

    def results(self) -> list[Result]:
        """Return every record, oldest first."""
        return read_results(self.results_file)

    def stamp(self) -> tuple[int, int]:
        """Return what changes whenever a record is added."""
        if not self.results_file.exists():
            return 0, 0
        state = self.results_file.stat()
        return state.st_size, state.st_mtime_ns

    def latest(self) -> dict[str, Result]:
        """Return the newest record of each key."""
        return {result.key: result for result in self.results()}

    def save_timings(self, key: str, samples: Mapping[str, Any]) -> str:
        """Write the raw samples of a record's timings, atomically; return the path, relative to the folder."""
        path = self.root / "timings" / f"{key}.json"
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(samples, allow_nan=False), encoding="utf-8")
        os.replace(partial, path)
        return str(path.relative_to(self.root))

    def journal(self, key: str) -> Journal:
        """Return the per-image journal of the record with ``key``."""
        return Journal(self.root / "scores" / f"{key}.jsonl")


def read_results(path: Path) -> list[Result]:
    """Return the records in one file; raises UserError naming the line of another schema or a damaged one."""
    results = []
    for number, line in enumerate(read_lines(path), start=1):
        schema = line.get("record_schema") if isinstance(line, dict) else None
        if schema != SCHEMA:
            raise UserError(
                f"{path}, record {number}: schema {schema}, this version reads schema {SCHEMA};"
                " run again with --rerun always into a new folder."
            )
        try:
            results.append(Result.model_validate(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}, record {number}: field {where}: {first['msg']}; was it edited?") from None
    return results


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """Return the records of every ``*.jsonl`` in ``folders`` (a file counts as itself), oldest file name first."""
    results = []
    for folder in folders:
        if folder.is_file():
            results += read_results(folder)
            continue
        files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
        if not files:
            raise UserError(f"--results: no *.jsonl in {folder}; expected a folder that `zoo-bench run --out` wrote.")
        for file in files:
            results += read_results(file)
    return results
