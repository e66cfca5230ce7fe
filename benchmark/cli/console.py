"""The output of the command line: notes and progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.cleaning import one_line, terminal
from benchmark.cli.steps import Steps
from benchmark.fitting import shortened_middle
from benchmark.leaderboard import Board
from benchmark.reporting import Reporter

# Where no bar can be shown: seconds between two lines of the same work.
_PAUSE = 30.0


class ConsoleReporter(Reporter):
    """Bars on a terminal, plain lines elsewhere; ``verbosity`` -1 is quiet, 1 adds details."""

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        # One display shows the bars of nested work too: a terminal has no room for a second one.
        self._display: Progress | None = None
        self._steps: Steps | None = None

    def note(self, message: str) -> None:
        """Print a line."""
        if self.verbosity >= 0:
            self.console.print(escape(_line(message)))

    def detail(self, message: str) -> None:
        """Print a line for ``-v``."""
        if self.verbosity >= 1:
            self.note(message)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar on a terminal; elsewhere print a line when work takes long."""
        if self.verbosity < 0:
            yield lambda: None
        elif self._steps and self.console.is_terminal:
            with self._steps.bar(label, total) as advance:
                yield advance
        elif self.console.is_terminal:
            with self._bar(label, total) as advance:
                yield advance
        else:
            yield self._lines(label, total)

    @contextmanager
    def steps(self, plan: Sequence[tuple[str, float]]) -> Iterator[Callable[[str], None]]:
        """Show one bar for all steps on a terminal; elsewhere print a line after each."""
        if self.verbosity < 0 or not plan:
            yield lambda result: None
        elif not self.console.is_terminal:
            steps = Steps(plan)
            yield lambda result: self.note(steps.finish(result))
        else:
            columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[left]} left"))
            display = Progress(*columns, console=self.console, transient=True)
            task = display.add_task("", total=1.0, left="")

            def show() -> None:
                room = self.console.width - 36 - len(steps.where)
                text = escape(f"{steps.where}: {shortened_middle(_line(steps.doing), room)}")
                display.update(task, completed=steps.part, description=text, left=steps.left)

            steps = self._steps = Steps(plan, show)
            show()
            try:
                with display:
                    yield lambda result: self.detail(steps.finish(result))
            finally:
                self._steps = None

    @contextmanager
    def _bar(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with ExitStack() as stack:
            display = self._display
            if display is None:
                display = self._display = stack.enter_context(Progress(*columns, console=self.console, transient=True))
                stack.callback(setattr, self, "_display", None)
            task = display.add_task(escape(_line(label)), total=total or None)
            stack.callback(display.remove_task, task)
            yield lambda: display.advance(task)

    def _lines(self, label: str, total: int) -> Callable[[], None]:
        done, said = 0, time.monotonic()

        def advance() -> None:
            nonlocal done, said
            done += 1
            if time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                print(_line(f"{label}: {done}/{total}" if total else f"{label}: {done}"), file=sys.stderr, flush=True)

        return advance


def _line(text: str) -> str:
    return terminal(one_line(text))


def print_board(board: Board, room: int | None = None) -> None:
    """Print a whole table on stdout, in as many pieces as ``room`` needs (None: in one piece).

    Each piece begins with the labels but the evidence. Texts that are too wide go on in the next line, numbers do not.
    """
    headers, rows = tuple(map(_line, board.headers)), tuple(tuple(map(_line, row)) for row in board.rows)
    board = replace(board, title=_line(board.title), headers=headers, rows=rows)
    widths = [_width(board, index) for index in range(len(board.headers))]
    console = Console(width=room or sum(widths) + 3 * len(widths) + 1, highlight=False)
    for part, columns in enumerate(_pieces(widths, console.width, board.labels - 1)):
        table = Table(title=escape(board.title) if not part else None, title_justify="left")
        for index in columns:
            # The header is split into short lines for a narrow terminal: name, unit, size.
            header = escape("\n".join(_header_lines(board.headers[index])))
            is_label = index < board.labels
            table.add_column(header, justify="left" if is_label else "right", overflow="fold", no_wrap=not is_label)
        for y, row in enumerate(board.rows):
            cells = [escape(row[x]) for x in columns]
            table.add_row(*(f"[bold]{cell}[/]" if (y, x) in board.best else cell for x, cell in zip(columns, cells)))
        console.print(table)


def _header_lines(header: str) -> list[str]:
    return header.replace("`", "").replace(" [", "\n[").replace(" at ", "\n").split("\n")


def _width(board: Board, column: int) -> int:
    return max(len(text) for text in [*_header_lines(board.headers[column]), *(row[column] for row in board.rows)])


def _pieces(widths: list[int], room: int, num_labels: int = 2) -> list[list[int]]:
    """Return the columns of each piece: the labels first, then at least one other column."""
    labels = list(range(num_labels))
    used = sum(widths[:num_labels]) + 3 * num_labels + 1
    pieces, piece, left = [], [*labels], room - used
    for column in range(num_labels, len(widths)):
        if left < widths[column] + 3 and len(piece) > num_labels:
            pieces.append(piece)
            piece, left = [*labels], room - used
        piece.append(column)
        left -= widths[column] + 3
    return [*pieces, piece]
