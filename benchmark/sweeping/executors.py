"""Run the points of a sweep in child processes of this machine, or through Ray on many machines.

In both cases a point is one call of ``train_point`` in its own process with the threads that the sweep's file gives,
so results depend neither on the engine nor on how many points run at once.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

from benchmark.host.child import describe_failure
from benchmark.host.isolation import Outcome
from benchmark.record import Record
from benchmark.reporting import Note
from benchmark.sweeping.child import train_point
from benchmark.sweeping.messages import Task
from zoo.errors import UserError, words_of
from zoo.plugins import loaded_files

Listen = Callable[[Task, str], None]
Ended = Generator[tuple[Task, Outcome], None, None]


class _Stopped(Exception):  # noqa: N818
    """The sweep ends before all its points have ended."""


class LocalExecutor:
    """Runs ``workers`` child processes on this machine at a time, with ``threads`` each.

    In both executors ``run`` is a generator; closing it stops the tasks that have not ended. It may be called again
    until ``close``.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    def run(self, tasks: Sequence[Task], listen: Listen) -> Ended:
        """Yield each task with its outcome, in the order in which they end; ``listen`` gets their notes meanwhile."""
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        ended: queue.SimpleQueue[tuple[Task, Outcome]] = queue.SimpleQueue()
        stopping = threading.Event()
        for task in tasks:
            waiting.put(task)

        def work() -> None:
            while not stopping.is_set():
                try:
                    task = waiting.get_nowait()
                    ended.put((task, self._run_one(task, listen, stopping)))
                except (queue.Empty, _Stopped):
                    return

        # The threads are daemons: after Ctrl-C this process may end at once, and its children end with it.
        for _ in range(min(self.workers, len(tasks))):
            threading.Thread(target=work, daemon=True, name="sweep").start()
        try:
            for _ in tasks:
                yield ended.get()
        finally:
            stopping.set()

    def close(self) -> None:
        """Nothing is left to close here."""

    def _run_one(self, task: Task, listen: Listen, stopping: threading.Event) -> Outcome:
        def take(event: Record) -> None:
            if stopping.is_set():
                raise _Stopped
            if isinstance(event, Note):
                listen(task, event.text)

        try:
            return train_point.isolated(task, threads=self.threads, on_event=take)
        except _Stopped:
            raise
        except Exception as error:
            # The process did not start or broke the protocol: this point fails, and the others go on.
            failure = describe_failure(error)
            return Outcome(failure["status"], error=f"{failure['type']}: {failure['message']}")


def run_remote(task: Task, threads: int, plugins: list[str]) -> Outcome:
    """Run a point in a child process of a Ray worker; its messages stay there."""
    return train_point.isolated(task, threads=threads, plugin_files=plugins)


class RayExecutor:
    """Runs points as Ray tasks on the cluster at ``address`` or on this machine, at most ``workers`` at a time.

    The folders of the sweep and of the data, the plug-in files and the stand-in's cache must have the same paths on
    every node.
    """

    def __init__(self, address: str | None, workers: int | None, threads: int, gpus: float) -> None:
        """Connect; raises UserError if Ray is not installed or the cluster does not answer."""
        self.ray = _import_ray()
        self.threads, self.gpus = threads, gpus
        settings: dict[str, Any] = {"log_to_driver": False}
        if address is None:
            # This starts a cluster that ends with this sweep.
            settings |= {"include_dashboard": False, "num_cpus": workers and workers * threads}
        try:
            if address is not None:
                _check_reachable(address)
            self.ray.init(address=address, **settings)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = words_of(error, 160)
            where = "--engine ray" if address is None else f"--address {address}"
            raise UserError(
                f"{where}: no Ray cluster answers ({reason}); start one with `ray start --head`, or use --engine local."
            ) from None
        cores = int(self.ray.cluster_resources().get("CPU", 1))
        self.workers = min(workers or cores, max(1, cores // threads))

    def run(self, tasks: Sequence[Task], listen: Listen) -> Ended:
        """Yield each task with its outcome, in the order in which they end."""
        remote = self.ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=0)(run_remote)
        plugins = loaded_files()
        waiting, running = list(tasks), dict[Any, Task]()
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    task = waiting.pop(0)
                    running[remote.remote(task, self.threads, plugins)] = task
                (reference, *_), _ = self.ray.wait(list(running), num_returns=1)
                yield running.pop(reference), self._outcome(reference)
        finally:
            for reference in running:
                self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnect from the cluster; one that was started here ends."""
        self.ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        try:
            outcome: Outcome = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return Outcome("error", error=f"Ray lost it: {words_of(error, 200)}")
        return outcome


Executor = LocalExecutor | RayExecutor


def _check_reachable(address: str) -> None:
    """Raise OSError unless something listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _import_ray() -> Any:
    # A benchmark must not send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine ray: Ray is not installed; pip install 'zoo-bench[ray]', or use --engine local."
        ) from None
    return ray
