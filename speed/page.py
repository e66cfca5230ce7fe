"""The HTML page with 1,000 rows: seconds and memory to write it, milliseconds to sort, filter and draw in chromium.

python -m speed page [ROWS]      # needs the extra [browser] and a chromium; goal: sort and filter well under 200 ms
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark.htmlpage.data import document
from benchmark.htmlpage.page import write_page
from benchmark.results.jsonl import to_json
from benchmark.results.records import content_of
from benchmark.results.store import read_folders, read_results
from benchmark.types import Measurement
from speed.figures import Figure

RECORDS = Path(__file__).parent.parent / "leaderboards" / "results" / "zrr-standin.jsonl"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# Returns the milliseconds until the change is on the screen, several times.
TIMES = """async (change) => {
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  const act_on = {
    sort: (i) => document.querySelectorAll('#table thead button')[2 + (i % 3)].click(),
    search: (i) => set('#search', (input) => { input.value = i % 2 ? 'unet_w8' : 'v00'; }, 'input'),
    axis: (i) => set('#x', (select) => { select.selectedIndex = i + 3; }, 'change'),
  }[change];
  const set = (selector, act, event) => {
    const element = document.querySelector(selector);
    act(element);
    element.dispatchEvent(new Event(event, { bubbles: true }));
  };
  const times = [];
  for (let i = 0; i < 15; i++) {
    await new Promise((done) => setTimeout(done, 500));
    await painted();
    const begin = performance.now();
    act_on(i);
    await painted();
    times.push(performance.now() - begin);
  }
  return times;
}"""


def write_records(count: int, file: Path) -> None:
    """Write ``count`` records: the committed ones with scores under other names, with other numbers."""
    draw = random.Random(0)
    scored = [r for r in read_results(RECORDS) if any(m.kind == "score" for m in r.measurements.values())]

    def vary(measurement: Measurement, factor: float) -> Measurement:
        factor = draw.uniform(0.9, 1.1) if measurement.kind == "score" else factor * draw.uniform(0.8, 1.2)
        value = (measurement.value or 0) * factor
        return measurement.model_copy(update={"value": int(value) if isinstance(measurement.value, int) else value})

    with file.open("wb") as stream:
        for index in range(count):
            one, factor = scored[index % len(scored)], 10 ** draw.uniform(0, 3)
            changes = {
                "model": f"{one.model}_v{index:04d}",
                "key": f"{index:020x}",
                "measurements": {id: vary(m, factor) for id, m in one.measurements.items()},
            }
            stream.write(to_json(content_of(one.model_copy(update=changes))) + b"\n")


def measure(page: Any) -> list[Figure]:
    """Print what the changes take in an open page; return the largest."""
    figures = []
    for change in ("sort", "search", "axis"):
        times = sorted(page.evaluate(TIMES, change))
        print(f"{change:8} median {times[len(times) // 2]:.0f} ms, largest {times[-1]:.0f} ms", flush=True)
        figures.append(Figure(f"{change}, longest", times[-1], "ms", at_most=None if change == "axis" else 200))
    return figures


def main() -> list[Figure]:
    """Write the page, open it, print one line per figure and return them."""
    from playwright.sync_api import sync_playwright

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        file, path = Path(folder) / "results.jsonl", Path(folder) / "page.html"
        write_records(count, file)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begin = time.perf_counter()
        write_page(document(read_folders([file])), path)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"written  {seconds:.1f} s, {path.stat().st_size / 2**20:.1f} MiB; memory {before:.0f} -> {peak:.0f} MiB")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(path.as_uri())
            page.locator("#plot .main-svg").first.wait_for()
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            print(f"opened   first paint after {paint:.0f} ms")
            figures = measure(page)
            browser.close()
    return [
        *figures,
        Figure("written", seconds, "s"),
        Figure("memory for writing", peak - before, "MiB"),
        Figure("first paint", paint, "ms"),
    ]
