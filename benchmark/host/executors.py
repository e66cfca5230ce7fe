"""Run many calls in child processes of this machine, or through Ray on many machines.

In both cases a call runs in its own process with the threads that it is given, so results depend neither on the engine
nor on how many run at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from benchmark.conditions import Limits
from benchmark.host.calls import ChildCall, call_named
from benchmark.host.child import describe_failure
from benchmark.host.isolation import Outcome
from benchmark.record import Record
from benchmark.reporting import Note
from zoo.errors import UserError, words_of
from zoo.plugins import loaded_files

ENGINES = ("local", "ray")
# How long a cluster may be silent before a message says that it has no room.
WAITING_SECONDS = 10.0

Request = TypeVar("Request", bound=Record)
Listen = Callable[[Request, Record], None]
Ended = Generator[tuple[Request, Outcome], None, None]


class _Stopped(Exception):  # noqa: N818
    """The work ends before all its calls have ended."""


def check_engine(engine: str, address: str | None, workers: int | None) -> None:
    """Raise UserError for an unknown engine, an address without Ray, and less than one worker."""
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: expected one of {', '.join(ENGINES)}.")
    if address is not None and engine != "ray":
        raise UserError(f"--address {address}: only --engine ray has an address; leave it out.")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: expected at least 1.")


class LocalExecutor:
    """Runs ``workers`` child processes on this machine at a time, with ``threads`` each, within ``limits``.

    In both executors ``run`` is a generator; closing it stops the calls that have not ended. Requests that are appended
    to its list meanwhile are run too. It may be called again until ``close``.
    """

    def __init__(self, workers: int, threads: int, limits: Limits | None = None) -> None:
        self.workers, self.threads, self.limits = workers, threads, limits

    def run(
        self,
        call: ChildCall[Any, Any],
        requests: Sequence[Request],
        listen: Listen[Request],
        weights: str = "",
    ) -> Ended[Request]:
        """Yield each request with its outcome, in the order in which they end; ``listen`` gets their events meanwhile.

        ``weights``: the file that the requests name as theirs; it goes to the machine where a call runs.
        """
        waiting: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        ended: queue.SimpleQueue[tuple[Request, Outcome]] = queue.SimpleQueue()
        stopping = threading.Event()

        def work() -> None:
            while (request := waiting.get()) is not None and not stopping.is_set():
                try:
                    ended.put((request, self._run_one(call, request, listen, stopping)))
                except _Stopped:
                    return

        given = done = threads = 0
        try:
            while True:
                for request in requests[given:]:
                    waiting.put(request)
                given = len(requests)
                if done == given:
                    return
                # The threads are daemons: after Ctrl-C this process may end at once, and its children end with it.
                for _ in range(threads, min(self.workers, given - done)):
                    threading.Thread(target=work, daemon=True, name="executor").start()
                    threads += 1
                yield ended.get()
                done += 1
        finally:
            stopping.set()
            for _ in range(threads):
                waiting.put(None)

    def close(self) -> None:
        """Nothing is left to close here."""

    def _run_one(
        self, call: ChildCall[Any, Any], request: Request, listen: Listen[Request], stopping: threading.Event
    ) -> Outcome:
        def take(event: Record) -> None:
            if stopping.is_set():
                raise _Stopped
            listen(request, event)

        return _outcome_of(call, request, self.threads, self.limits, None, take)


def _outcome_of(
    call: ChildCall[Any, Any],
    request: Record,
    threads: int,
    limits: Limits | None,
    plugins: Sequence[str] | None,
    take: Callable[[Record], None],
) -> Outcome:
    try:
        return call.isolated(
            request, threads=threads, limits=limits, plugin_files=plugins, on_event=take, keep_events=False
        )
    except _Stopped:
        raise
    except Exception as error:
        # The process did not start or broke the protocol: this call fails, and the others go on.
        failure = describe_failure(error)
        kind = failure["type"] if failure["plain"] else None
        return Outcome(failure["status"], error=f"{failure['type']}: {failure['message']}", exception=kind)


def run_remote(
    call: str,
    request: Record,
    threads: int,
    limits: Limits | None,
    plugins: list[str],
    weights: Mapping[str, bytes],
) -> Iterator[Record | Outcome | None]:
    """Run a call in a child process of a Ray worker; yield None when it has begun, then its events and its outcome."""
    yield None
    found: queue.SimpleQueue[Record | Outcome] = queue.SimpleQueue()
    with _with_weights(request, weights) as given:

        def work() -> None:
            found.put(_outcome_of(call_named(call), given, threads, limits, plugins, found.put))

        threading.Thread(target=work, daemon=True).start()
        while not isinstance(one := found.get(), Outcome):
            yield one
    at = f"node {socket.gethostname()}: " if one.exception in ("UserError", "DiskError") else ""
    yield replace(one, error=one.error and at + one.error)


@contextlib.contextmanager
def _with_weights(request: Record, weights: Mapping[str, bytes]) -> Iterator[Record]:
    """Give a request whose weights lie on this machine."""
    if not weights:
        yield request
        return
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        for name, content in weights.items():
            Path(folder, name).write_bytes(content)
        name = Path(getattr(request, "weights")).name  # noqa: B009
        yield request.model_copy(update={"weights": str(Path(folder, name))})


@dataclass(frozen=True)
class Node:
    """A machine of a Ray cluster; ``name`` is that of `ray start --node-name`, else the machine's own."""

    name: str
    id: str
    cpus: float


class RayExecutor:
    """Runs calls as Ray tasks on the cluster at ``address`` or on this machine, at most ``workers`` at a time.

    Folders that a request names, except its weights, and the plug-in files must have the same paths on every node.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        threads: int,
        gpus: float = 0.0,
        *,
        cpus: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Connect; raises UserError if Ray is not installed, no cluster answers, or no node has what a call needs.

        ``cpus`` and ``gpus`` are reserved for each call; by default as many cores as it has threads.
        """
        self.ray = _import_ray()
        self.threads, self.cpus, self.gpus, self.limits = threads, cpus or threads, gpus, limits
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            # This starts a cluster that ends with this command.
            settings |= {"include_dashboard": False, "num_cpus": workers and workers * self.cpus}
        where = "--engine ray" if address is None else f"--address {address}"
        try:
            if address is not None:
                _check_reachable(address)
            self.ray.init(address=address, **settings)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = words_of(error, 160)
            raise UserError(
                f"{where}: no Ray cluster answers ({reason}); start one with `ray start --head`, or use --engine local."
                " If it asks for a token, this machine needs the same one: see `ray get-auth-token`."
            ) from None
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        rooms = [_room(node, self.cpus, gpus) for node in nodes]
        if not any(rooms):
            self.close()
            most = max((node.get("CPU", 0) for node in nodes), default=0)
            raise UserError(
                f"{where}: no node has {self.cpus} cores{f' and {gpus:g} GPUs' if gpus else ''} for a worker (the"
                f" largest has {most:g} cores); ask for fewer, or add nodes."
            )
        self.workers = min(workers or sum(rooms), sum(rooms))

    def nodes(self) -> list[Node]:
        """Return the machines of the cluster by name; two nodes of one name are one machine."""
        found: dict[str, Node] = {}
        for node in self.ray.nodes():
            if node["Alive"] and (cpus := node["Resources"].get("CPU", 0)):
                given = node["NodeName"] != node["NodeManagerAddress"]
                name = node["NodeName"] if given else node["NodeManagerHostname"]
                found.setdefault(name, Node(name, node["NodeID"], cpus))
        return [found[name] for name in sorted(found)]

    def run(
        self,
        call: ChildCall[Any, Any],
        requests: Sequence[Request],
        listen: Listen[Request],
        weights: str = "",
        node: Node | None = None,
    ) -> Ended[Request]:
        """Yield each request with its outcome, in the order in which they end, as ``LocalExecutor`` does.

        With ``node`` a call runs there and takes all its cores, so that no other work of the cluster disturbs it.
        """
        needs: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if node:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            needs |= {"num_cpus": node.cpus, "scheduling_strategy": there}
        remote = self.ray.remote(max_retries=0, num_returns="streaming", **needs)(run_remote)
        files = self.ray.put({file.name: file.read_bytes() for file in _files_of_weights(weights)})
        common = (self.threads, self.limits, loaded_files(), files)
        given, running, started = 0, dict[Any, Request](), False
        try:
            while given < len(requests) or running:
                while given < len(requests) and len(running) < self.workers:
                    request = requests[given]
                    running[remote.remote(call.name, request, *common)] = request
                    given += 1
                ready, _ = self.ray.wait(list(running), num_returns=1, timeout=None if started else WAITING_SECONDS)
                if not ready:
                    started = True  # said once
                    free = f"{needs['num_cpus']:g} free cores{' and GPU' if self.gpus else ''}"
                    where = node.name if node else "the cluster"
                    listen(next(iter(running.values())), Note(text=f"waiting: {where} has no {free} yet ..."))
                for stream in ready:
                    started, one = True, self._next(stream)
                    if isinstance(one, Outcome):
                        yield running.pop(stream), one
                    elif one is not None:
                        listen(running[stream], one)
        finally:
            for stream in running:
                self.ray.cancel(stream, force=True)

    def close(self) -> None:
        """Disconnect from the cluster; one that was started here ends."""
        self.ray.shutdown()

    def _next(self, stream: Any) -> Record | Outcome | None:
        try:
            one: Record | Outcome | None = self.ray.get(next(stream))
        except self.ray.exceptions.RayTaskError as error:
            # Our function does not fail: this node lacks the tool or a part of it.
            last = words_of(error, 2000)[-200:]
            return Outcome("error", error=f"node {error.ip}: cannot run zoo-bench ({last})", exception="UserError")
        except (self.ray.exceptions.RayError, StopIteration) as error:
            return Outcome("error", error=f"Ray lost it: {words_of(error, 200)}")
        return one


def _room(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Return how many workers fit on a node."""
    room = node.get("CPU", 0) // cpus
    return int(min(room, node.get("GPU", 0) // gpus) if gpus else room)


def _files_of_weights(weights: str) -> list[Path]:
    """Return a file of weights, or the two of a TensorFlow checkpoint, which either of them or their prefix names."""
    if not weights:
        return []
    from zoo.tensorbundle import DATA, INDEX  # torch would delay every worker's start

    path = Path(weights)
    prefix = next((weights.removesuffix(end) for end in (INDEX, DATA) if weights.endswith(end)), weights)
    pair = [Path(prefix + INDEX), Path(prefix + DATA)]
    return pair if all(file.is_file() for file in pair) else [path]


Executor = LocalExecutor | RayExecutor


def _check_reachable(address: str) -> None:
    """Raise OSError unless something listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _import_ray() -> Any:
    # A benchmark must not send usage statistics, and Ray's own lines would bury the one that matters.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # `ray start` asks for the token if there is one, but a program that connects must be told to send it.
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & {*os.environ}:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine ray: Ray is not installed; pip install 'zoo-bench[ray]', or use --engine local."
        ) from None
    return ray
