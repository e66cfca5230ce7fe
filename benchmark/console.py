"""How the command line talks: notes and progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.leaderboard import Board
from benchmark.reporting import Reporter


class ConsoleReporter(Reporter):
    """Bars on a terminal, plain lines elsewhere; ``verbosity`` -1 is quiet, 1 adds details."""

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)

    def note(self, message: str) -> None:
        """Print a line."""
        if self.verbosity >= 0:
            self.console.print(escape(message))

    def detail(self, message: str) -> None:
        """Print a line for ``-v``."""
        if self.verbosity >= 1:
            self.console.print(escape(message))

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar on a terminal, a line at the start and every tenth elsewhere."""
        if self.verbosity < 0:
            yield lambda: None
        elif self.console.is_terminal:
            with self._bar(label, total) as advance:
                yield advance
        else:
            yield self._lines(label, total)

    @contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(escape(label), total=total)
            yield lambda: progress.advance(task)

    def _lines(self, label: str, total: int) -> Callable[[], None]:
        done = 0
        step = max(1, -(-total // 10))

        def advance() -> None:
            nonlocal done
            done += 1
            if done % step == 0 or done == total:
                print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)

        return advance


def print_board(board: Board) -> None:
    """Print a table on stdout, wide where stdout is not a terminal, with its notes below."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=200, highlight=False)
    table = Table(title=escape(board.title), title_justify="left")
    for index, header in enumerate(board.headers):
        # Lines that a narrow terminal can hold: name, unit, size.
        lines = header.replace("`", "").replace(" [", "\n[").replace(" at ", "\n")
        table.add_column(escape(lines), justify="left" if index < 2 else "right", overflow="fold")
    for y, row in enumerate(board.rows):
        table.add_row(
            *(f"[bold]{escape(cell)}[/]" if (y, x) in board.best else escape(cell) for x, cell in enumerate(row))
        )
    console.print(table)
