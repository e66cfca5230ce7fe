"""The scores per image of one record, in a file of their own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.replacing import naming
from benchmark.results.jsonl import append_line, lock_of, raw_lines, replace_lines, to_json
from benchmark.results.records import digest_of
from benchmark.types import decode_number, encode_number

Scores = dict[str, float]
Shift = tuple[float, float]


class Journal:
    """Per-image scores of one record, written one by one, so that a killed run continues after the last image.

    A line ends with a digest of its content and of the file's name, which is the key of the run. A line that was
    edited, damaged or copied from another run's journal is not used, and neither is a line without a digest.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        """``run`` is the key of the run, by default the file's name."""
        self.path, self._run = path, run or path.stem

    def read(self) -> dict[str, Scores]:
        """Return the scores by image id, from the lines that are unchanged since they were written."""
        return {image: scores for image, (scores, _) in self._lines().good.items()}

    def shifts(self) -> dict[str, Shift]:
        """Return the found shifts (dy, dx) by image id, for scores that align the output first."""
        return {image: shift for image, (_, shift) in self._lines().good.items() if shift is not None}

    def stored(self) -> tuple[dict[str, Scores], tuple[str, ...]]:
        """Return the scores of a finished record by image id, and what is wrong with the file's lines.

        Lines without a digest are among the scores: earlier versions wrote none.
        """
        lines = self._lines()
        known = lines.unsealed | lines.good
        return {image: scores for image, (scores, _) in known.items()}, tuple(lines.bad)

    def mend(self) -> tuple[str, ...]:
        """Remove the lines that are not trusted, so that their images are measured again; return what was wrong.

        Raises UserError if the file cannot be written.
        """
        with naming(self.path), lock_of(self.path):
            lines = self._lines()
            if not lines.bad and not lines.unsealed:
                return ()
            replace_lines(self.path, lines.texts)
        old = f"{self.path}: {len(lines.unsealed)} lines without a digest, of an earlier version"
        return (*lines.bad, *([old] if lines.unsealed else []))

    def append(self, id: str, scores: Scores, shift: Shift | None = None) -> None:
        """Write one image's scores, and the shift (dy, dx) of aligned scores; they are on disk when this returns."""
        line: dict[str, Any] = {"id": id, "scores": {k: encode_number(v) for k, v in scores.items()}}
        line |= {} if shift is None else {"shift": list(shift)}
        append_line(self.path, {**line, "digest": self._digest(line)})

    def lock(self) -> FileLock:
        """Return the lock that only one evaluation of this record can hold."""
        return lock_of(self.path.with_suffix(".run"))

    def clear(self) -> None:
        """Delete the scores, so that they are measured again."""
        with naming(self.path):
            self.path.unlink(missing_ok=True)

    def copy_to(self, other: Journal) -> None:
        """Write the lines into another run's journal, atomically; lines that are trusted here are trusted there."""
        lines = [raw.text for raw in raw_lines(self.path)]
        contents = {text: json.loads(text.decode()) for text in self._lines().texts}
        resealed = {text: to_json({**line, "digest": other._digest(line)}) for text, line in contents.items()}
        replace_lines(other.path, [resealed.get(text, text) for text in lines])

    def become(self, other: Journal) -> None:
        """Replace another journal of the same run; nothing happens if this journal does not exist."""
        if self.path.exists():
            with naming(other.path):
                os.replace(self.path, other.path)

    def _digest(self, line: Mapping[str, Any]) -> str:
        return digest_of({"run": self._run, **line})

    def _lines(self) -> _Lines:
        found = _Lines({}, {}, [], [])
        for raw in raw_lines(self.path):
            where = f"{self.path}, line {raw.number}"
            try:
                line = json.loads(raw.text.decode())
                image, entry = _entry_of(line)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                found.bad.append(f"{where}: damaged, no scores of an image")
                continue
            if "digest" not in line:
                found.unsealed[image] = entry
            elif line["digest"] == self._digest(line):
                found.good[image] = entry
                found.texts.append(raw.text)
            else:
                found.bad.append(f"{where}: not as it was written, or of another run (its digest does not match)")
        return found


@dataclass(frozen=True)
class _Lines:
    """The lines of a journal: those with a digest that matches (and their texts), those without one, and the others."""

    good: dict[str, tuple[Scores, Shift | None]]
    unsealed: dict[str, tuple[Scores, Shift | None]]
    bad: list[str]
    texts: list[bytes]


def _entry_of(line: Any) -> tuple[str, tuple[Scores, Shift | None]]:
    """Return image, scores and shift of a line; raises ValueError, TypeError or KeyError for an invalid line."""
    scores = {name: _number(decode_number(value)) for name, value in line["scores"].items()}
    shift = None
    if "shift" in line:
        down, right = map(_number, line["shift"])
        shift = (down, right)
    if not isinstance(line["id"], str):
        raise TypeError("an image's id is a text")
    return line["id"], (scores, shift)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)
