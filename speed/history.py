"""The committed results of these scripts, and the page that shows them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.host.environment import describe_environment
from benchmark.host.machine import snapshot
from benchmark.results.jsonl import append_line, read_lines
from speed.figures import Figure

FOLDER = Path(__file__).parent
RESULTS, PAGE = FOLDER / "results.jsonl", FOLDER / "RESULTS.md"
# A machine counts as quiet if other processes kept less than this many cores busy during the run.
MOST_OTHERS = 0.1
_HEAD = """# Speed and memory: the last result of each command

Made by `python -m speed --keep NAME ...` from `results.jsonl`, which has all results; do not edit. "before" is the
result that the same command gave earlier on such a processor. A machine is quiet if other processes kept less than
{others} of its cores busy meanwhile. Times in seconds hold for one machine in one hour; ratios were taken in one run.
"""


@dataclass(frozen=True)
class Busy:
    """Processor time until one moment: of the machine, and of this process with its children that have ended."""

    clock: float
    machine: float | None
    own: float

    @classmethod
    def now(cls) -> Busy:
        seen, times = snapshot(), os.times()
        return cls(seen.clock, seen.busy, sum(times[:4]))

    def others_since(self, before: Busy) -> float | None:
        """Return how many cores other processes kept busy since ``before``; None where that cannot be seen."""
        if self.machine is None or before.machine is None:
            return None
        others = (self.machine - before.machine) - (self.own - before.own)
        return max(0.0, others / (self.clock - before.clock))


def command_of(name: str, arguments: Sequence[str]) -> str:
    """Return the command line of a script."""
    return shlex.join(["python", "-m", "speed", name, *arguments])


def record_of(command: str, figures: Sequence[Figure], before: Busy, after: Busy) -> dict[str, Any]:
    """Return a result as it is stored."""
    here = describe_environment()
    others = after.others_since(before)
    return {
        "command": command,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": here.cpu,
        "cores": here.cores,
        "torch": here.torch,
        "commit": here.commit,
        "dirty": here.dirty,
        "seconds": round(after.clock - before.clock, 1),
        "others_busy_cores": None if others is None else round(others, 3),
        "figures": [asdict(figure) for figure in figures],
    }


def is_quiet(record: dict[str, Any]) -> bool:
    """Return whether the machine is known to have been left alone."""
    others = record["others_busy_cores"]
    return others is not None and others < MOST_OTHERS


def figures_of(record: dict[str, Any]) -> dict[str, Figure]:
    """Return the figures of a result by name."""
    return {one["name"]: Figure(**one) for one in record["figures"]}


def kept(file: Path = RESULTS) -> list[dict[str, Any]]:
    """Return all stored results, the oldest first."""
    return list(read_lines(file)) if file.is_file() else []


def last(records: Sequence[dict[str, Any]], command: str, cpu: str) -> dict[str, Any] | None:
    """Return the last result of a command, of this processor if there is one."""
    same = [record for record in records if record["command"] == command]
    return next(reversed([record for record in same if record["cpu"] == cpu] or same), None)


def comparison(record: dict[str, Any], earlier: dict[str, Any] | None) -> str:
    """Return the figures of a result beside those of an earlier one, as a table."""
    return tabulate(_rows(record, earlier, "-"), headers=["figure", "now", "last kept", "goal"], disable_numparse=True)


def origin(record: dict[str, Any]) -> str:
    """Return where and when a result was measured."""
    commit = f"{(record['commit'] or 'no commit')[:12]}{' with changes' if record['dirty'] else ''}"
    quiet = "quiet" if is_quiet(record) else f"others kept {record['others_busy_cores']} cores busy"
    machine = f"{record['cpu']}, {record['cores']} cores, torch {record['torch']}"
    return f"{record['created'][:10]}, {machine}, {commit}, {quiet}"


def keep(record: dict[str, Any], file: Path = RESULTS, page: Path = PAGE) -> None:
    """Store a result and write the page anew."""
    append_line(file, record)
    page.write_text(page_of(kept(file)), encoding="utf-8")


def page_of(records: Sequence[dict[str, Any]]) -> str:
    """Return the page: for each processor the last result of each command, and the figures before."""
    parts = [_HEAD.format(others=MOST_OTHERS)]
    for cpu, cores in sorted({(record["cpu"], record["cores"]) for record in records}):
        parts.append(f"## {cpu}, {cores} cores\n")
        here = [record for record in records if (record["cpu"], record["cores"]) == (cpu, cores)]
        for command in sorted({record["command"] for record in here}):
            *earlier, record = [one for one in here if one["command"] == command]
            rows = _rows(record, earlier[-1] if earlier else None, "")
            parts.append(f"`{command}`: {origin(record)}; took {record['seconds']:.0f} s\n")
            head = ["figure", "value", "before", "goal"]
            parts.append(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True) + "\n")
    return "\n".join(parts)


def _rows(record: dict[str, Any], earlier: dict[str, Any] | None, none: str) -> list[list[str]]:
    """Return name, value, earlier value (``none`` if there is none) and goal of each figure."""
    old = figures_of(earlier) if earlier else {}
    return [
        [name, figure.text, old[name].text if name in old else none, _goal(figure)]
        for name, figure in figures_of(record).items()
    ]


def _goal(figure: Figure) -> str:
    return figure.goal and f"{figure.goal}: {'met' if figure.met else 'MISSED'}"
