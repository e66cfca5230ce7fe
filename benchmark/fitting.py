"""Clean text that fits a width: sentences are wrapped, names are shortened in the middle, numbers stay whole."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from benchmark.cleaning import one_line, terminal

_CUT = "…"
# The longest line of a short header; all titles of costs fit.
_LONGEST_SHORT = 16


class Form(NamedTuple):
    """How densely a table is set: with short headers, intervals below their numbers, a gap between columns, and at
    least ``shortest`` characters of a name (None: all of it).
    """

    is_short: bool
    is_stacked: bool
    gap: int
    shortest: int | None


# The first form that fits is taken.
_FORMS = (
    Form(False, False, 2, None),
    Form(True, False, 2, None),
    Form(True, True, 2, None),
    Form(True, True, 2, 20),
    Form(True, True, 1, 12),
)
_TIGHTEST = Form(True, True, 1, 6)


class Cell(NamedTuple):
    """A text, what may follow it, and how that is written below it where there is too little room beside it."""

    text: str
    beside: str = ""
    below: str = ""


@dataclass(frozen=True)
class Field:
    """A column: the lines of its header, those of a narrow table, and a cell per row.

    Names may be shortened in the middle. ``goes`` says how early a column is left out for lack of room (0: never);
    the cells of the rows ``best`` are bold.
    """

    header: tuple[str, ...]
    cells: tuple[Cell, ...]
    short: tuple[str, ...] = ()
    is_name: bool = False
    is_left: bool = False
    goes: int = 0
    best: frozenset[int] = frozenset()

    def head(self, form: Form) -> tuple[str, ...]:
        """Return the lines of the header."""
        if form.is_short:
            return tuple(shortened_middle(_clean(line), _LONGEST_SHORT) for line in self.short or self.header)
        return tuple(map(_clean, self.header))

    @cached_property
    def texts(self) -> list[Cell]:
        """The cells with clean texts."""
        return [Cell(*map(_clean, cell)) for cell in self.cells]

    def lines(self, y: int, form: Form) -> list[str]:
        """Return the lines of a cell."""
        text, beside, below = self.texts[y]
        return [text, below] if form.is_stacked and below else [f"{text} {beside}".rstrip()]

    def width(self, form: Form) -> int:
        """Return the width of the column if nothing is shortened."""
        return max(*map(width_of, self.head(form)), self._widths[form.is_stacked])

    @cached_property
    def _widths(self) -> tuple[int, int]:
        beside, below = (
            max([0, *(width_of(line) for y in range(len(self.cells)) for line in self.lines(y, form))])
            for form in (_FORMS[0], _TIGHTEST)
        )
        return beside, below


@dataclass(frozen=True)
class Fitted:
    """The lines of a table, its form, the columns that were left out for lack of room, and whether the rest fits well:
    with at least twelve characters of each name.
    """

    lines: list[str]
    form: Form
    left_out: tuple[Field, ...]
    fits: bool


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else not unicodedata.combining(sign) for sign in text)


def shortened_middle(text: str, room: int) -> str:
    """Return a text whose middle is left out if it is wider than ``room``."""
    if width_of(text) <= room:
        return text
    tail = (room - 1) // 2
    return _start(text, room - 1 - tail) + _CUT + (_start(text[::-1], tail)[::-1] if tail else "")


def shortened_end(text: str, room: int) -> str:
    """Return a text whose end is left out if it is wider than ``room``."""
    return text if width_of(text) <= room else _start(text, room - 1).rstrip() + _CUT


def wrapped(text: str, room: int | None, indent: str = "") -> list[str]:
    """Return the lines of a paragraph; all but the first begin with ``indent``. A word that is too long is broken."""
    if room is None:
        return [_clean(text)]
    lines, line = [], ""
    for word in one_line(text).split():
        begun = f"{line} {word}" if line.strip() else line + word
        if width_of(terminal(begun)) > room and line.strip():
            lines.append(line)
            begun = indent + word
        while width_of(begun) > room > len(indent):
            lines.append(_start(begun, room))
            begun = indent + begun[len(lines[-1]) :]
        line = begun
    return [terminal(line) for line in [*lines, line]]


def hanging(head: str, text: str, room: int | None, least: int = 30) -> list[str]:
    """Return the lines of a paragraph beside ``head``, or below it where fewer than ``least`` columns are left."""
    indent = " " * width_of(head)
    if room is None:
        return [head + _clean(text)]
    if room - len(indent) < least:
        above = [head.rstrip()] if width_of(head.rstrip()) <= room else wrapped(head, room, "    ")
        return [*above, *(f"    {line}" for line in wrapped(text, room - 4))]
    first, *rest = wrapped(text, room - len(indent))
    return [head + first, *(indent + line for line in rest)]


def fitted(fields: Sequence[Field], room: int | None, bold: Callable[[str], str] = str) -> Fitted:
    """Return a table that fits ``room`` (None: unlimited); ``bold`` marks the best cells of a column.

    If it is too wide, intervals go below their numbers, then names are shortened, then columns are left out.
    """
    shown = list(fields)
    while True:
        tried = ((form, *_widths(shown, form, room)) for form in _FORMS)
        found = next((one for one in tried if one[2]), None)
        # The least important column goes first; of several, the last.
        least = max(reversed(shown), key=lambda field: field.goes)
        if found or not least.goes:
            form, widths, _ = found or (_TIGHTEST, *_widths(shown, _TIGHTEST, room))
            left_out = tuple(field for field in fields if field not in shown)
            return Fitted(list(_lines(shown, form, widths, bold)), form, left_out, found is not None)
        shown.remove(least)


def _widths(fields: Sequence[Field], form: Form, room: int | None) -> tuple[list[int], bool]:
    """Return the width of each column, where names give up what is missing, and whether the table fits ``room``."""
    widths = [field.width(form) for field in fields]
    missing = 0 if room is None else sum(widths) + form.gap * (len(widths) - 1) - room
    for index, field in enumerate(fields):
        if field.is_name and form.shortest:
            least = max(form.shortest, *map(width_of, field.head(form)))
            given = max(0, min(missing, widths[index] - least))
            widths[index] -= given
            missing -= given
    return widths, missing <= 0


def _lines(fields: Sequence[Field], form: Form, widths: Sequence[int], bold: Callable[[str], str]) -> Iterator[str]:
    heads = [field.head(form) for field in fields]
    height = max(map(len, heads))
    names = {i: _names([cell.text for cell in one.texts], widths[i]) for i, one in enumerate(fields) if one.is_name}
    blocks = [[[""] * (height - len(head)) + [*head] for head in heads], [["─" * width] for width in widths]]
    for y in range(len(fields[0].cells)):
        blocks.append([names[x][y] if x in names else field.lines(y, form) for x, field in enumerate(fields)])
    for y, block in enumerate(blocks, start=-2):
        for number, texts in enumerate(itertools.zip_longest(*block, fillvalue="")):
            cells = []
            for text, field, width in zip(texts, fields, widths):
                space = " " * (width - width_of(text))
                marked = bold(text) if text and not number and y in field.best else text
                cells.append(marked + space if field.is_left or field.is_name else space + marked)
            yield (" " * form.gap).join(cells).rstrip()


def _names(names: Sequence[str], width: int) -> list[list[str]]:
    """Return the lines of each name: one, shortened, or several if shortening would make two names alike."""
    short = [shortened_middle(name, width) for name in names]
    if len(set(short)) == len(set(names)):
        return [[name] for name in short]
    return [_folded(name, width) for name in names]


def _folded(text: str, width: int) -> list[str]:
    lines = []
    while text:
        lines.append(_start(text, width))
        text = text[len(lines[-1]) :]
    return [terminal(line) for line in lines]


def _clean(text: str) -> str:
    return terminal(one_line(text))


def _start(text: str, room: int) -> str:
    """Return as much of the beginning of a text as fits ``room``, at least one character."""
    end = 1
    while end < len(text) and width_of(text[: end + 1]) <= room:
        end += 1
    return text[:end]
