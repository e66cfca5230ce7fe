"""Numbered notes under a table or a page."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


class Footnotes:
    """Number texts in the order in which they are first used: the same text, or only other numbers in it, share one."""

    def __init__(self) -> None:
        self._signs: dict[tuple[str, str], int] = {}
        self._numbers: dict[tuple[str, str], list[list[str]]] = {}

    def mark(self, sign: str, texts: Iterable[str]) -> str:
        """Return what stands beside a value: ``sign`` and the numbers of the notes on ``texts``; empty for none."""
        numbers = []
        for text in texts:
            key = (sign, _NUMBER.sub("{}", text.replace("{", "(").replace("}", ")")))
            numbers.append(self._signs.setdefault(key, len(self._signs) + 1))
            self._numbers.setdefault(key, []).append(_NUMBER.findall(text))
        return sign + ",".join(map(str, sorted(set(numbers)))) if numbers else ""

    def link(self, text: str) -> str:
        """Return a link of Markdown to the note on ``text``, which the same text shares and no other."""
        return f"[^{self._signs.setdefault(('^', text), len(self._signs) + 1)}]"

    def lines(self) -> list[str]:
        """Return the notes: sign, number, text with the range of the numbers that it was used with."""
        return [
            f"{sign}{number}: {skeleton.format(*map(_span, zip(*self._numbers[sign, skeleton])))}"
            for (sign, skeleton), number in self._signs.items()
        ]

    def linked(self) -> str:
        """Return the notes that links lead to, a line each."""
        return "".join(f"[^{number}]: {text}\n" for (_, text), number in self._signs.items())


def _span(texts: Iterable[str]) -> str:
    """Return the one number, or the smallest and the largest."""
    ordered = sorted(set(texts), key=float)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
