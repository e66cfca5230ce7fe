"""What it costs to divide an evaluation among workers, and that it survives their deaths.

    python -m speed cluster ratio [IMAGES]     # goal: --engine ray --workers 1 takes at most 1.1 times as long as local
    python -m speed cluster scale [IMAGES]     # goal: two workers, each on one core, are 1.7 times as fast as one
    python -m speed cluster kills [IMAGES]     # goal: the record of an undisturbed run after 10 kills
    python -m speed cluster flat [IMAGES]      # goals: the driver's memory flat, its own time under 10 % of the run

Each command is one run. ``ratio``, ``scale`` and ``kills`` score ``unet_w8`` with its shipped weights, one thread per
worker, on test pairs of the ZRR stand-in, repeated to 200 (``scale``: 1,204) under other names; ``flat`` five networks
that return their input on 10,000 pairs of 64x64 pictures. ``ratio`` uses a Ray cluster that is up, as in a lab, and
also prints the start of one that the command brings up itself. In ``scale`` one worker and all that belongs to it get
one core of the machine, and two get two: a free worker of one thread takes about 1.5 cores, because it scores an image
while it computes the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.cache import cache_root
from benchmark.datasets import DATASETS
from benchmark.host import machine
from benchmark.opening import open_dataset
from benchmark.results.store import Store
from speed.figures import Figure

KILLS, SECONDS_BETWEEN = 10, 2.0
RAY = (sys.executable, "-m", "ray.scripts.scripts")
_PLUGIN = """
import torch
from zoo import register_model

for number in range(5):
    def network() -> torch.nn.Module:
        return torch.nn.Identity()
    network.__name__ = f"copy_{number}"
    register_model(task="denoise_rgb")(network)
"""
# What differs between two runs that measured the same.
_TIMES = {"created", "seconds", "phases", "environment", "source"}


def main() -> list[Figure]:
    """Run the measurement that the command line names, and return what it found."""
    what, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
    ways: dict[str, Callable[[Path, int | None], list[Figure]]] = {
        "ratio": ratio,
        "scale": scale,
        "kills": kills,
        "flat": flat,
    }
    with tempfile.TemporaryDirectory(prefix="zoo-bench-cluster-") as folder:
        return ways[what](Path(folder), count)


def ratio(folder: Path, count: int | None) -> list[Figure]:
    """Print the seconds of each engine over the same images; return their ratios."""
    pairs = repeated_pairs(folder / "data", count or 200)
    local = [seconds_of(pairs, folder / "local")]
    own = seconds_of(pairs, folder / "own", "--engine", "ray", "--workers", "1")
    address = start_cluster()
    try:
        ray = seconds_of(pairs, folder / "ray", *on(address), "--workers", "1")
        local.append(seconds_of(pairs, folder / "again"))
    finally:
        stop_cluster()
    base = sum(local) / 2
    print(f"local {local[0]:.1f} and {local[1]:.1f} s, Ray {ray:.1f} s, Ray of its own {own:.1f} s")
    return [
        Figure("Ray, 1 worker / local", ray / base, "x", at_most=1.1),
        Figure("Ray of its own, 1 worker / local", own / base, "x"),
    ]


def scale(folder: Path, count: int | None) -> list[Figure]:
    """Print the seconds of one worker on one core and of two on two cores, without and with Ray; return the ratios."""
    pairs, cores = repeated_pairs(folder / "data", count or 1204), sorted(os.sched_getaffinity(0))
    seconds: dict[str, list[float]] = {"local": [], "Ray": []}
    for number in (1, 2):
        os.sched_setaffinity(0, cores[:number])  # also for the processes that start from here
        workers = ("--workers", str(number))
        seconds["local"].append(seconds_of(pairs, folder / f"local{number}", *workers))
        address = start_cluster()
        try:
            seconds["Ray"].append(seconds_of(pairs, folder / f"ray{number}", *on(address), *workers))
        finally:
            stop_cluster()
    for engine, (one, two) in seconds.items():
        print(f"{engine:5}  1 worker {one:6.1f} s, 2 workers {two:6.1f} s")
    return [
        Figure(f"{engine}, 1 worker / 2 workers", one / two, "x", at_least=1.7)
        for engine, (one, two) in seconds.items()
    ]


def kills(folder: Path, count: int | None) -> list[Figure]:
    """Kill random worker processes while an evaluation advances; compare its record with that of an undisturbed run."""
    pairs = repeated_pairs(folder / "data", count or 200)
    seconds_of(pairs, folder / "local", "--engine", "local")
    address, killed, scored = start_cluster(), 0, 0
    try:
        flags = [*on(address), "--workers", "2"]
        process = subprocess.Popen(command(pairs, folder / "ray", *flags), stdout=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN * random.uniform(0.5, 1.5))
            now = sum(len(file.read_bytes().splitlines()) for file in (folder / "ray").glob("scores/*.jsonl"))
            # A process that had no time to score an image would be killed again and again, which is a failure.
            if killed < KILLS and now > scored and (workers := scoring_processes()):
                os.kill(random.choice(workers), signal.SIGKILL)
                killed, scored = killed + 1, now
    finally:
        stop_cluster()
    one, many = (content_of(folder / name) for name in ("local", "ray"))
    return [
        Figure("workers killed", killed, at_least=KILLS),
        Figure("exit code", process.returncode, at_most=0),
        Figure("records that differ", int(one != many), at_most=0),
    ]


def flat(folder: Path, count: int | None) -> list[Figure]:
    """Return the driver's memory late in the work beside early, and its share of the processor time."""
    count = count or 10_000
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        clean = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(clean).save(folder / "out" / f"{number:05}.png")
        Image.fromarray(np.clip(clean + rng.integers(-9, 10, clean.shape), 0, 255).astype(np.uint8)).save(
            folder / "in" / f"{number:05}.png"
        )
    plugin = folder / "copies.py"
    plugin.write_text(_PLUGIN)
    flags = ["--dataset", "pairs", "--data-root", str(folder), "--pairs", "in/* -> out/*", "--models", "copy_*"]
    flags += ["--metrics", "psnr[rgb]", "--sizes", "none", "--threads", "1", "--workers", "2", "-o", str(folder / "o")]
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "benchmark.cli", "-q", "--plugin", str(plugin), "run", *flags])
    memory: list[tuple[float, int]] = []
    own, children = 0.0, 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError):
            memory.append((time.monotonic() - begin, machine.resident_bytes(process.pid) or 0))
            own, children = processor_seconds(process.pid)
        time.sleep(0.5)
    seconds = time.monotonic() - begin
    if process.returncode:
        sys.exit(process.returncode)
    early = max(rss for at, rss in memory if at <= seconds * 0.25)
    late = max(rss for at, rss in memory)
    print(f"{count} images x 5 models in {seconds:.0f} s, {5 * count / seconds:.0f} images a second")
    return [
        Figure("most memory of the driver", late / 2**20, "MiB"),
        Figure("most memory / that of the first quarter", late / early, "x", at_most=1.1),
        Figure("the driver's processor time / the time of the run", 100 * own / seconds, "%", at_most=10),
        Figure("the driver's share of all processor time", 100 * own / (own + children), "%"),
    ]


def repeated_pairs(folder: Path, count: int) -> Path:
    """Return a ZRR folder with ``count`` test pairs, which are those of the stand-in again and again."""
    open_dataset(DATASETS.get("zrr"))  # builds the stand-in if it is not there
    source = max(cache_root().glob("zrr-standin-v*")) / "test"
    for kind in ("huawei_raw", "canon"):
        files = sorted((source / kind).iterdir(), key=lambda file: int(file.stem))
        target = folder / "test" / kind
        target.mkdir(parents=True)
        for number in range(count):
            file = files[number % len(files)]
            shutil.copyfile(file, target / f"{number}{file.suffix}")
    return folder


def command(pairs: Path, out: Path, *flags: str) -> list[str]:
    """Return the command line of an evaluation without timings."""
    flags = ("--dataset", "zrr", "--data-root", str(pairs), "--partial", "--models", "unet_w8", *flags)
    own = ["--weights", "unet_w8=shipped", "--sizes", "none", "--threads", "1", "-o", str(out)]
    return [sys.executable, "-m", "benchmark.cli", "-q", "run", *flags, *own]


def seconds_of(pairs: Path, out: Path, *flags: str) -> float:
    """Return the seconds of an evaluation in a process of its own."""
    begin = time.monotonic()
    subprocess.run(command(pairs, out, *flags), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def content_of(out: Path) -> str:
    """Return the record and the scores of a folder, without times and the environment."""
    (record,) = Store(out).results()
    content = {name: value for name, value in record.model_dump(mode="json").items() if name not in _TIMES}
    return json.dumps([content, sorted(Store(out).journal(record.key).read().items())], sort_keys=True)


def scoring_processes() -> list[int]:
    """Return the processes in which workers of Ray score images."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = Path("/proc", fields_of(process)[1])
            if b"benchmark.host.child" in (process / "cmdline").read_bytes():
                found += [int(process.name)] if b"ray::" in (parent / "cmdline").read_bytes() else []
    return found


def processor_seconds(pid: int) -> tuple[float, float]:
    """Return the processor time of a process, and that of its children that have ended."""
    fields = fields_of(Path("/proc", str(pid)))
    user, system, children_user, children_system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15])
    return user + system, children_user + children_system


def fields_of(process: Path) -> list[str]:
    """Return the fields of a process's ``stat`` behind its name: state, parent, ..."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def start_cluster() -> str:
    """Start a Ray cluster of two cores on this machine and return its address."""
    flags = ["--head", "--num-cpus", "2", "--port", "6399", "--include-dashboard", "false", "--disable-usage-stats"]
    subprocess.run([*RAY, "start", *flags], check=True, stdout=subprocess.DEVNULL)
    return "127.0.0.1:6399"


def stop_cluster() -> None:
    """End the cluster."""
    subprocess.run([*RAY, "stop"], check=True, stdout=subprocess.DEVNULL)


def on(address: str) -> list[str]:
    """Return the flags for a cluster."""
    return ["--engine", "ray", "--address", address]
