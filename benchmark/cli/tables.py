"""Tables of models on stdout: a few columns that fit the terminal, chosen ones, or with ``--wide`` all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from benchmark.cli.options import all_options, comma_separated
from benchmark.cli.printing import echo_clean, echo_warnings
from benchmark.fitting import wrapped
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.leaderboard.tables import Table

table_options = all_options(
    click.option("--wide", is_flag=True, help="Print all columns of the tables, in pieces if need be, and all notes."),
    click.option(
        "--columns",
        callback=comma_separated,
        metavar="NAME,..",
        help="Columns to print, by their names in the tables or their ids: psnr[rgb],params,time,flops@12mp.",
    ),
)


def room() -> int | None:
    """Return how wide lines may be: $COLUMNS, else the terminal's width; None if stdout is no terminal."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return None


def check_columns(names: Sequence[str] | None, *, wide: bool) -> None:
    """Raise UserError if ``--columns`` names what no table has, before anything is measured."""
    if names is None:
        return
    if wide:
        raise UserError("--wide and --columns cannot be combined: --wide prints all columns; leave one of them out.")
    from benchmark.leaderboard.brief import check_names

    check_names(names)


def print_tables(tables: Sequence[Table], names: Sequence[str] | None, *, wide: bool, hint: bool = True) -> None:
    """Print tables in lines that fit; a note on several of them is printed once, and a ``hint`` at other columns."""
    from benchmark.leaderboard.brief import absent, brief_of, chosen
    from benchmark.leaderboard.cells import REMARKED, TAINTED

    width, said = room(), set[str]()
    for table in tables:
        brief = brief_of(table, width, names, bold=lambda text: click.style(text, bold=True))
        if wide:
            _print_wide(table, width)
        elif brief and names and not brief.fits:
            _print_wide(replace(table, columns=tuple(chosen(table, names))), width)
        elif brief:
            # The numbers of footnotes are those of one table.
            notes = [note for note in brief.notes if note not in said or note.startswith((TAINTED, REMARKED))]
            said.update(notes)
            echo_clean([*brief.lines, *(line for note in notes for line in wrapped(note, width, "  ")), ""])
    if hint and not wide and names is None:
        echo_clean(wrapped("All columns and notes: --wide. Other columns: --columns NAME,..", width))
    if names and (gone := absent(tables, names)):
        echo_warnings([f"--columns: no table has {', '.join(gone)}"])


def _print_wide(table: Table, width: int | None) -> None:
    from benchmark.cli.console import print_board
    from benchmark.leaderboard.boards import board_of

    board = board_of(table)
    print_board(board, width)
    notes = [*(f"{title}: {text}" for title, text in table.lead), *board.notes]
    echo_clean([*(line for note in notes for line in wrapped(note.replace("`", ""), width, "  ")), ""])
