"""``data check`` of 10,000 files against plain hashing of the same files, and its memory.

    python -m speed datacheck [FILES]      # goal: limited by the disk or by hashing and decoding, not by Python

Files are in the real layout of ZRR, 448x448, written into a temporary folder (about 140 kB each): a few different
pairs, each a little noisier than the last, hard to compress like real ones. In one run: sha256 of every file (one
thread and all), sha256 and plain Pillow decoding in as many threads, the check, the check again (remembered).
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.datacheck.checking import check_dataset
from benchmark.datasets import zrr
from speed.figures import Figure

DIFFERENT = 12


def write_files(root: Path, pairs: int) -> None:
    """Write ``pairs`` train pairs; the same dozen pixels under names of their own, each a file of its own."""
    random = np.random.default_rng(0)
    contents = []
    for index in range(DIFFERENT):
        waves = np.cumsum(np.cumsum(random.standard_normal((448, 448, 3)), 0), 1)
        scene = (waves - waves.min()) / np.ptp(waves)
        raw = np.rint(64 + 700 * scene[..., 1] ** 2.2 + (3 + index) * random.standard_normal((448, 448)))
        streams = io.BytesIO(), io.BytesIO()
        Image.fromarray(raw.clip(0, 1023).astype(np.uint16)).save(streams[0], "PNG", compress_level=3)
        noisy = 255 * scene + 4 * random.standard_normal(scene.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(streams[1], "JPEG", quality=92)
        contents.append([stream.getvalue() for stream in streams])
    for folder in ("train/huawei_raw", "train/canon", "test/huawei_raw", "test/canon"):
        (root / folder).mkdir(parents=True)
    for number in range(pairs):
        for folder, suffix, content in zip(("huawei_raw", "canon"), (".png", ".jpg"), contents[number % DIFFERENT]):
            (root / "train" / folder / f"{number}{suffix}").write_bytes(content)


def hash_only(path: Path) -> int:
    """Return the file's size, having hashed it."""
    content = path.read_bytes()
    sha256(content).digest()
    return len(content)


def hash_and_decode(path: Path) -> int:
    """Return the file's size, having hashed and decoded it, and nothing else."""
    content = path.read_bytes()
    sha256(content).digest()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    return len(content)


def in_threads(work: Callable[[Path], int], files: Sequence[Path], threads: int) -> int:
    """Return the bytes of all files, worked on in chunks."""

    def chunks() -> Iterator[list[Path]]:
        remaining = iter(files)
        while chunk := list(islice(remaining, 16)):
            yield chunk

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda chunk: sum(map(work, chunk)), chunks()))


def peak_memory(*, reset: bool = False) -> int:
    """Return the largest resident set so far in KiB (Linux); ``reset`` forgets earlier peaks first."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main() -> list[Figure]:
    """Print MB/s of each way; return their ratios, and the memory that the check took."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "zrr"
        os.environ["ZOO_BENCH_CACHE"] = str(Path(folder) / "cache")
        write_files(root, files // 2)
        zrr.PUBLISHED_COUNTS = {"train": files // 2, "test": 0}
        paths = sorted(root.glob("train/*/*"))
        size = in_threads(hash_only, paths, threads) / 1e6  # and the files are in the page cache
        small = Path(folder) / "small"
        write_files(small, 50)
        zrr.PUBLISHED_COUNTS = {"train": 50, "test": 0}
        check_dataset("zrr", small)  # imports, buffers
        zrr.PUBLISHED_COUNTS = {"train": files // 2, "test": 0}
        before = peak_memory(reset=True)
        ways: dict[str, Callable[[], object]] = {
            "check": lambda: check_dataset("zrr", root),
            "check again": lambda: check_dataset("zrr", root),
            "sha256, 1 thread": lambda: in_threads(hash_only, paths, 1),
            f"sha256, {threads} threads": lambda: in_threads(hash_only, paths, threads),
            f"sha256 + decode, {threads} threads": lambda: in_threads(hash_and_decode, paths, threads),
        }
        seconds, grown = {}, 0.0
        for name, way in ways.items():
            begin, busy = time.perf_counter(), time.process_time()
            way()
            seconds[name] = time.perf_counter() - begin
            cores = (time.process_time() - busy) / seconds[name]
            print(f"{name:28} {seconds[name]:7.2f} s {size / seconds[name]:8.0f} MB/s {cores:5.2f} cores", flush=True)
            if name == "check":
                grown = (peak_memory() - before) / 1024
    plain, decoding = f"sha256, {threads} threads", f"sha256 + decode, {threads} threads"
    print(f"{len(paths)} files, {size:.0f} MB")
    return [
        Figure("check / sha256", seconds["check"] / seconds[plain], "x"),
        Figure("check / (sha256 + decode)", seconds["check"] / seconds[decoding], "x"),
        Figure("remembered / sha256", seconds["check again"] / seconds[plain], "x"),
        Figure("growth of the peak memory", grown, "MiB"),
    ]
