"""Merge folders of records into one, with the files that the records name.

Every record comes along once. The merged file keeps the order in which each file has its records; where files leave it
open, the older date comes first (as ``benchmark.results.records`` says) and then the smaller text, so that the result
does not depend on the order of the folders, and merging again changes nothing. A path that several records name holds
the file of the newest of them, as after a second run in one folder. The scores per image of a run that has no good
record yet are those of all folders together: the next run continues there.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from benchmark.cleaning import is_file_name
from benchmark.replacing import naming, replacing
from benchmark.results.journal import Journal
from benchmark.results.jsonl import alone, lock_of, raw_lines, replace_lines
from benchmark.results.records import moments, read_records
from benchmark.results.store import beside, make_writable, record_files, scores_problem
from benchmark.results.upkeep import FILES
from benchmark.types import Result
from zoo.errors import UserError, shortened

RECORDS = "results.jsonl"
# A record may name files below these folders of its own folder.
_FOLDERS = ("scores", "timings", "images")


@dataclass(frozen=True)
class Merged:
    """What a merge did: the records in the folder now, those of them that are new there, and the files written."""

    total: int
    added: int
    files: int


@dataclass
class _Folder:
    """A folder to merge: the records of each file by their lines, and whether the folder as a whole was named."""

    root: Path
    files: list[dict[bytes, Result]] = field(default_factory=list)
    is_whole: bool = False

    def find(self, line: bytes) -> Result | None:
        """Return the record with this line."""
        return next((records[line] for records in self.files if line in records), None)


def merge(paths: Sequence[Path], out: Path) -> Merged:
    """Merge folders that ``run --out`` wrote, or files of records, into the folder ``out``, which may hold records.

    The records' file is replaced last: after an interruption the same call completes the merge. Raises UserError, and
    changes nothing, for a line that is no record and for a record that names a file outside of its folder.
    """
    _check_out(out)
    file = out / RECORDS
    folders = _folders(paths, file)
    make_writable(out, "-o")
    with naming(file), lock_of(file):
        there = folders.setdefault(out.resolve(), _Folder(out))
        there.is_whole = True
        before = _read(file)
        there.files.append(before)
        lines = _in_order([records for folder in folders.values() for records in folder.files])
        held = _held(lines, list(folders.values()), out)
        started = {path for folder in folders.values() if folder.is_whole for path in _journals(folder.root)}
        started -= held.keys()
        started |= {path for path, (record, *_) in held.items() if record.status != "ok" and path == record.per_image}
        count = sum(_bring(path, out, records) for path, records in held.items() if path not in started)
        count += sum(_bring_unfinished(path, out, folders) for path in sorted(started))
        content = b"".join(line + b"\n" for line in lines)
        if lines and not (file.is_file() and file.read_bytes() == content):
            replace_lines(file, lines)
    return Merged(len(lines), len(lines.keys() - before.keys()), count)


def _check_out(out: Path) -> None:
    others = sorted(file.name for file in out.glob("*.jsonl") if file.name != RECORDS) if out.is_dir() else []
    if others:
        raise UserError(
            f"-o {out}: holds {others[0]}, which a merge would not rewrite; name a new folder, or one that `run --out`"
            " or `results merge` wrote."
        )


def _folders(paths: Sequence[Path], later: Path) -> dict[Path, _Folder]:
    """Return the folders by their resolved paths; of their files of records all are read but ``later``."""
    folders: dict[Path, _Folder] = {}
    read = {later.resolve()}
    for path in paths:
        only_scores = path.is_dir() and not [*path.glob("*.jsonl")] and [*path.glob("scores/*.jsonl")]
        files = [] if only_scores else record_files([path])
        root = path if path.is_dir() else path.parent
        folder = folders.setdefault(root.resolve(), _Folder(root))
        folder.is_whole |= path.is_dir()
        new = [file for file in files if file.resolve() not in read]
        folder.files += [_read(file) for file in new]
        read |= {file.resolve() for file in new}
    return folders


def _read(file: Path) -> dict[bytes, Result]:
    """Return the records of a file by their lines; of a line that occurs twice the last place counts."""
    found: dict[bytes, Result] = {}
    for line, (record, _) in zip(raw_lines(file), read_records(file)):
        found.pop(line.text, None)
        found[line.text] = record
    return found


def _in_order(files: Sequence[Mapping[bytes, Result]]) -> dict[bytes, Result]:
    """Return the records of all files by their lines, each line once, oldest first."""
    found: dict[bytes, Result] = {}
    written: dict[bytes, datetime] = {}
    waits_for: dict[bytes, int] = defaultdict(int)
    followers: dict[bytes, list[bytes]] = defaultdict(list)
    for records in files:
        found |= records
        for line, moment in zip(records, moments(records.values())):
            written[line] = max(moment, written.get(line, moment))
        for line, follower in zip(records, list(records)[1:]):
            followers[line].append(follower)
            waits_for[follower] += 1

    def entry(line: bytes) -> tuple[datetime, bool, bytes]:
        # Of equal dates the record that nobody has edited counts as the newer one.
        return written[line], not found[line].is_edited, line

    free = [entry(line) for line in found if not waits_for[line]]
    heapq.heapify(free)
    ordered: dict[bytes, Result] = {}
    while len(ordered) < len(found):
        # If files contradict each other no record is free, and the text alone decides.
        line = heapq.heappop(free)[2] if free else min(found.keys() - ordered.keys())
        if line in ordered:
            continue
        ordered[line] = found[line]
        for follower in followers[line]:
            waits_for[follower] -= 1
            if not waits_for[follower] and follower not in ordered:
                heapq.heappush(free, entry(follower))
    return ordered


def _held(lines: Mapping[bytes, Result], folders: Sequence[_Folder], out: Path) -> dict[str, list[Result]]:
    """Return by each path that records name the newest record that does, once for each folder that holds it."""
    found: dict[str, list[Result]] = {}
    for line in lines:
        held = [record for folder in folders if (record := folder.find(line)) is not None]
        for name in FILES:
            path = getattr(held[0], name)
            if path is None:
                continue
            places = [beside(record, path) for record in held]
            if None in places or not _is_ours(path) or not (out / path).resolve().is_relative_to(out.resolve()):
                raise UserError(
                    f"{held[0].source}: {name} is '{shortened(path)}', outside of the record's folders"
                    f" {', '.join(_FOLDERS)}; nothing was merged. Remove the record with `zoo-bench results drop`."
                )
            found[path] = held
    return found


def _is_ours(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] in _FOLDERS and ".." not in parts


def _bring(path: str, out: Path, held: Sequence[Result]) -> int:
    """Copy the file or folder at ``path`` of the best of equal records into ``out``; return the number of files."""
    places = {place: record for record in held if (place := beside(record, path)) is not None and place.exists()}
    if not places:
        return 0
    # The scores that belong to the record, then the most files; a copy that is there already stays if it is as good.
    contents = {place: _content(place) for place in places}

    def rank(place: Path) -> tuple[bool, int, list[tuple[str, str]]]:
        wrong = bool(scores_problem(places[place])) if path == places[place].per_image else False
        return wrong, -len(contents[place]), sorted(contents[place].items())

    best, target = min(places, key=rank), out / path
    if target.exists() and _content(target) == contents[best]:
        return 0
    for name in contents[best]:
        _copy(best / name, target / name)
    if best.is_dir() and target.is_dir():
        with naming(target):
            for name in _content(target).keys() - contents[best].keys():
                (target / name).unlink()
    return len(contents[best])


def _content(place: Path) -> dict[str, str]:
    """Return the digest of a file (its name is empty), or of each file in a folder by name; links are not followed."""
    files = {"": place} if place.is_file() else {file.name: file for file in place.iterdir() if _is_plain(file)}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and not file.name.startswith(".")


def _copy(source: Path, target: Path) -> None:
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        shutil.copyfile(source, partial)


def _bring_unfinished(path: str, out: Path, folders: Mapping[Path, _Folder]) -> int:
    """Write the scores at ``path``, those of all folders together; return the number of files that this changed."""
    target = Journal(out / path)
    if not target.path.resolve().is_relative_to(out.resolve()):
        raise UserError(f"-o {out}: {target.path} is outside of it, behind a link; name another folder.")
    with naming(target.path):
        target.path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"-o {out}: a run is writing {target.path}; wait for it, or name another folder."
    with alone(target.path.with_suffix(".run"), busy):
        lines = target.union(Journal(root / path) for root in folders)
        if not lines or lines == [line.text for line in raw_lines(target.path)]:
            return 0
        replace_lines(target.path, lines)
    return 1


def _journals(root: Path) -> Iterator[str]:
    """Yield the files of scores in a folder, without those of a run that measures a record again."""
    for file in root.glob("scores/*.jsonl"):
        is_inside = file.is_file() and file.resolve().is_relative_to(root.resolve())
        if is_inside and is_file_name(file.name) and not file.stem.endswith(".again"):
            yield f"scores/{file.name}"
