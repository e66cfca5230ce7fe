"""Locks that let one timing at a time use the machine, and no other work of this tool while it runs.

There are two locks in the user's cache folder, by flock, which a killed process releases. A timing holds both of them
exclusively; work (an image through a network, a training step) holds them shared for its turn only. A timing that waits
keeps the first lock, so that new work waits behind it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.cache import CACHE_VARIABLE, cache_root, explain_write_errors
from benchmark.reporting import Reporter

_GATE, _MACHINE = "timing.gate", "timing.machine"


@contextmanager
def timing_turn(reporter: Reporter) -> Iterator[None]:
    """Reserve the machine for a timing; waits, with a note, until other timings and running work have ended."""
    with _opened(_GATE) as gate, _opened(_MACHINE) as machine:
        if not (_try(gate, fcntl.LOCK_EX) and _try(machine, fcntl.LOCK_EX)):
            reporter.note("other work of zoo-bench runs on this machine; the timing waits until it has finished ...")
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX)
        yield


@contextmanager
def work_turns() -> Iterator[Turn]:
    """Open the locks for work that takes many turns: ``with work_turns() as turn: ... with turn(): step()``."""
    with _opened(_GATE) as gate, _opened(_MACHINE) as machine:
        yield Turn(gate, machine)


class Turn:
    """Gives a piece of work its turn; waits while a timing runs or wants to."""

    def __init__(self, gate: int, machine: int) -> None:
        self._gate, self._machine = gate, machine

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the locks for one piece of work; other work may run at the same time, but no timing."""
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        fcntl.flock(self._machine, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._machine, fcntl.LOCK_UN)


@contextmanager
def _opened(name: str) -> Iterator[int]:
    root = cache_root()
    with explain_write_errors(root, f"Set {CACHE_VARIABLE} to a folder that you can write to."):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(Path(root, f".{name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
