"""Messages and progress of long work: the command line shows them, and a user of the library can receive them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmark.record import Record


class Reporter:
    """Receives messages and progress; this one is silent."""

    def note(self, message: str) -> None:
        """Receive a line that a user should see."""

    def detail(self, message: str) -> None:
        """Receive a line that is shown with ``-v``."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar while the block runs; yields a function to call after each finished piece.

        ``total`` 0: nobody knows how many pieces there will be.
        """
        yield lambda: None

    @contextmanager
    def steps(self, plan: Sequence[tuple[str, float]]) -> Iterator[Callable[[str], None]]:
        """Show work that has several steps while the block runs; ``plan``: label and expected seconds of each.

        Yields a function to call after each finished step, with a few words about its result. Bars within the block
        belong to the step in turn.
        """
        yield lambda result: None


class Note(Record):
    """A line from another process that a user should see."""

    text: str


class Progress(Record):
    """How many pieces of its work another process has finished; ``done`` None: the work has ended."""

    done: int | None
    total: int = 0
    label: str = ""


class Relay(Reporter):
    """Sends notes, and the progress of work that takes more than ``after`` seconds, to another process."""

    def __init__(self, emit: Callable[[Record], object], after: float = 2.0) -> None:
        self._emit, self._after = emit, after

    def note(self, message: str) -> None:
        """Send a line that a user should see."""
        self._emit(Note(text=message))

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Send the finished pieces and the total, beginning with the first piece that ends after ``after`` seconds."""
        begin, done, shown = time.monotonic(), 0, False

        def advance() -> None:
            nonlocal done, shown
            done += 1
            if shown or (done < total and time.monotonic() - begin > self._after):
                shown = True
                self._emit(Progress(done=done, total=total, label=label))

        try:
            yield advance
        finally:
            if shown:
                self._emit(Progress(done=None))


class Relayed:
    """Shows the events of a ``Relay`` in another process with ``reporter``."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._bar = ExitStack()
        self._advance: Callable[[], None] | None = None
        self._done = 0

    def take(self, event: Record) -> bool:
        """Show an event; return whether it came from a ``Relay``."""
        if isinstance(event, Note):
            self._reporter.note(event.text)
        elif not isinstance(event, Progress):
            return False
        elif event.done is None:
            self.close()
        else:
            if self._advance is None:
                self._advance = self._bar.enter_context(self._reporter.progress(event.label, event.total))
            for _ in range(event.done - self._done):
                self._advance()
            self._done = event.done
        return True

    def close(self) -> None:
        """End the bar if there is one: the other process may have ended before its work was done."""
        self._bar.close()
        self._advance, self._done = None, 0
