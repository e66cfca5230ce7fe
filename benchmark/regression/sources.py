"""Read a set of records from a file, a folder, a baseline, or a git revision of one of these."""

from __future__ import annotations

import io
import json
import math
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.regression.baseline import Kept, is_baseline, read_baseline
from benchmark.results.journal import Scores
from benchmark.results.store import beside, image_scenes, image_scores, read_folders, read_results, scores_warnings
from benchmark.types import Result
from zoo.errors import UserError

# The path that is read if a revision has none.
DEFAULT_PATH = "leaderboards/results"
# The folders beside a file of records.
_SIDECARS = ("scores", "timings")


@dataclass(frozen=True)
class ResultSet:
    """Records, with scores and scenes per image and samples per pass if these are available (else empty)."""

    name: str
    results: list[Result]
    scores_of: Callable[[Result], dict[str, Scores]]
    # By suffix of the size: {"latency_ms": [...], "calibration_ms": [...]}.
    samples_of: Callable[[Result], dict[str, Any]]
    # Problems with scores per image; such scores are not used.
    warnings: tuple[str, ...] = ()
    scenes_of: Callable[[Result], dict[str, str]] = lambda result: {}

    def kept(self, result: Result) -> Kept:
        """Return a record with the scores and samples that a baseline stores for it."""
        return Kept(result, self.scores_of(result), self.samples_of(result), self.scenes_of(result))


def open_set(text: str) -> ResultSet:
    """Return the set named by ``text``: a path, ``REVISION:path``, or a revision (of leaderboards/results).

    Raises UserError for any other text, for a folder without records, and for records that are damaged or foreign.
    """
    if Path(text).exists():
        return _of_path(Path(text), text)
    revision, sign, path = text.partition(":")
    if not revision or not _is_revision(revision):
        looked = f"'{revision}' is no git revision here" if sign else "nor a git revision"
        raise UserError(
            f"{text}: no such file or folder, {looked}; expected a folder that `zoo-bench run --out` wrote, a file of"
            " records, or REVISION:path."
        )
    return _of_revision(revision, path or DEFAULT_PATH, text)


def open_baseline(path: Path, name: str | None = None) -> ResultSet:
    """Return the set in a baseline; raises the same UserErrors as ``read_baseline``."""
    return _held(read_baseline(path), name or str(path))


def _held(entries: Iterable[Kept], name: str) -> ResultSet:
    """Return a set of entries that are in memory."""
    by_id = {id(entry.result): entry for entry in entries}
    return ResultSet(
        name,
        [entry.result for entry in by_id.values()],
        lambda result: by_id[id(result)].scores,
        lambda result: by_id[id(result)].samples,
        scenes_of=lambda result: by_id[id(result)].scenes,
    )


def _of_path(path: Path, name: str) -> ResultSet:
    if is_baseline(path):
        return open_baseline(path, name)
    results = _read(path)

    def samples_of(result: Result) -> dict[str, Any]:
        file = beside(result, result.timings)
        return _samples_in(file) if file and file.is_file() else {}

    return ResultSet(name, results, image_scores, samples_of, tuple(scores_warnings(results)), image_scenes)


def _samples_in(file: Path) -> dict[str, Any]:
    """Return the samples of a record's timings by suffix; raises UserError for a file without samples."""
    try:
        samples = json.loads(file.read_text(encoding="utf-8"))
        times = [time for one in samples.values() for name in ("latency_ms", "calibration_ms") for time in one[name]]
        if all(0 < time < math.inf for time in times):
            return dict(samples)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise UserError(f"{file}: no samples of timings; was it damaged? Restore it, or remove it and compare without.")


def _read(path: Path) -> list[Result]:
    if path.is_file():
        results = read_results(path)
        if not results:
            raise UserError(f"{path}: no records; expected a results.jsonl that `zoo-bench run --out` wrote.")
        return results
    if not any(path.glob("*.jsonl")):
        raise UserError(f"{path}: no *.jsonl in this folder; expected one that `zoo-bench run --out` wrote.")
    return read_folders([path])


def _of_revision(revision: str, path: str, name: str) -> ResultSet:
    """Read the records and the files beside them from git."""
    # Paths begin at the root of the repository, as git expects.
    top, clean = _git("rev-parse", "--show-toplevel").decode().strip(), path.strip("/")
    listed = _git("ls-tree", "-r", "--name-only", revision, "--", clean, cwd=top).decode().splitlines()
    if not listed:
        raise UserError(f"{name}: revision {revision} has no {path}; see `git ls-tree {revision}`.")
    parent = str(PurePosixPath(clean).parent)
    beside = [f"{parent}/{folder}" for folder in _SIDECARS] if clean in listed else []
    wanted = [clean, *(folder for folder in beside if _git("ls-tree", revision, "--", folder, cwd=top))]
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        with tarfile.open(
            fileobj=io.BytesIO(_git("archive", "--format=tar", revision, "--", *wanted, cwd=top))
        ) as archive:
            archive.extractall(folder, filter="data")
        unpacked = Path(folder) / clean
        try:
            found = _of_path(unpacked, name)
            warnings = tuple(line.replace(str(unpacked.parent), name) for line in found.warnings)
            return replace(_held(map(found.kept, found.results), name), warnings=warnings)
        except UserError as error:
            raise UserError(str(error).replace(str(unpacked), name)) from None


def _is_revision(text: str) -> bool:
    try:
        _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    except UserError:
        return False
    return True


def _git(*arguments: str, cwd: str | None = None) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        raise UserError("git is not installed; name files or folders instead of a revision.") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"git {arguments[0]}: {last}") from None
