"""Time and peak memory of regenerating all tables from many records.

    python -m speed leaderboard [RECORDS]      # default 10000; goal: under 5 s and 1 GiB

The records are the committed ones, varied: other options, costs, scores and times, in as many as 50 sets of images;
those with a score have scores per image beside them, but for every tenth. A reader in a process of its own prints what
each step takes: reading, tables, and the papers' tables. The last lines are `zoo-bench leaderboard` as a whole, from
the start of Python: with an empty cache folder, as once after each change of the networks or of torch, and then again.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark.cache import CACHE_VARIABLE
from benchmark.results.jsonl import read_lines
from benchmark.results.records import digest_of
from speed.figures import Figure

ROOT = Path(__file__).parent.parent / "leaderboards"
SETS = 50

STEPS = """
import sys, time
from pathlib import Path
begin = time.perf_counter()
def lap(what):
    global begin
    now = time.perf_counter()
    print(f"  {what:34} {now - begin:6.2f} s", flush=True)
    begin = now
from benchmark.results.conflicts import warnings
from benchmark.leaderboard.pages import page_of
from benchmark.leaderboard.tables import tables_by_page
from benchmark.results.records import without_gc
from benchmark.results.store import Store, read_results
lap("imports")
file, published = Path(sys.argv[1]), Path(sys.argv[2])
records = read_results(file)
lap(f"{len(records)} records read")
warnings(records)
lap("conflicts looked for")
with without_gc():
    tables = tables_by_page(records)
lap(f"{sum(len(t) for t in tables.values())} tables made")
texts = [page_of(dataset, boards) for dataset, boards in tables.items()]
lap(f"{sum(map(len, texts)) / 1e6:.1f} MB of Markdown")
store = Store(file.parent)
store.latest()
lap("resume: first look at the store")
for _ in range(1000):
    store.latest().get("some key")
lap("resume: 1000 more looks")
from benchmark.leaderboard.paper_tables import paper_pages
paper_pages(published, records)
lap("papers' tables")
"""


def vary(line: dict[str, Any], index: int, draw: random.Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a record like ``line`` with a key, options and numbers of its own, and its scores per image."""
    record = json.loads(json.dumps(line))
    record["key"] = f"{index:020x}"
    record["options"] = record["spec"]["options"] = {"width": index}
    record["spec"]["dataset_digest"] = f"set {index % SETS}"
    factor = draw.lognormvariate(0, 0.5)
    scores: dict[str, list[float]] = {}
    for id, measurement in record["measurements"].items():
        value = measurement["value"]
        if not isinstance(value, int | float):
            continue
        if measurement["kind"] == "score":
            shift = draw.gauss(0, 0.1) * value
            scores[id] = [value + shift + draw.gauss(0, 0.05) * value for _ in range(record["n"])]
            measurement["value"] = math.fsum(scores[id]) / record["n"]
            for end in ("ci_low", "ci_high"):
                if measurement.get(end) is not None:
                    measurement[end] += measurement["value"] - value
            continue
        scale = factor * (draw.lognormvariate(0, 0.02) if measurement["kind"] == "timing" else 1)
        for field in ("value", "q1", "q3", "ci_low", "ci_high"):
            if isinstance(measurement.get(field), int | float):
                scaled = measurement[field] * scale
                measurement[field] = round(scaled) if isinstance(value, int) else scaled
    images = [
        {"id": str(i), "scores": {id: scores[id][i] for id in scores}} for i in range(record["n"] if scores else 0)
    ]
    record["per_image"] = f"scores/{record['key']}.jsonl" if images else None
    return record, images


def write_records(folder: Path, count: int) -> tuple[int, int]:
    """Write ``count`` records and their scores into ``folder``; return the bytes and the number with scores."""
    lines = [line for file in sorted((ROOT / "results").glob("*.jsonl")) for line in read_lines(file)]
    draw = random.Random(0)
    with_scores = 0
    (folder / "scores").mkdir()
    with (folder / "results.jsonl").open("w", encoding="utf-8") as stream:
        for index in range(count):
            record, images = vary(lines[index % len(lines)], index, draw)
            record.pop("digest", None)
            stream.write(json.dumps({**record, "digest": digest_of(record)}, ensure_ascii=False) + "\n")
            if images and index % 10:
                text = "".join(json.dumps(image) + "\n" for image in images)
                (folder / "scores" / f"{record['key']}.jsonl").write_text(text, encoding="utf-8")
                with_scores += 1
    return (folder / "results.jsonl").stat().st_size, with_scores


def main() -> list[Figure]:
    """Write the records, then time the steps and the command; return seconds and memory of the command."""
    figures = []
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size, with_scores = write_records(folder, count)
        print(f"{count} records, {size / 1e6:.0f} MB, {with_scores} with scores per image")
        run([sys.executable, "-c", STEPS, str(folder / "results.jsonl"), str(ROOT / "published")])
        command = [sys.executable, "-m", "benchmark.cli", "leaderboard", "--results", str(folder / "results.jsonl")]
        out = folder / "tables"
        out.mkdir()
        (out / "published").symlink_to(ROOT / "published")
        os.environ[CACHE_VARIABLE] = str(folder / "cache")
        for what in ("all tables, the papers' networks counted anew", "all tables"):
            seconds, peak = run([*command, "--out", str(out)], quiet=True)
            figures += [
                Figure(what, seconds, "s", at_most=5),
                Figure(f"{what}, peak", peak, "GiB", at_most=1),
            ]
    return figures


def run(command: list[str], *, quiet: bool = False) -> tuple[float, float]:
    """Run a command; return its seconds and the peak of its resident memory in GiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 2**20
