"""Print how long the costs of all networks of the published tables take to count, and how much memory.

Run from anywhere: ``python speed/table_costs.py``. Nothing is run at full size: shapes are followed on the meta
device. The goal is under 15 s and under 1.5 GiB resident for all rows of both tables, imports apart.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from benchmark.leaderboard.published import read_published
from benchmark.leaderboard.row_costs import compute_costs
from zoo import list_models

PUBLISHED = Path(__file__).parent.parent / "leaderboards" / "published"
GOAL_SECONDS, GOAL_GIB = 15.0, 1.5


def peak_gib() -> float:
    """Return the largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def main() -> None:
    """Print one line per row, then the sums beside the goals."""
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
    print(f"all rows: {seconds:.1f} s (goal: under {GOAL_SECONDS:g} s), load {os.getloadavg()[0]:.1f}")
    print(f"peak resident: {peak_gib():.2f} GiB (goal: under {GOAL_GIB:g} GiB), {imported:.2f} GiB after the imports")


if __name__ == "__main__":
    main()
