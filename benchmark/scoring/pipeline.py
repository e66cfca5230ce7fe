"""Load images before the network needs them and score them after it, in order and with bounded memory.

Threads are used instead of processes: decoding, OpenCV, scipy and numpy release the interpreter lock for nearly all of
their time, so threads keep the cores equally busy (``speed/evaluate.py``), and nothing has to be pickled, forked or
recovered after a crash. The network itself runs in the caller's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from benchmark.host.machine import usable_cores
from zoo.errors import UserError, with_place

Loaded = TypeVar("Loaded")
Output = TypeVar("Output")
Score = TypeVar("Score")
Value = TypeVar("Value")


class ImageError(RuntimeError):
    """A failure with one image in another thread; the message names the image, and the cause is attached."""


@dataclass(frozen=True)
class Finished(Generic[Loaded, Output, Score]):
    """One image with the seconds for loading and scoring (in their threads) and for the network (in the caller's)."""

    id: str
    loaded: Loaded
    output: Output
    score: Score
    load_seconds: float
    forward_seconds: float
    score_seconds: float


def default_workers() -> int:
    """Return the number of cores that this process may use, but at most 16."""
    return min(usable_cores(), 16)


def run_pipeline(
    ids: Sequence[str],
    *,
    load: Callable[[int], Loaded],
    forward: Callable[[Loaded], Output],
    score: Callable[[Loaded, Output], Score],
    deliver: Callable[[Finished[Loaded, Output, Score]], None],
    workers: int | None = None,
) -> None:
    """Pass every image through ``load`` -> ``forward`` -> ``score`` -> ``deliver``; images are delivered in order.

    ``load(index)`` and ``score`` run in ``workers`` threads (default: one per core) and must not depend on the order of
    calls; ``forward`` and ``deliver`` run in the calling thread. At most ``2 * workers`` images are loaded ahead, and
    at most as many wait for their score. The first failure, in the order of the images, is raised after every image
    before it was delivered: a UserError or MemoryError unchanged, any other exception in a worker as ImageError. With
    zero workers everything runs in the calling thread, with the same results.
    """
    count = default_workers() if workers is None else workers
    pool = ThreadPoolExecutor(count, thread_name_prefix="zoo-bench") if count else _Here()
    depth = max(2 * count, 1)
    loading: deque[Future[tuple[Loaded, float]]] = deque()
    scoring: deque[Future[Finished[Loaded, Output, Score]]] = deque()

    def deliver_scored(at_most: int) -> None:
        """Deliver finished images, and wait until at most ``at_most`` images still have to be scored."""
        while scoring and (len(scoring) > at_most or scoring[0].done()):
            deliver(scoring.popleft().result())

    try:
        started = 0
        for id in ids:
            while started < len(ids) and len(loading) < depth:
                loading.append(pool.submit(_timed, load, ids[started], started))
                started += 1
            try:
                loaded, load_seconds = loading.popleft().result()
                begin = time.perf_counter()
                output = forward(loaded)
            except BaseException:
                # A scoring failure here comes from an earlier image, so it replaces this failure. After Ctrl-C, too,
                # finished images are delivered.
                deliver_scored(0)
                raise
            seconds = (load_seconds, time.perf_counter() - begin)
            scoring.append(pool.submit(_scored, score, id, loaded, output, seconds))
            del loaded, output
            deliver_scored(depth)
        deliver_scored(0)
    finally:
        # Also after Ctrl-C: queued work never starts, and running work ends within one image.
        pool.shutdown(wait=True, cancel_futures=True)


class _Here(Executor):
    """An executor that runs each call immediately, in the thread that submits it."""

    def submit(self, function: Callable[..., Value], /, *arguments: Any, **named: Any) -> Future[Value]:
        """Run the call and return its finished future."""
        future: Future[Value] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def _timed(load: Callable[[int], Value], id: str, index: int) -> tuple[Value, float]:
    begin = time.perf_counter()
    try:
        value = load(index)
    except (UserError, MemoryError):
        raise  # a UserError of a dataset names the file
    except Exception as error:
        raise ImageError(f"image {id}: {with_place(error)}") from error
    return value, time.perf_counter() - begin


def _scored(
    score: Callable[[Loaded, Output], Score], id: str, loaded: Loaded, output: Output, seconds: tuple[float, float]
) -> Finished[Loaded, Output, Score]:
    begin = time.perf_counter()
    try:
        value = score(loaded, output)
    except UserError as error:
        raise UserError(f"image {id}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"image {id}: {with_place(error)}") from error
    return Finished(id, loaded, output, value, *seconds, time.perf_counter() - begin)
