"""Spread the images of one model over several workers, on this machine or on the nodes of a Ray cluster.

The images that the journal lacks are cut into parts; the scores that the process of a part sends are written to the
journal here, as they arrive. So nothing is scored twice: what the journal lacks after a failure or an interruption is
cut into parts again. What is left to do for the record (pictures, fingerprint) is done where a run
without workers does it, by a process that finds all images in the journal.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from threading import Lock

from benchmark.host.executors import Executor
from benchmark.host.isolation import Outcome
from benchmark.record import Record
from benchmark.reporting import Note
from benchmark.results.journal import Entry, Journal
from benchmark.running.child import score_shard
from benchmark.running.messages import ImageScored, Shard

# An image before which so many processes ended is the model's failure.
TRIES = 3
# So long a part should take at least, and so many each worker gets at most: nodes may differ in speed.
LEAST_SECONDS, MOST_PARTS = 60.0, 8
# Scores that arrive within so many seconds after a write are written together.
WRITE_SECONDS = 0.2


def spread(
    shard: Shard,
    ids: Sequence[str],
    journal: Journal,
    executor: Executor,
    *,
    seconds: float,
    on_event: Callable[[Record], object],
) -> Outcome | None:
    """Score the images of ``shard`` that ``journal`` lacks; return the outcome of a part that failed for good, or None.

    ``ids`` are those of the data, ``seconds`` is how long all images take about. ``on_event`` gets each scored image. A
    part whose process ended counts as a try of its first image that has no scores: however many processes are killed,
    the work goes on while it advances.
    """
    kept = _Kept(journal)

    def listen(part: Shard, event: Record) -> None:
        with kept.turn:
            if isinstance(event, ImageScored):
                kept.add(event)
            on_event(event)

    tries, failed = Counter[int](), dict[int, Outcome]()
    while parts := _parts(shard, ids, journal, executor.workers, seconds):
        ended_early: list[tuple[Shard, Outcome]] = []
        with kept, closing(executor.run(score_shard, parts, listen, shard.weights or "")) as ended:
            for part, outcome in ended:
                if outcome.exception in ("UserError", "DiskError"):
                    return outcome
                if outcome.status != "ok":
                    ended_early.append((part, outcome))
                    where = f"images {part.images[0] + 1} to {part.images[-1] + 1}"
                    on_event(Note(text=f"{where}: {outcome.error}; what is left of them is tried again"))
        left = set(_left(shard, ids, journal))
        for part, outcome in ended_early:
            first = next((index for index in part.images if index in left), None)
            if first is not None:
                tries[first] += 1
                failed |= {first: outcome} if tries[first] == TRIES else {}
        if failed or not ended_early:
            break
    return failed[min(failed)] if failed else None


class _Kept:
    """Writes scores to a journal: at once, or together if they arrive within a moment; all are written at its end.

    One write to the disk takes longer than a small network.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal, self.turn = journal, Lock()
        self._waiting: list[tuple[str, Entry]] = []
        self._written = time.monotonic()

    def add(self, image: ImageScored) -> None:
        """Take one image's scores; the caller holds the turn."""
        entry = Entry(image.scores, image.shift, image.scene, image.sigma, image.by)
        self._waiting.append((image.id, entry))
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        entries, self._waiting = self._waiting, []
        if entries:
            self.journal.append_all(entries)
        self._written = time.monotonic()

    def __enter__(self) -> None:
        """Nothing is opened."""

    def __exit__(self, *_: object) -> None:
        with self.turn:
            self._write()


def _left(shard: Shard, ids: Sequence[str], journal: Journal) -> list[int]:
    """Return the images that the journal lacks, in the data's order."""
    done = {id for id, scores in journal.read().items() if scores.keys() == {*shard.work.metrics}}
    return [index for index in shard.images if ids[index] not in done]


def _parts(shard: Shard, ids: Sequence[str], journal: Journal, workers: int, seconds: float) -> list[Shard]:
    """Return about equal parts of the images that are left, in the data's order."""
    journal.mend()
    left = _left(shard, ids, journal)
    count = min(len(left), max(workers, min(int(seconds / LEAST_SECONDS), workers * MOST_PARTS)))
    bounds = [len(left) * number // max(count, 1) for number in range(count + 1)]
    return [shard.model_copy(update={"images": left[a:b]}) for a, b in pairwise(bounds)]
