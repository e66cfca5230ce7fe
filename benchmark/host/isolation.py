"""Measurements run in a child process, which calls one function of the package and may crash without harm.

The child has a fixed number of threads and its own session (Ctrl-C reaches the parent, which ends the child), and
it ends with its parent. However it ends, the parent gets an ``Outcome``.

A memory limit is for the resident memory of the child and its own children. It is kept in two ways: RLIMIT_DATA in
the child refuses an allocation that would exceed it, so that the model fails with a message; a watchdog here checks
every 20 ms and stops the child for memory that RLIMIT_DATA does not count (shared memory, its children, mapped files).
RLIMIT_AS is not used: torch reserves gigabytes of address space that it never touches.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.conditions import Limits
from benchmark.host import machine
from benchmark.host.child import describe_failure
from benchmark.types import Status
from zoo import plugins
from zoo.errors import UserError, shortened

WATCH_SECONDS = 0.02
# The time to import torch and the plug-ins; the time limit starts after that.
START_SECONDS = 300.0
# A child must end within this time after its last message, or after it closed its channel.
END_SECONDS = 5.0
_STDERR_BYTES = 20_000
# This variable identifies processes that a model started and that left its session.
_MARK = "ZOO_BENCH_CHILD"
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from benchmark.host.child import main; main()"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """How a child ended. ``value`` is what the function returned (status ``ok`` only).

    ``events`` holds what it emitted before the end, however it ended. ``exception`` is the class name of a Python
    exception: "UserError" is the user's mistake, which the caller may raise again.
    """

    status: Status
    value: Any = None
    error: str | None = None
    exception: str | None = None
    events: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    stderr: str = ""


def run_isolated(
    function: str,
    arguments: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    plugin_files: Sequence[str] | None = None,
    on_event: Callable[[Any], object] = lambda event: None,
    keep_events: bool = True,
) -> Outcome:
    """Call ``function`` ("package.module:name") with JSON-ready keyword ``arguments`` in a child process.

    The function also receives ``emit``, a callable that sends a JSON-ready value here at once: ``on_event`` gets it,
    and with ``keep_events`` it is kept in the outcome however the child ends. Seconds count from the end of the child's
    start-up; ``threads`` is the number of torch threads in the child (None: torch chooses). The child loads
    ``plugin_files`` (default: those loaded here). Raises UserError for limits that this system cannot keep; nothing
    that happens in the child raises an exception here.
    """
    limits = limits or Limits()
    if limits.memory_bytes is not None and not machine.has_process_memory():
        raise UserError("a memory limit needs /proc, which this system does not have; leave the limit out.")
    request = {
        "function": function,
        "arguments": dict(arguments),
        "plugins": list(plugins.loaded_files() if plugin_files is None else plugin_files),
        "threads": threads,
        "memory_limit": limits.memory_bytes,
        "parent": os.getpid(),
        "word": secrets.token_hex(8),
    }
    events: list[Any] = []

    def take(event: Any) -> None:
        if keep_events:
            events.append(event)
        on_event(event)

    return replace(_Child(request, limits, take).run(), events=events)


def can_isolate(*pieces: Any) -> bool:
    """Return whether a child process could load these functions or classes: they are ours, or from a plug-in."""
    return all(plugins.is_provided(getattr(getattr(piece, "func", piece), "__module__", "")) for piece in pieces)


def run_here(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    on_event: Callable[[Any], object] = lambda event: None,
) -> Outcome:
    """Call ``function`` in this process as ``run_isolated`` does in a child: for what a child could not load.

    An exception becomes an outcome. Ctrl-C does not, and a crash ends this process.
    """
    events: list[Any] = []

    def emit(event: Any) -> None:
        events.append(event)
        on_event(event)

    begin = time.perf_counter()
    try:
        value = function(**arguments, emit=emit)
    except (Exception, SystemExit, GeneratorExit) as error:
        # Any exception of a model is a result for that model.
        return _failed(describe_failure(error), events=events, seconds=time.perf_counter() - begin)
    return Outcome("ok", value, events=events, seconds=time.perf_counter() - begin)


def _failed(failure: Mapping[str, Any], **beside: Any) -> Outcome:
    """Return the outcome for an exception that ``describe_failure`` described."""
    error = failure["message"] if failure["plain"] else f"{failure['type']}: {failure['message']}"
    return Outcome(failure["status"], error=error, exception=failure["type"], **beside)


class _Child:
    """One child process from start to end."""

    def __init__(self, request: dict[str, Any], limits: Limits, on_event: Callable[[Any], object]) -> None:
        self.request, self.limits, self.on_event = request, limits, on_event
        self.word = request["word"].encode()
        self.buffer = self.stderr = b""
        self.outcome: Outcome | None = None
        self.begin = time.perf_counter()
        self.deadline = self.begin + START_SECONDS

    def run(self) -> Outcome:
        kills = machine.out_of_memory_kills()
        process = self._start()
        try:
            stopped = self._follow(process)
        finally:
            _end(process, self.request["word"])
        outcome = self.outcome or stopped or self._judge(process.returncode, machine.out_of_memory_kills() > kills)
        seconds = time.perf_counter() - self.begin
        return replace(outcome, seconds=seconds, stderr=self._stderr())

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {_MARK: self.request["word"]}
        if threads := self.request["threads"]:
            environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None
        # If the child has already ended, its exit status tells why.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(self.request).encode() + b"\n")
            process.stdin.flush()
        return process

    def _follow(self, process: subprocess.Popen[bytes]) -> Outcome | None:
        """Read the child's messages until it ends; if it was stopped, return the reason as an outcome."""
        assert process.stdout is not None
        assert process.stderr is not None
        channel, prints = process.stdout.fileno(), process.stderr.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(prints, selectors.EVENT_READ)
            while True:
                # A process that the child started may hold the channel open: then the child's exit ends the loop.
                ended = process.poll() is not None
                if ended:
                    self.deadline = min(self.deadline, time.perf_counter() + END_SECONDS)
                ready = [key.fd for key, _ in selector.select(timeout=0 if ended else self._patience())]
                for descriptor in ready:
                    data = os.read(descriptor, 1 << 16)
                    if not data:
                        selector.unregister(descriptor)
                        # Without its channel the child can send nothing more; we wait for its exit status.
                        if descriptor == channel:
                            self.deadline = min(self.deadline, time.perf_counter() + END_SECONDS)
                    elif descriptor == prints:
                        self.stderr = (self.stderr + data)[-_STDERR_BYTES:]
                    elif garbage := self._take(data):
                        return garbage
                if ended and (not ready or time.perf_counter() > self.deadline):
                    return None
                if not ended:
                    is_open = channel in selector.get_map()
                    stopped = self._exceeded(process.pid, is_open=is_open)
                    if stopped:
                        return stopped

    def _patience(self) -> float:
        left = max(0.0, self.deadline - time.perf_counter())
        # Each check costs a little time on the machine, so a child without a memory limit is checked rarely.
        return min(left, WATCH_SECONDS if self.limits.memory_bytes else 1.0)

    def _take(self, data: bytes) -> Outcome | None:
        """Handle the complete lines; return an outcome if one of them does not come from our code."""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            if self.outcome is not None:
                return None
            if not line.startswith(self.word):
                return self._garbage()
            ((kind, value),) = json.loads(line[len(self.word) :]).items()
            if kind == "event":
                self.on_event(value)
            elif kind == "ready":
                limit = self.limits.seconds
                self.deadline = time.perf_counter() + limit if limit is not None else float("inf")
            else:
                self.outcome = Outcome("ok", value) if kind == "done" else _failed(value)
                self.deadline = time.perf_counter() + END_SECONDS
        # A line of our code may be of any length, but begins with the word.
        own = self.word[: len(self.buffer)]
        return None if self.buffer.startswith(own) or self.outcome else self._garbage()

    @staticmethod
    def _garbage() -> Outcome:
        text = "something in the model's process wrote into a file descriptor that is not its own"
        return Outcome("error", error=f"{text} (the tool's channel); it was stopped")

    def _exceeded(self, pid: int, *, is_open: bool) -> Outcome | None:
        if time.perf_counter() > self.deadline:
            if self.outcome is not None:
                return self.outcome
            if not is_open:
                return Outcome("error", error="the process closed the channel to the tool and went on; it was stopped")
            seconds = self.limits.seconds
            text = f"the time limit of {seconds:g} s" if seconds is not None else f"{START_SECONDS:g} s for its start"
            return Outcome("timeout", error=f"stopped after {text}")
        limit = self.limits.memory_bytes
        if limit is not None and self.outcome is None and machine.tree_resident_bytes(pid) > limit:
            return Outcome("oom", error=f"stopped at the memory limit of {limit:,} bytes")
        return None

    def _judge(self, status: int, memory_was_short: bool) -> Outcome:
        """Return the outcome of a child that ended without a message: by a signal, a crash or an exit of its own."""
        last = shortened(self._stderr().strip().rpartition("\n")[2], 200)
        if status >= 0:
            return Outcome("error", error=f"the process ended with status {status}" + (f": {last}" if last else ""))
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        if status == -signal.SIGKILL and memory_was_short:
            return Outcome("oom", error="killed by the system: the machine ran out of memory")
        if "bad_alloc" in last:
            return Outcome("oom", error=f"killed by {name}: {last}")
        return Outcome("error", error=f"killed by {name}")

    def _stderr(self) -> str:
        return self.stderr.decode(errors="replace")


def _end(process: subprocess.Popen[bytes], word: str) -> None:
    """End a child and everything it started; harmless if it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in _marked(word):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _marked(word: str) -> list[int]:
    """Return the processes that have a child's word in their environment: a model started them."""
    mark = f"{_MARK}={word}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
