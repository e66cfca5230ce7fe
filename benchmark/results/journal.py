"""The scores per image of one record, in a file of their own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.replacing import naming
from benchmark.results.jsonl import append_line, lock_of, raw_lines, replace_lines, to_json
from benchmark.results.records import digest_of, digest_of_text
from benchmark.types import decode_number, encode_number

Scores = dict[str, float]
Shift = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """What a line says of one image: its scores, the shift (dy, dx) of aligned scores, its scene (empty: unknown).

    ``sigma`` is the level of noise that was estimated for the network, if it was; ``by`` names the machine that scored
    the image if its code or torch were not those of the run.
    """

    scores: Scores
    shift: Shift | None
    scene: str
    sigma: float | None = None
    by: str = ""


class Journal:
    """Per-image scores of one record, written one by one, so that a killed run continues after the last image.

    A line ends with a digest of its content and of the file's name, which is the key of the run. A line that was
    edited, damaged or copied from another run's journal is not used, and neither is a line without a digest.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        """``run`` is the key of the run, by default the file's name."""
        self.path, self._run = path, run or path.stem
        # What `digest_of` puts before the rest of a line, and what the file was like when it was read last.
        self._before = to_json({"run": self._run})[:-1] + b", "
        self._seen: tuple[object, _Lines] | None = None

    def read(self) -> dict[str, Scores]:
        """Return the scores by image id, from the lines that are unchanged since they were written."""
        return {image: entry.scores for image, entry in self._lines().good.items()}

    def scenes(self) -> dict[str, str]:
        """Return the scenes by image id, from the same lines as ``read``; lines of earlier versions have none."""
        return {image: entry.scene for image, entry in self._lines().good.items() if entry.scene}

    def shifts(self) -> dict[str, Shift]:
        """Return the found shifts (dy, dx) by image id, for scores that align the output first."""
        return {image: entry.shift for image, entry in self._lines().good.items() if entry.shift is not None}

    def sigmas(self) -> dict[str, float]:
        """Return the estimated levels of noise by image id, on the scale of 8-bit values."""
        return {image: entry.sigma for image, entry in self._lines().good.items() if entry.sigma is not None}

    def others(self) -> dict[str, str]:
        """Return by image id the machines that scored with other code or another torch, in words."""
        return {image: entry.by for image, entry in self._lines().good.items() if entry.by}

    def stored(self) -> tuple[dict[str, Entry], tuple[str, ...]]:
        """Return the entries of a finished record by image id, and what is wrong with the file's lines.

        Lines without a digest are among the scores: earlier versions wrote none.
        """
        lines = self._lines()
        return lines.unsealed | lines.good, tuple(lines.bad)

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

    def append(
        self,
        id: str,
        scores: Scores,
        shift: Shift | None = None,
        *,
        scene: str = "",
        sigma: float | None = None,
        by: str = "",
    ) -> None:
        """Write one image's scores, and what else an ``Entry`` holds; they are on disk when this returns."""
        self.append_all([(id, Entry(scores, shift, scene, sigma, by))])

    def append_all(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Write what several images have, each with its id; that is much faster than one by one."""
        append_line(self.path, *(self._line(id, entry) for id, entry in entries))

    def _line(self, id: str, entry: Entry) -> dict[str, Any]:
        line: dict[str, Any] = {"id": id, "scores": {k: encode_number(v) for k, v in entry.scores.items()}}
        line |= {} if entry.shift is None else {"shift": list(entry.shift)}
        line |= {"scene": entry.scene} if entry.scene else {}
        line |= {} if entry.sigma is None else {"sigma": entry.sigma}
        line |= {"by": entry.by} if entry.by else {}
        return {**line, "digest": self._digest(line)}

    def lock(self) -> FileLock:
        """Return the lock that only one evaluation of this record can hold."""
        return lock_of(self.path.with_suffix(".run"))

    def clear(self) -> None:
        """Delete the scores, so that they are measured again."""
        with naming(self.path):
            self.path.unlink(missing_ok=True)

    def copy_to(self, other: Journal, scenes: Mapping[str, str] | None = None) -> None:
        """Write the lines into another run's journal, atomically; lines that are trusted here are trusted there.

        The trusted lines of images in ``scenes`` get these scenes; their scores stay.
        """
        scenes, resealed = scenes or {}, {}
        for text in self._lines().texts:
            line = json.loads(text.decode())
            del line["digest"]
            line |= {"scene": scenes[line["id"]]} if line["id"] in scenes else {}
            resealed[text] = to_json({**line, "digest": other._digest(line)})
        replace_lines(other.path, [resealed.get(raw.text, raw.text) for raw in raw_lines(self.path)])

    def union(self, others: Iterable[Journal]) -> list[bytes]:
        """Return a line for each image that this or another journal of the same run has, from trusted lines only.

        Neither the lines nor their order depend on the order of the journals.
        """
        texts = sorted({text for journal in (self, *others) for text in journal._lines().texts})
        return list({json.loads(text)["id"]: text for text in texts}.values())

    def become(self, other: Journal) -> None:
        """Replace another journal of the same run; nothing happens if this journal does not exist."""
        if self.path.exists():
            with naming(other.path):
                os.replace(self.path, other.path)

    def _digest(self, line: Mapping[str, Any]) -> str:
        return digest_of({"run": self._run, **line})

    def _is_sealed(self, text: bytes, line: Mapping[str, Any]) -> bool:
        """Whether the digest of a line matches; that of its text as we wrote it is quicker to find."""
        written = text.rpartition(b', "digest": "')[0]
        quick = digest_of_text(self._before + written[1:] + b"}")
        return bool(line["digest"] == quick or line["digest"] == self._digest(line))

    def _lines(self) -> _Lines:
        """Return the lines of the file, which is read again only if it has changed."""
        try:
            status = self.path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            state = None
        if self._seen is None or state is None or self._seen[0] != state:
            self._seen = state, self._read()
        return self._seen[1]

    def _read(self) -> _Lines:
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
            elif self._is_sealed(raw.text, line):
                found.good[image] = entry
                found.texts.append(raw.text)
            else:
                found.bad.append(f"{where}: not as it was written, or of another run (its digest does not match)")
        return found


@dataclass(frozen=True)
class _Lines:
    """The lines of a journal: those with a digest that matches (and their texts), those without one, and the others."""

    good: dict[str, Entry]
    unsealed: dict[str, Entry]
    bad: list[str]
    texts: list[bytes]


def _entry_of(line: Any) -> tuple[str, Entry]:
    """Return the image of a line and what it says of it; raises ValueError, TypeError or KeyError if it is invalid."""
    scores = {name: _number(decode_number(value)) for name, value in line["scores"].items()}
    shift = None
    if "shift" in line:
        down, right = map(_number, line["shift"])
        shift = (down, right)
    scene, by = line.get("scene", ""), line.get("by", "")
    if not all(isinstance(text, str) for text in (line["id"], scene, by)):
        raise TypeError("an image's id, its scene and a machine are texts")
    sigma = None if line.get("sigma") is None else _number(line["sigma"])
    return line["id"], Entry(scores, shift, scene, sigma, by)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)
