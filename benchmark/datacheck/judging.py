"""Find the problems of a dataset from the facts about its files and the rules of its plan."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.datacheck.plans import CheckPlan, FileRule, Problem, Unit
from benchmark.datacheck.views import ORIENTATIONS, PHASES
from benchmark.imaging.duplicates import MAX_BITS, MIN_CORRELATION, ImageHashes, near_duplicates
from benchmark.imaging.levels import Depths, clipped_words, rare_above
from benchmark.sensor import Sensor
from benchmark.units import shape_text
from zoo.errors import printable

# Below this correlation of brightness over 32x32 blocks, a mosaic and its photograph show different things.
_LEAST_LIKENESS = 0.3
# From this share of pixels at 255 on, an 8-bit mosaic was cut and is not dark.
_CUT_SHARE = 0.001
# If no count of a set is as near to black as this share of the range, the black level may be wrong.
_DARKEST = 0.02
# Votes for a phase or an orientation are used only from this many pairs on.
_LEAST_VOTES = 3
_NAMED = 20


@dataclass
class Judge:
    """Judges the facts unit by unit, collects data to judge the whole dataset, and lists the problems."""

    plan: CheckPlan
    root: Path
    problems: list[Problem] = field(default_factory=list)
    # Findings that may be correct but influence the numbers.
    remarks: list[Problem] = field(default_factory=list)
    depths: Depths = field(default_factory=Depths)
    # The lowest count of each mosaic of a user's own.
    lows: list[int] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)
    orientations: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    # The first mosaics that vote for an unexpected phase; a single vote may be an error and is not a problem.
    others: list[dict[str, str]] = field(default_factory=list)
    prints: dict[str, ImageHashes] = field(default_factory=dict)
    digests: dict[str, dict[str, str]] = field(default_factory=dict)

    def take(self, unit: Unit, facts: dict[str, Any]) -> None:
        """Judge one unit."""
        before = len(self.problems)
        for (role, path), found in zip(unit.files, facts["files"]):
            self.problems += self._file_problems(path, self.plan.rules[role], found)
            if role == self.plan.compared and any(unit.split in pair for pair in self.plan.separate):
                self._remember(unit.split, path, found)
            self._take_remarks(role, path, self.plan.rules[role], found)
        sizes = [found.get("size") for found in facts["files"]]
        if len(sizes) == 2 and None not in sizes and sizes[0] != sizes[1]:
            (_, first), (_, second) = unit.files
            expected = f"{shape_text(sizes[0])}, as its partner {first.name}"
            self._add(second, "size", f"{shape_text(sizes[1])} pixels", expected)
        turns = [found.get("orientation", 1) for found in facts["files"]]
        if len(turns) == 2 and None not in sizes and turns[0] != turns[1]:
            (_, first), (_, second) = unit.files
            self.remarks.append(turned_remark(second, turns[1], first, turns[0]))
        # A pair with a bad file, for example a black frame, cannot be compared.
        if facts["views"] is not None and len(self.problems) == before:
            self._take_views(unit, facts["views"])

    def finish(self) -> list[Problem]:
        """Return all problems; those of the whole dataset come last."""
        if self.plan.cfa:
            self._judge_votes(self.phases, self.plan.cfa, "cfa", "the colour filter looks like", PHASES)
            self._judge_votes(self.orientations, ORIENTATIONS[0], "orientation", "targets are", ORIENTATIONS)
        for first, second in self.plan.separate:
            self._judge_duplicates(first, second)
        sensor = self._sensor
        for side, what in self.depths.unused(sensor).items():
            self.remarks.append(Problem(str(self.root), f"range of {side}", what, ""))
        if sensor is not None and self.lows:
            low, room = min(self.lows), _DARKEST * (sensor.white - sensor.black)
            if low > sensor.black + room:
                what = (
                    f"the lowest count of {len(self.lows)} mosaics is {low}, and --black is {sensor.black:g}: that is"
                    " right if all are bright, else the black level is higher"
                )
                self.remarks.append(Problem(str(self.root), "black level", what, ""))
        return [*self.plan.problems, *self.problems]

    @property
    def _sensor(self) -> Sensor | None:
        raw = self.plan.rules.get("raw")
        return raw.sensor if raw is not None else None

    def _add(self, path: Path | str, kind: str, what: str, expected: str) -> None:
        self.problems.append(Problem(str(path), kind, what, expected))

    def _file_problems(self, path: Path, rule: FileRule | None, found: dict[str, Any]) -> Iterator[Problem]:
        file = str(path)
        if "error" in found:
            yield Problem(file, "damaged", found["error"], "a complete file" + _of(rule))
        known = self.plan.digests.get(_relative(path, self.root))
        if known is not None and found.get("sha256") not in (known, None):
            yield Problem(file, "content", "not what the stand-in's marker says", f"sha256 {known[:16]}...")
        if rule is None or "error" in found:
            return
        shape = f"{found['bits']}-bit {found['kind']} {found['format']}"
        if found["kind"] not in rule.kinds or found["bits"] not in rule.bits:
            yield Problem(file, "depth", shape, _of(rule).removeprefix(": "))
        elif "high" in found:
            yield from _level_problems(file, rule, found)
        height, width = found["size"]
        if rule.size is not None and (height, width) != rule.size:
            yield Problem(file, "size", f"{height}x{width} pixels", shape_text(rule.size))
        if rule.even and (height % 2 or width % 2):
            yield Problem(file, "size", f"{height}x{width} pixels", "an even height and width: whole 2x2 blocks")

    def _take_remarks(self, role: str, path: Path, rule: FileRule | None, found: dict[str, Any]) -> None:
        """Note hot pixels, which are clipped, and the number of bits that a file uses."""
        if rule is None or found.get("kind") not in rule.kinds or found["bits"] not in rule.bits:
            return
        above, of = found.get("above", (0, 0))
        if above and rule.white is not None and rare_above(above, of):
            what = clipped_words(above, found["high"], rule.white)
            self.remarks.append(Problem(str(path), "hot pixels", what, ""))
        if "used" in found:
            self.depths.take(role, found["used"])
        if rule.sensor is not None:
            self.lows.append(found["low"])
        if "stated" in found and rule.sensor is not None:
            what = f"states {found['stated']}, but {rule.sensor.levels} were given and are used"
            self.remarks.append(Problem(str(path), "levels", what, ""))

    def _remember(self, split: str, path: Path, found: dict[str, Any]) -> None:
        if "sha256" in found:
            self.digests.setdefault(split, {})[found["sha256"]] = str(path)
        if "hash" in found:
            prints = self.prints.setdefault(split, ImageHashes())
            prints.add(str(path), int(found["hash"], 16), base64.b64decode(found["thumbnail"]))

    def _take_views(self, unit: Unit, views: dict[str, Any]) -> None:
        self.pairs += 1
        self.phases[views["phase"] or "unclear"] += 1
        if views["phase"] not in (None, self.plan.cfa) and len(self.others) < _NAMED:
            self.others.append({"file": printable(unit.files[0][1]), "phase": views["phase"]})
        self.orientations[views["orientation"] or "unclear"] += 1
        if views["likeness"] is not None and views["likeness"] < _LEAST_LIKENESS:
            (_, raw), (_, target) = unit.files
            what = f"shows something else than {target}: brightness correlates by {views['likeness']:.2f}"
            self._add(raw, "mismatch", what, f"the same scene, at least {_LEAST_LIKENESS}")

    def _judge_votes(self, votes: Counter[str], right: str, kind: str, words: str, names: tuple[str, ...]) -> None:
        counted = {name: votes[name] for name in names if votes[name]}
        total = sum(counted.values())
        winner = max(counted, key=lambda name: counted[name], default=right)
        if winner == right:
            return
        unclear = f", {votes['unclear']} unclear" if votes["unclear"] else ""
        problem = Problem(
            str(self.root), kind, f"{words} {winner} in {counted[winner]} of {total} pairs{unclear}", right
        )
        if total >= _LEAST_VOTES:
            self.problems.append(problem)
        elif self._sensor is not None and kind == "cfa" and not counted.get(right):
            # Too few to be sure, but a user's own few pairs may be all there are.
            self.remarks.append(problem)

    def _judge_duplicates(self, first: str, second: str) -> None:
        one, other = self.digests.get(first, {}), self.digests.get(second, {})
        same = {other[digest]: one[digest] for digest in other.keys() & one.keys()}
        for file, twin in sorted(same.items()):
            self._add(file, "duplicate", f"the same bytes as {twin}", f"no image in both {first} and {second}")
        empty = ImageHashes()
        for twin, file, bits, likeness in near_duplicates(
            self.prints.get(first, empty), self.prints.get(second, empty)
        ):
            if file not in same:
                what = f"nearly {twin}: {bits} of 63 bits differ, correlation {likeness:.3f}"
                limits = f"more than {MAX_BITS} bits or less than {MIN_CORRELATION}"
                self._add(file, "near-duplicate", what, f"no image in both {first} and {second} ({limits})")


def turned_remark(path: Path, turn: int, partner: Path, partners: int) -> Problem:
    """Return the remark on a pair whose files have different orientations."""
    what = (
        f"its orientation is {turn}, that of its partner {partner} is {partners}: both are compared as they are stored,"
        " not as a viewer turns them"
    )
    return Problem(str(path), "orientation", what, "")


def _level_problems(file: str, rule: FileRule, found: dict[str, Any]) -> Iterator[Problem]:
    above, of = found.get("above", (0, 0))
    if rule.white is not None and not rare_above(above, of):
        what = f"counts up to {found['high']}, above white in {100 * above / of:.2g} % of the pixels"
        what += f" ({found['hint']})" if found.get("hint") else ""
        yield Problem(
            file,
            "range",
            what,
            f"at most {rule.white:g}, unscaled" if rule.sensor is None else f"at most --white {rule.white:g}",
        )
    if rule.unscaled and found.get("at_255", 0.0) > _CUT_SHARE:
        what = f"{100 * found['at_255']:.1f} % of an 8-bit mosaic at 255"
        yield Problem(file, "range", what, "8 bits only where no count exceeds 255")
    if found["low"] == found["high"]:
        yield Problem(file, "black", f"every pixel is {found['low']}", "a picture")
    elif found.get("mean", rule.black) < rule.black:
        what = f"a mean of {found['mean']:.1f} counts, below --black {rule.black:g}"
        yield Problem(file, "range", what, "a picture above the black level, or a lower level")
    elif found["brightest"] <= rule.black_up_to * (257 if found["bits"] == 16 and not rule.mosaic else 1):
        yield Problem(file, "black", f"a black frame: no block brighter than {found['brightest']:.1f}", "a picture")


def _of(rule: FileRule | None) -> str:
    if rule is None:
        return ""
    return f": {'/'.join(map(str, rule.bits))}-bit {'/'.join(rule.kinds)} {'/'.join(rule.formats)}"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
