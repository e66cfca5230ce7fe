"""Mutated files and values over the verbs: ``python -m tests.mutated_inputs --count 600 --seed 0``.

Each case runs in a fork of this process. Wrong are: a traceback or an internal error, more than one line for people or
none, a line that does not name the file, more than 10 seconds or 2 GiB beyond what the libraries take.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS, BYTES = 10.0, 2 << 30
TINY = str(Path(__file__).parent / "plugins" / "tiny.py")
BOMB = "[&a [x,x,x,x,x,x,x,x,x]" + "".join(f",&{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi"))
SCALARS = [
    *("1e400", ".inf", ".nan", "-1", "0", "9" * 5000, "10000000000", "2024-13-45", "!!python/object:os.system x"),
    *("null", "true", "[]", "{}", "[1, [2]]", "{a: 1, a: 2}", "'\\x1b[2J'", '"\\0"', "*nope", "[" * 3000, "\t x", "~"),
    *("../../x", "x" * 100_000, BOMB + "]", "1:2", "0x" + "f" * 5000, "'\ud800'", "{<<: 3}", "%", "@", "- - -", "1 2"),
]
VALUES: list[Any] = [
    *(None, True, -1, 0, 10**30, 1e308, float("inf"), float("nan"), "", "\x1b[2J::error::x", "\ud800", "x" * 10_000),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, "2999-13-45", "../../x", 1.5, "nan", ["a", 1]),
]
NUMBERS = ["0", "-1", "1e9", "nan", "inf", "9" * 5000, "1000000000", "", " ", "x", "\u0663", "1.5", "0x10", "\x1b[2J"]
SIZES = ["0x0", "1e9x1e9", "1000000000x1000000000", "99999x99999", "-1x5", "x", "5x", "9" * 5000 + "x1", "1x1", "3x3x3"]
OPTIONS = [
    "100000000",
    "99999999999999999999",
    "9" * 5000,
    "nan",
    "1e400",
    "0",
    "-5",
    "",
    "[1,2]",
    "x" * 99_999,
    "None",
]


@dataclass
class Case:
    """One command: its arguments after the plug-in, and what its line must name (empty: nothing)."""

    name: str
    arguments: list[str]
    names: str = ""
    before: Callable[[], None] = field(default=lambda: None)


def write_originals(folder: Path) -> None:
    """Write one good file of each kind."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from tests.sample_records import make_record

    lines = "model: tiny_net\ndataset: tiny\nmax_steps: 1\nbatch_size: 1\ncrop: 16\nlr: 0.001\nseed: 0\n"
    lines += "options: {width: 2}\n"
    recipe = lines + "loss: [{name: mse, weight: 1.0}]\nvalidation: {limit: 1, pictures: 0}\ncheckpoint_every: 1\n"
    (folder / "recipe.yaml").write_text(recipe)
    keys = "".join(f"  {line}\n" for line in recipe.splitlines() if not line.startswith(("model", "options", "seed")))
    sweep = (
        f"recipe:\n{keys}  model: tiny_net\nfamilies: [{{name: w, model: tiny_net, option: width, values: [2, 3]}}]\n"
    )
    plot = "evaluation: {test_images: 1, train_images: 1, metrics: ['psnr[rgb]']}\nplot: {error: mse}\nseeds: [0]\n"
    (folder / "sweep.yaml").write_text(sweep + plot)
    (folder / "suite.yaml").write_text("dataset: tiny\nmodels: [tiny_free]\nlimit: 1\nsizes: [none]\nthreads: 1\n")
    (folder / "thresholds.yaml").write_text("timings: {action: warn, tolerance: 0.2}\nignore: ['a/*']\n")
    state = {"0.weight": torch.zeros(4, 4, 3, 3), "0.bias": torch.zeros(4)}
    state |= {"2.weight": torch.zeros(12, 4, 3, 3), "2.bias": torch.zeros(12)}
    save_file(state, folder / "weights.safetensors", {"model": "tiny_net", "options": '{"width": 4}'})
    np.savez(folder / "weights.npz", **{key: value.numpy() for key, value in state.items()})
    torch.save({"state_dict": state}, folder / "weights.pth")
    from benchmark.results.records import content_of

    content = [content_of(make_record(model)) for model in ("a", "b")]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    kept = [{"record": line, "scores": {"0": {"psnr[rgb]": 20.0}}, "samples": {}} for line in content]
    header = {"zoo_bench_baseline": 1, "records": 2}
    (folder / "baseline.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [header, *kept]))
    (folder / "plugin.py").write_text("from zoo import register_model\nimport torch.nn as nn\nX = 1\n")


def command_of(kind: str, file: Path, out: Path) -> list[str]:
    """Return the arguments of a command that reads ``file``."""
    base = str(file.parent / "baseline.jsonl")
    return {
        "recipe.yaml": ["train", str(file), "-o", str(out)],
        "sweep.yaml": ["sweep", str(file), "-o", str(out), "--dry-run"],
        "suite.yaml": ["run", "--suite", str(file), "--out", str(out), "--sizes", "none", "--models", "tiny_free"],
        "thresholds.yaml": ["check", "--baseline", base, "--results", base, "--config", str(file)],
        "weights.safetensors": ["weights", "import", "tiny_net", str(file), "-o", str(out / "w.safetensors")],
        "weights.npz": ["weights", "import", "tiny_net", str(file), "-o", str(out / "w.safetensors")],
        "weights.pth": ["weights", "import", "tiny_net", str(file), "-o", str(out / "w.safetensors")],
        "results.jsonl": ["compare", str(file), str(file)],
        "baseline.jsonl": ["check", "--baseline", str(file), "--results", str(file)],
        "plugin.py": ["--plugin", str(file), "list", "metrics"],
    }[kind]


def mutated(content: bytes, kind: str, draw: random.Random) -> bytes:
    """Return a file's content with one thing changed."""
    if kind.endswith(".yaml") and draw.random() < 0.8:
        lines = content.decode().splitlines()
        at = draw.randrange(len(lines))
        key = lines[at].partition(":")[0]
        lines[at] = draw.choice(
            [f"{key}: {draw.choice(SCALARS)}", f"{key}x: 1", lines[at] + "\n" + lines[at], "  " * 9]
        )
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if kind.endswith(".jsonl") and draw.random() < 0.8:
        lines = content.decode().splitlines()
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(_changed(json.loads(lines[at]), draw))
        return ("\n".join(lines) + "\n").encode()
    if kind == "weights.safetensors" and draw.random() < 0.6:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.dumps(_changed(json.loads(content[8 : 8 + length]), draw)).encode()
        size = draw.choice([len(header), len(header), 0, 1 << 40, (1 << 64) - 1])
        return struct.pack("<Q", size) + header + content[8 + length :]
    ways = ["cut", "flip", "empty", "nul", "insert", "twice", "noise"]
    way = draw.choice(ways)
    at = draw.randrange(len(content))
    noise = bytes(draw.randrange(256) for _ in range(8))
    return {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :],
        "empty": b"",
        "nul": content[:at] + bytes(64) + content[at + 64 :],
        "insert": content[:at] + noise + content[at:],
        "twice": content + content,
        "noise": noise * 20,
    }[way]


def _changed(value: Any, draw: random.Random) -> Any:
    """Return a JSON value with one of its parts replaced, at any depth."""
    if isinstance(value, (dict, list)) and value and draw.random() < 0.85:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = draw.choice(list(places))
        copy = value.copy()
        copy[place] = _changed(value[place], draw)
        return copy
    return draw.choice(VALUES)


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield ``count`` cases; the kinds take turns."""
    draw = random.Random(seed)
    kinds = sorted(path.name for path in folder.iterdir())
    for index in range(count):
        place = folder.parent / f"case{index}"
        place.mkdir()
        out = place / "out"
        out.mkdir()
        kind = kinds[index % len(kinds)]
        for path in folder.iterdir():
            shutil.copy(path, place)
        file, turn = place / kind, draw.random()
        if turn < 0.62:
            file.write_bytes(mutated((folder / kind).read_bytes(), kind, draw))
            yield Case(f"{index} mutated {kind}", command_of(kind, file, out), kind)
        elif turn < 0.72:
            file.unlink()
            what = draw.choice(["fifo", "folder", "device", "loop", "bytes"])
            if what == "fifo":
                os.mkfifo(file)
            elif what == "folder":
                file.mkdir()
            elif what == "bytes":
                file = Path(os.fsdecode(os.fsencode(place) + b"/\xff\xfe" + kind.encode()))
                shutil.copy(folder / kind, file)
            else:
                file.symlink_to("/dev/zero" if what == "device" else file)
            yield Case(f"{index} {what} {kind}", command_of(kind, file, out), kind)
        else:
            yield _value_case(index, place, out, draw)


def _value_case(index: int, place: Path, out: Path, draw: random.Random) -> Case:
    """Return a command with one wrong value."""
    number, size, option = draw.choice(NUMBERS), draw.choice(SIZES), draw.choice(OPTIONS)
    scalar = draw.choice([one for one in SCALARS if "\ud800" not in one and len(one) < 90_000])
    recipe, run = str(place / "recipe.yaml"), ["run", "--dataset", "tiny", "--models", "tiny_free", "--sizes", "none"]
    run += ["--out", str(out)]
    model, name = draw.choice(
        [
            ("awnet_4ch", "blocks"),
            ("unet", "width"),
            ("plainunet_8", "width"),
            ("hyperunet_8_8_64", "hidden"),
            ("vdn_w8", "width"),
        ]
    )
    key = draw.choice(
        ["lr", "max_steps", "batch_size", "crop", "seed", "model", "options", "loss", "validation.limit", "clip"]
    )
    choices = [
        ["profile", "tiny_net", "--size", size],
        ["profile", model, "--set", f"{name}={option}"],
        ["show", draw.choice(["x" * 99_999, "\x1b[2J", "../x", "unet "])],
        ["train", recipe, "-o", str(out), "--set", f"{key}={scalar}"],
        ["train", recipe, "-o", str(out), "--set", f"{scalar}=1"],
        [*run, "--limit", number],
        [*run, "--threads", number],
        [*run, "--memory-limit", number],
        [*run, "--tile", size],
        ["--seed", number, *run],
        ["compare", str(place / "results.jsonl"), str(place / "results.jsonl"), "--tolerance", number],
        ["data", "check", "tiny", "--workers", number],
        ["score", str(place), str(place), "--metrics", scalar],
        ["run", "--dataset", scalar, "--out", str(out)],
    ]
    arguments = draw.choice(choices)
    return Case(f"{index} value {' '.join(arguments)[:150]!r}", arguments)


def run_case(case: Case, log: Path) -> str:
    """Run one case in a fork; return what is wrong, empty if nothing is."""
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _command(case, log)
    while not (ended := os.wait4(pid, os.WNOHANG))[0]:
        if time.monotonic() - begin > 3 * SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return f"stopped after {3 * SECONDS:g} s"
        time.sleep(0.01)
    _, status, usage = ended
    text = log.read_text(errors="replace")
    return _judged(case, status, text, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss)


def _command(case: Case, log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    from benchmark.cli import main

    sys.argv = ["zoo-bench", "--plugin", TINY, *case.arguments]
    status = 99
    try:
        main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    # The tool itself lets no code of others do this.
    os.kill(os.getpid(), signal.SIGKILL) if status == 99 else _leave(status)


_leave = os._exit
_RESTING = 0


def _judged(case: Case, status: int, text: str, seconds: float, peak: int) -> str:
    lines = [line for line in text.splitlines() if line.startswith("zoo-bench: ")]
    if "Traceback" in text or "internal error" in text or os.WIFSIGNALED(status):
        return f"traceback or crash: {text[-600:]}"
    if os.WEXITSTATUS(status) not in (0, 1, 2):
        return f"exit {os.WEXITSTATUS(status)}: {text[-300:]}"
    if seconds > SECONDS or peak - _RESTING > BYTES:
        return f"{seconds:.1f} s, {peak / 2**30:.2f} GiB"
    if os.WEXITSTATUS(status) == 2 and len(lines) != 1:
        return f"{len(lines)} lines: {text[-300:]}"
    if any(len(line) > 1500 or "\x1b" in line for line in lines):
        return f"a line of {max(map(len, lines))} characters: {lines[0][:300]!r}"
    if os.WEXITSTATUS(status) == 2 and case.names and not case.names.endswith(".yaml") and case.names not in lines[0]:
        return f"does not name {case.names}: {lines[0][:300]}"
    return ""


def main() -> int:
    """Run the cases; print what is wrong and return how many were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    import resource

    import benchmark.running.run
    import benchmark.sweeping
    import benchmark.training.loop  # noqa: F401

    global _RESTING
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="mutated-") as folder:
        os.chdir(folder)
        originals = Path(folder, "originals")
        originals.mkdir()
        write_originals(originals)
        _RESTING = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for index, case in enumerate(cases(originals, given.count, given.seed)):
            if given.only is not None and index != given.only:
                continue
            found = run_case(case, Path(folder, "log"))
            if given.only is not None:
                print(case.arguments, Path(folder, "log").read_text(errors="replace")[-3000:])
            if found:
                wrong += 1
                print(f"WRONG {case.name}: {found}", flush=True)
    print(f"{given.count} cases of seed {given.seed}, {wrong} wrong")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
