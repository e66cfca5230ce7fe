"""Every network on every engine in float32: the rows of ``docs/background/engines.md``.

``python -m tests.engines_table [MODEL ...]`` prints them, each network in a process of its own, so that its memory is
free before the next begins.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmark.backends import ENGINES
from benchmark.backends.agreement import TOLERANCE
from benchmark.running.portability import portability
from tests.test_models import side_of
from zoo import get_card, list_models

PAGE = Path(__file__).parent.parent / "docs" / "background" / "engines.md"


def rows() -> dict[str, list[str]]:
    """Return the cells of the page's table by the names of their networks: the size, and one for each engine."""
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: cells.split(" | ") for name, cells in lines}


def row(name: str) -> str:
    """Return the row of a network with random weights, at the smallest size that the tests take."""
    side = max(32, side_of(get_card(name).input))
    targets = {one["target"]: one["tried"] for one in portability(name, size=(side, side))["targets"]}
    return f"| `{name}` | {side}x{side} | {' | '.join(_cell(targets[engine]) for engine in ENGINES)} |"


def _cell(tried: dict[str, object]) -> str:
    """Return the relative error; of an engine that refuses the network or computes something else, the reason."""
    if not tried["runs"]:
        return f"refused: {tried['message']}"
    error = float(str(tried["relative_error"]))
    return f"{error:.1e}" if error <= TOLERANCE else f"DIFFERS by {error:.1e}"


def _rows(names: list[str]) -> Iterator[str]:
    if len(names) == 1:
        yield row(names[0])
        return
    for name in names:
        done = subprocess.run([sys.executable, "-m", __spec__.name, name], stdout=subprocess.PIPE, text=True)
        yield done.stdout.strip() or f"| `{name}` | status {done.returncode} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list_models())
    for line in _rows(parser.parse_args().models):
        print(line, flush=True)
