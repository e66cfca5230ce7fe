"""What long work says while it runs; the command line shows it, a library user may listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Reporter:
    """Receives messages and progress; this one is silent."""

    def note(self, message: str) -> None:
        """Take a line that a user should see."""

    def detail(self, message: str) -> None:
        """Take a line for ``-v``."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar while the block runs; call what is yielded once per finished piece."""
        yield lambda: None
