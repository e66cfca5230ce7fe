"""Print how long the costs of all networks of the published tables take to count, and how much memory.

    python -m speed table_costs       # goals: all rows of both tables under 15 s and 1.5 GiB resident, imports apart

Nothing is run at full size: shapes are followed on the meta
device.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from benchmark.leaderboard.published import read_published
from benchmark.leaderboard.row_costs import compute_costs
from speed.figures import Figure
from zoo import list_models

PUBLISHED = Path(__file__).parent.parent / "leaderboards" / "published"


def peak_gib() -> float:
    """Return the largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def main() -> list[Figure]:
    """Print one line per row; return the sums."""
    list_models()
    imported = peak_gib()
    print(f"{'table':8} {'model':24} {'seconds':>8} {'peak resident [GiB]':>20}")
    start = time.perf_counter()
    for publication in read_published(PUBLISHED).values():
        for table in publication.tables:
            for row in table.rows:
                begin = time.perf_counter()
                compute_costs(table, row)
                print(f"{table.id:8} {row.model:24} {time.perf_counter() - begin:8.2f} {peak_gib():20.2f}")
    seconds = time.perf_counter() - start
    return [
        Figure("all rows", seconds, "s", at_most=15),
        Figure("peak of the resident memory", peak_gib(), "GiB", at_most=1.5),
        Figure("resident memory after the imports", imported, "GiB"),
    ]
