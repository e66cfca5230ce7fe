"""Make the pieces of a stand-in in several processes; each is written once, so a stopped run can continue."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.cache import explain_write_errors
from benchmark.host.machine import usable_cores
from benchmark.replacing import replace_text, replacing
from benchmark.results.jsonl import alone, append_line, lock_of, read_lines, replace_lines, to_json
from benchmark.standin import cache
from benchmark.standin.photographs import Photograph
from zoo.errors import UserError

JOURNAL = "zoo-bench-standin.jsonl"
# The folder of pieces that are not separate files in the finished stand-in.
SCRATCH = ".blocks"
# The processes take seconds to start, so a few pieces are made faster without them.
PIECES_WORTH_PROCESSES = 24
MOST_WORKERS = 8

# The facts about a finished piece: "files" {path: {sha256, size}}, "source" (digest of its photograph) and details.
Piece = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One piece to make: its split, its number in the split, and its photograph."""

    split: str
    index: int
    photograph: Photograph

    @property
    def key(self) -> str:
        """The name of the piece in the journal."""
        return f"{self.split}/{self.index}"


def finish(root: Path, marker: Mapping[str, Any], jobs: Sequence[Job], pieces: Mapping[str, Piece]) -> None:
    """Sort the journal, if there is one, in the order of the jobs, write the marker and remove the scratch folder.

    A stand-in has the same bytes each time, whatever the order in which the processes finished.
    """
    journal = root / JOURNAL
    if journal.exists():
        entries = ({"key": job.key, "piece": pieces[job.key]} for job in jobs)
        replace_lines(journal, map(to_json, (marker["request"], *entries)))
        Path(lock_of(journal).lock_file).unlink(missing_ok=True)
    cache.write_marker(root, dict(marker))
    shutil.rmtree(root / SCRATCH, ignore_errors=True)


def encode_image(pixels: NDArray[Any], **options: Any) -> bytes:
    """Return the content of an image file; ``options`` are passed to Pillow."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, **options)
    return stream.getvalue()


def writing_to(root: Path) -> contextlib.AbstractContextManager[None]:
    """Explain errors that occur when the block writes into the folder of a stand-in."""
    return explain_write_errors(root, "Give a folder that you can write to, on a disk with space.")


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Lock the folder of a stand-in, made if needed, for the block; raises UserError while another process holds it."""
    is_new = not root.exists()
    with writing_to(root):
        root.mkdir(parents=True, exist_ok=True)
        key = root / f"{JOURNAL}.run"
        try:
            with alone(key, f"{root}: another process writes a stand-in here; wait for it or give another folder."):
                yield
                Path(lock_of(key).lock_file).unlink(missing_ok=True)
        finally:
            if is_new:
                with contextlib.suppress(OSError):
                    root.rmdir()  # if nothing was written into it


@contextlib.contextmanager
def new_folder(root: Path, request: str) -> Iterator[None]:
    """Make ``root``, which must be new or empty, and explain errors of writing inside the block.

    A stopped block leaves a note of its ``request``, so that the same request may overwrite the files.
    """
    begun = root / f".{JOURNAL}.begun"
    with writing_to(root):
        root.mkdir(parents=True, exist_ok=True)
        if not (begun.is_file() and begun.read_text(encoding="utf-8", errors="replace") == request):
            if any(not path.name.startswith(f".{JOURNAL}") for path in root.iterdir()):
                raise UserError(f"{root} is not empty; a stand-in is written into a new or empty folder. Give another.")
            replace_text(begun, request)
        yield
        begun.unlink()


def resume(root: Path, request: Mapping[str, Any]) -> dict[str, Piece]:
    """Return the complete pieces that an earlier run with the same ``request`` left in ``root``.

    Raises UserError if the folder holds anything else.
    """
    with writing_to(root):
        root.mkdir(parents=True, exist_ok=True)
        journal = root / JOURNAL
        lines = read_lines(journal)
        if not lines:
            others = [path.name for path in root.iterdir() if not path.name.startswith(f".{JOURNAL}")]
            if [name for name in others if name != JOURNAL]:
                raise UserError(f"{root} is not empty and holds no stand-in to continue. Give a new or empty folder.")
            append_line(journal, dict(request))
            return {}
    header, *entries = lines
    different = [key for key in request if not isinstance(header, dict) or header.get(key) != request[key]]
    if different:
        held = ", ".join(f"{key} {header.get(key) if isinstance(header, dict) else '?'}" for key in different)
        wanted = ", ".join(f"{key} {request[key]}" for key in different)
        raise UserError(f"{root} holds a stand-in of {held}, not of {wanted}. Give another folder or the same request.")
    return {entry["key"]: entry["piece"] for entry in entries if cache.files_are_whole(root, entry["piece"]["files"])}


def build_pieces(
    root: Path,
    jobs: Sequence[Job],
    make: Callable[[Path, Job], Piece],
    *,
    kept: Mapping[str, Piece] | None = None,
    workers: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Piece]:
    """Return the piece of every job by key; those in ``kept`` are reused, the others are made by ``make``.

    If ``kept`` (from ``resume``) is given, each new piece is added to the journal when its files are written. Only
    this process writes the journal. ``workers``: processes; None chooses by the number of jobs and cores.
    ``advance`` is called once for each piece.
    """
    pieces = dict(kept or {})
    waiting = [job for job in jobs if job.key not in pieces]
    for _ in range(len(jobs) - len(waiting)):
        advance()
    for job, piece in _make_all(root, waiting, make, workers):
        pieces[job.key] = piece
        if kept is not None:
            append_line(root / JOURNAL, {"key": job.key, "piece": piece})
        advance()
    return {job.key: pieces[job.key] for job in jobs}


def _make_all(
    root: Path, jobs: Sequence[Job], make: Callable[[Path, Job], Piece], workers: int | None
) -> Iterator[tuple[Job, Piece]]:
    if workers is None:
        workers = min(usable_cores(), MOST_WORKERS) if len(jobs) >= PIECES_WORTH_PROCESSES else 1
    if workers <= 1:
        for job in jobs:
            yield job, make(root, job)
        return
    # Fork is not used: this process may have threads, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        running: dict[Future[Piece], Job] = {}
        rest = iter(jobs)
        try:
            for job in rest:
                running[pool.submit(make, root, job)] = job
                # Only a few are submitted at once, so that a stop waits only for jobs that have begun.
                if len(running) > workers:
                    yield from _finished(running)
            while running:
                yield from _finished(running)
        except BrokenExecutor:
            raise UserError(
                f"{root}: a worker process was ended from outside, perhaps for lack of memory."
                " Give the same command again: what is finished is kept."
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start_worker() -> None:
    """Ignore Ctrl-C, which a terminal sends to every process, and exit when the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, because a parent killed by kill -9 cannot tell its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _finished(running: dict[Future[Piece], Job]) -> Iterator[tuple[Job, Piece]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def sources_of(pieces: Iterable[Piece]) -> str:
    """Return a digest over the digests of all photographs, so that only one photograph is in memory at a time."""
    return sha256("\n".join(sorted({piece["source"] for piece in pieces})).encode()).hexdigest()


def write_files(root: Path, files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Write files below ``root``, each atomically, and return their entries for the marker."""
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(content)
    return {path: {"sha256": sha256(content).hexdigest(), "size": len(content)} for path, content in files.items()}
