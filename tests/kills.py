"""Kill commands at random moments; then nothing reported as done is lost, no name stands for half a file, and the same
command given again ends well.

    python tests/kills.py --count 30 --seed 0 [--verbs run,train]

Each verb runs once in peace, which gives its outcome and how long it takes. Then it is killed: at a moment between
0.1 s and that time or, every other time, right after the n-th change of its folder, where files are being written. The
process alone gets the signal, or its whole group. Prints a line per kill and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).parent.parent
TINY = ROOT / "tests" / "plugins" / "tiny.py"
sys.path.insert(0, str(ROOT))

from benchmark.results.records import digest_of  # noqa: E402
from benchmark.results.store import image_scores, read_results  # noqa: E402
from benchmark.training.checkpoints import read_state  # noqa: E402

RECIPE = """
model: tiny_net
dataset: tiny
max_steps: 60
batch_size: 2
crop: 16
lr: 1e-2
device: cpu
threads: 1
checkpoint_every: 2
log_every: 5
validation: {every: 20}
"""
SWEEP = """
recipe: {dataset: tiny, max_steps: 8, batch_size: 2, crop: 16, lr: 1e-2, device: cpu, checkpoint_every: 2}
families: [{name: wide, model: tiny_net, option: width, values: [1, 2]}]
evaluation: {metrics: ["psnr[rgb]"], train_images: 2}
plot: {error: mse}
"""
# A stand-in as small as it can be, so that the embedded one takes a second.
SMALL = """
import dataclasses
from benchmark.standin import sidd, zrr
from benchmark.standin.photographs import TEST_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS
sidd.DEFAULT_PLAN = sidd.ScenePlan(*[TEST_PHOTOGRAPHS[:1]] * 3, size=32)
"""
# Locks are left behind, and so is what was being written beside a name when the process was killed.
_BESIDE = re.compile(r"\..*\.(lock|part)|.*\.part|\..*\.begun")


@dataclass(frozen=True)
class Verb:
    """A command to kill. ``prepare`` fills a folder, ``outcome`` is what must be the same however often it was killed.

    ``lost`` yields what was reported as done, before the kill or by the killed process's text, and is gone.
    """

    command: list[str]
    prepare: Callable[[Path], None]
    outcome: Callable[[Path], Any]
    lost: Callable[[Path, Path, str], Iterator[str]] = lambda before, after, said: iter(())
    # What the command may say when it had ended before the signal came and is given again.
    done_already: str = ""
    # Files with one of two contents, that of before and that of the end, and nothing between.
    replaced: tuple[str, ...] = ()


def zoo_bench(folder: Path, *arguments: str) -> list[str]:
    plugins = ["--plugin", str(TINY), *(["--plugin", "small.py"] if (folder / "small.py").exists() else [])]
    return [sys.executable, "-m", "benchmark.cli", *plugins, *arguments]


def start(folder: Path, arguments: list[str], said: Any) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TINY_DELAY": "0.05"}
    environment |= {"ZOO_BENCH_CACHE": str(folder / "cache")}
    command = zoo_bench(folder, *arguments)
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True)


def run_whole(folder: Path, arguments: list[str]) -> tuple[int, str]:
    with (folder / "said").open("wb+") as said:
        code = start(folder, arguments, said).wait(timeout=300)
        said.seek(0)
        return code, said.read().decode()


# --- what is prepared, what comes out -----------------------------------------------------------------------


def prepare_records(folder: Path) -> None:
    for models in ("tiny_free", "tiny_net"):
        code, said = run_whole(folder, [*RUN, "--models", models, "--limit", "2"])
        assert code == 0, said


def records(folder: Path) -> Any:
    found = read_results(folder / "out" / "results.jsonl") if (folder / "out" / "results.jsonl").exists() else []
    scores = ((r.model, r.n, r.status, r.is_edited, image_scores(r)) for r in found)
    return sorted(map(json.dumps, scores))


def lost_records(before: Path, after: Path, said: str) -> Iterator[str]:
    text = (after / "out" / "results.jsonl").read_bytes()
    if not text.startswith((before / "out" / "results.jsonl").read_bytes()):
        yield "records from before are gone"
    yield from records_without_scores(after)
    journals = [len(path.read_bytes().splitlines()) for path in (after / "out" / "scores").glob("*.jsonl")]
    for model, count in re.findall(r"^(tiny_\w+): (\d+)/4$", said, re.M):
        if max(journals, default=0) < int(count):
            yield f"{model} reported {count} images; the journals have {journals}"


def records_without_scores(folder: Path) -> Iterator[str]:
    for record in read_results(folder / "out" / "results.jsonl"):
        if record.spec.metrics and not image_scores(record):
            yield f"{record.source} has lost its scores per image"


def lost_by_drop(before: Path, after: Path, said: str) -> Iterator[str]:
    keys = [record.key for record in read_results(after / "out" / "results.jsonl") if record.model == "tiny_net"]
    kept = [record.key for record in read_results(before / "out" / "results.jsonl") if record.model == "tiny_net"]
    if keys != kept:
        yield "a record that was not meant is gone"
    yield from records_without_scores(after)


def prepare_old_records(folder: Path) -> None:
    prepare_records(folder)
    file = folder / "out" / "results.jsonl"
    lines = []
    for line in file.read_text().splitlines():
        value = {**json.loads(line), "record_schema": 1}
        del value["digest"]
        lines.append(json.dumps(value))
    file.write_text("\n".join(lines) + "\n")


def migrated(folder: Path) -> Any:
    lines = [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]
    return [(line["model"], line["record_schema"], line.get("digest") == digest_of(line)) for line in lines]


def lost_by_migrate(before: Path, after: Path, said: str) -> Iterator[str]:
    if records(before) != records(after):
        yield "records or scores differ"


def prepare_recipe(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)


def prepare_sweep(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)


def trained(folder: Path) -> Any:
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    log = [(line["kind"], line["step"], line.get("loss"), line.get("scores")) for line in lines]
    return [log, tensors(folder / "run" / "weights.safetensors")]


def tensors(file: Path) -> Any:
    with safe_open(file, "pt") as content:
        return {key: content.get_tensor(key).tolist() for key in content.keys()}  # noqa: SIM118


def lost_by_train(before: Path, after: Path, said: str) -> Iterator[str]:
    log = after / "run" / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    steps = [int(step) for line in lines for step in re.findall(r'"kind": "checkpoint", "step": (\d+)', line)]
    state = read_state(after / "run")
    if steps and (state is None or state.step < max(steps)):
        yield f"the log has a checkpoint of step {max(steps)}, the state is of {state.step if state else 'none'}"


def swept(folder: Path) -> Any:
    found = sorted(read_results(folder / "out" / "results.jsonl"), key=lambda record: record.options["family"])
    found.sort(key=lambda record: record.options["width"])
    scores = [{k: m.value for k, m in r.measurements.items() if m.kind == "score"} for r in found]
    return [scores, (folder / "out" / "error_over_params.png").exists(), len(found)]


def lost_by_sweep(before: Path, after: Path, said: str) -> Iterator[str]:
    file = after / "out" / "results.jsonl"
    done = read_results(file) if file.exists() else []
    reported = re.findall(r"^(\d)/2 ", said, re.M)
    if reported and len(done) < int(reported[-1]):
        yield f"{reported[-1]} points were reported, {len(done)} records are there"


def prepare_tables(folder: Path) -> None:
    prepare_records(folder)
    (folder / "tables").mkdir()
    for name in ("tiny.md", "README.md"):
        (folder / "tables" / name).write_text("older\n" * 20000)


def contents(*names: str) -> Callable[[Path], Any]:
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes().hex()
        for name in names
        for path in sorted(folder.glob(name))
        if path.is_file() and not _BESIDE.fullmatch(path.name)
    }


def prepare_baseline(folder: Path) -> None:
    prepare_records(folder)
    code, said = run_whole(folder, ["check", "--baseline", "base.jsonl", "--results", "out", "--update"])
    assert code == 0, said
    code, said = run_whole(folder, [*RUN, "--models", "tiny_free"])
    assert code == 0, said


def prepare_photos(folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(3):
        pixels = np.random.RandomState(number).randint(0, 256, (60, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((480, 480)).save(folder / "photos" / f"{number}.png")


def prepare_small(folder: Path) -> None:
    (folder / "small.py").write_text(SMALL)


def prepare_weights(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {"0.weight": (4, 4, 3, 3), "0.bias": (4,), "2.weight": (12, 4, 3, 3), "2.bias": (12,)}
    torch.save({key: torch.rand(size) for key, size in sizes.items()}, folder / "net.pth")


def prepare_images(folder: Path) -> None:
    for number in range(3):
        mosaic = np.random.RandomState(number).randint(64, 1024, (600, 800)).astype(np.uint16)
        Image.fromarray(mosaic).save(folder / f"raw{number}.png")
        np.save(folder / f"planes{number}.npy", np.random.rand(1, 4, 300, 400).astype(np.float32))


RUN = ["run", "--dataset", "tiny", "--sizes", "none", "--metrics", "psnr[rgb]", "--out", "out"]
IMAGES = [f"{kind}{number}.{end}" for number in range(3) for kind, end in (("raw", "png"), ("planes", "npy"))]
VERBS = {
    "run": Verb([*RUN, "--models", "tiny_free,tiny_net"], prepare_records, records, lost_records),
    "train": Verb(["train", "recipe.yaml", "-o", "run", "--resume"], prepare_recipe, trained, lost_by_train),
    "sweep": Verb(["sweep", "sweep.yaml", "-o", "out", "--workers", "1"], prepare_sweep, swept, lost_by_sweep),
    "drop": Verb(
        ["results", "drop", "out/results.jsonl", "--model", "tiny_free"],
        prepare_records,
        records,
        lost_by_drop,
        "no record in",
        ("out/results.jsonl",),
    ),
    "migrate": Verb(
        ["results", "migrate", "out/results.jsonl"],
        prepare_old_records,
        migrated,
        lost_by_migrate,
        replaced=("out/results.jsonl",),
    ),
    "leaderboard": Verb(
        ["leaderboard", "--results", "out", "--out", "tables"],
        prepare_tables,
        contents("tables/*"),
        replaced=("tables/tiny.md", "tables/README.md"),
    ),
    "html": Verb(
        ["leaderboard", "--results", "out", "--html", "page.html"],
        prepare_tables,
        contents("page.html"),
        replaced=("page.html",),
    ),
    "check": Verb(
        ["check", "--baseline", "base.jsonl", "--results", "out", "--update"],
        prepare_baseline,
        contents("base.jsonl"),
        replaced=("base.jsonl",),
    ),
    "make": Verb(["data", "make", "zrr", "--photos", "photos", "--out", "made"], prepare_photos, contents("made/**/*")),
    "make-embedded": Verb(
        ["data", "make", "sidd", "--out", "made"], prepare_small, contents("made/**/*"), done_already="is not empty"
    ),
    "import": Verb(
        ["weights", "import", "tiny_net", "net.pth", "-o", "out.safetensors"],
        prepare_weights,
        # Not its bytes: safetensors writes the metadata in another order each time.
        lambda folder: tensors(folder / "out.safetensors"),
    ),
    "infer": Verb(["infer", "tiny_net", *IMAGES, "-o", "out", "--random-weights"], prepare_images, contents("out/*")),
}


# --- killing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A verb's folder before and after one run in peace, how long that took, and how often its folder changed."""

    verb: Verb
    before: Path
    after: Path
    seconds: float
    changes: int


def look(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                stat = os.stat(os.path.join(path, file))
            except OSError:
                continue
            if file != "said":
                found.append((os.path.join(path, file), stat.st_size, stat.st_mtime_ns))
    return found


def learn(verb: Verb, folder: Path) -> Known:
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True)
    verb.prepare(before)
    shutil.copytree(before, after)
    begin, changes, state = time.monotonic(), 0, look(after)
    with (after / "said").open("wb") as said:
        process = start(after, verb.command, said)
        while process.poll() is None:
            now = look(after)
            changes += now != state
            state = now
    if process.returncode != 0:
        raise SystemExit(f"{verb.command}: {(after / 'said').read_text()}")
    return Known(verb, before, after, time.monotonic() - begin, changes)


def kill_once(known: Known, folder: Path, draw: random.Random) -> tuple[str, list[str]]:
    """Return when the command was killed, and what was wrong afterwards."""
    shutil.copytree(known.before, folder)
    number = draw.randint(1, known.changes) if known.changes and draw.random() < 0.5 else 0
    moment = draw.uniform(0.1, max(0.2, known.seconds))
    whole_group = draw.random() < 0.5
    with (folder / "said").open("wb+") as said:
        begin, changes, state = time.monotonic(), 0, look(folder)
        process = start(folder, known.verb.command, said)
        while process.poll() is None and (changes < number if number else time.monotonic() - begin < moment):
            now = look(folder) if number else state
            changes += now != state
            state = now
        ended = process.poll() is not None
        if not ended:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        survivors = wait_for_children(folder)
        said.seek(0)
        text = said.read().decode(errors="replace")
    when = f"change {number}" if number else f"{moment:.2f} s"
    when += " (ended before)" if ended else ", the group" if whole_group else ""
    wrong = ["children outlive it by 20 s"] if survivors else []
    for child in survivors:
        os.kill(child, signal.SIGKILL)
    return when, wrong + list(judge(known, folder, text))


def wait_for_children(folder: Path) -> list[int]:
    """Return the processes that still work in a folder, at the latest after 20 seconds; Linux tells which they are."""
    for _ in range(400):
        living = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cwd") if works_in(path, folder)]
        if not living:
            break
        time.sleep(0.05)
    return living


def works_in(link: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(link)).is_relative_to(folder)
    except OSError:
        return False


def judge(known: Known, folder: Path, said: str) -> Iterator[str]:
    verb = known.verb
    if "Traceback" in said:
        yield f"a traceback: {said[-300:]}"
    yield from half_files(known, folder)
    try:
        yield from verb.lost(known.before, folder, said)
    except Exception as error:
        yield f"what is left cannot be read: {error!r}"
    code, text = run_whole(folder, verb.command)
    if code != 0 and not (verb.done_already and verb.done_already in text):
        yield f"given again it exits with {code}: {text[-300:]}"
        return
    if verb.outcome(folder) != verb.outcome(known.after):
        yield "given again it ends with something else"


def half_files(known: Known, folder: Path) -> Iterator[str]:
    """Yield the files that stand under their final name and are not whole."""
    for name in known.verb.replaced:
        versions = [(side / name).read_bytes() for side in (known.before, known.after) if (side / name).exists()]
        if (folder / name).exists() and (folder / name).read_bytes() not in versions and not is_migration(name):
            yield f"{name} is neither the file of before nor that of the end"
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or _BESIDE.fullmatch(path.name) or path.name == "said" or "cache" in path.parts:
            continue
        try:
            read_whole(path)
        except Exception as error:
            yield f"{path.relative_to(folder)} is half a file: {error!r}"


def is_migration(name: str) -> bool:
    """Records of runs have times of their own: they are compared line by line."""
    return name.endswith("results.jsonl")


def read_whole(path: Path) -> None:
    if path.suffix in (".png", ".jpg"):
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        # A torn last line of a file that only grows is taken away by the next writer.
        for line in path.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".safetensors":
        tensors(path)
    elif path.name == "state.pt":
        read_state(path.parent)
    elif path.suffix in (".md", ".html", ".csv", ".yaml") and path.stat().st_size == 0:
        raise ValueError("it is empty")


def main(arguments: list[str] | None = None) -> int:
    """Kill ``--count`` times and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", default=",".join(VERBS), help="of " + ", ".join(VERBS))
    given = parser.parse_args(arguments)
    draw, names, failures = random.Random(given.seed), given.verbs.split(","), 0
    known: dict[str, Known] = {}
    with tempfile.TemporaryDirectory(prefix="kills") as base:
        for number in range(given.count):
            name = names[number % len(names)]
            if name not in known:
                known[name] = learn(VERBS[name], Path(base) / name)
            folder = Path(base) / f"{name}-{number}"
            when, wrong = kill_once(known[name], folder, draw)
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{number + 1:4} {name:14} {when:28} {'; '.join(wrong) or 'ok'}", flush=True)
            failures += bool(wrong)
    print(f"{given.count} kills, {failures} with something wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
