"""The origin of a row's numbers, as the side panel shows it: record, machine, versions, weights, and commands."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.leaderboard.rows import Row
from benchmark.pairing import FLAGS
from benchmark.standin.kinds import original_of
from benchmark.types import Result
from benchmark.units import counted
from zoo.trained import shipped_weights

NO_IMAGES = "uniform noise"


def provenance(row: Row) -> dict[str, Any]:
    """Return the provenance of a row's record, JSON-ready, without its environment."""
    result = row.result
    spec, source = result.spec, result.source
    return {
        "key": result.key,
        "file": source.file.name if source else "",
        "number": source.number or 0 if source else 0,
        "created": result.created,
        "seconds": round(result.seconds, 1),
        "error": result.error,
        "notes": row.remarks,
        "skipped": result.num_skipped,
        "data": {"digest": spec.dataset_digest, **{key: result.data[key] for key in sorted(result.data)}},
        "protocol": f"{result.protocol.name}, version {result.protocol.version}: {result.protocol.text}",
        "code": spec.code,
        "weights": dict(sorted((result.weights or {}).items())),
        "runs": [_run(run.result) for run in row.runs] if len(row.runs) > 1 else [],
        "timed": str(row.timed.result.source or "") if row.timed else "",
        "conditions": conditions_text(result),
        "commands": commands(row),
        "remark": commands_remark(row),
    }


def _run(result: Result) -> dict[str, Any]:
    """Return what tells one training of a row from the others."""
    weights = result.weights or {}
    scores = {id: one for id, one in result.measurements.items() if one.kind == "score"}
    return {
        "seed": weights.get("seed", ""),
        "sha256": weights.get("sha256", ""),
        "record": str(result.source or ""),
        "scores": {id: one.model_dump(mode="json")["value"] for id, one in scores.items()},
    }


def conditions_text(result: Result) -> str:
    """Return device, precision, backend, tiles, threads and seed."""
    conditions = result.spec.conditions
    words = conditions.words(usual=True, approximate=result.is_approximate)
    return ", ".join([*words, counted(conditions.threads or 1, "thread"), f"seed {result.spec.seed}"])


def commands(row: Row) -> list[str]:
    """Return the shell commands that measure a record again."""
    result = row.result
    commit = result.environment.commit
    lines = [f"git checkout {shlex.quote(commit)}"] if commit else []
    if sweep := _sweep(result):
        own_data = not row.is_standin or "label" in result.data
        return [*lines, in_lines(["zoo-bench", "sweep", sweep, *["--set", "recipe.data_root=DATA"] * own_data])]
    if result.spec.dataset_digest == NO_IMAGES or not result.spec.evaluate:
        return [*lines, in_lines(_costs_command(result))]
    runs = [_run_command(run.result, row.is_standin) for run in row.runs or (row,)]
    return [*lines, *dict.fromkeys(map(in_lines, runs))]


def in_lines(parts: Sequence[str], width: int = 62) -> str:
    """Return a shell command; lines wider than ``width`` are continued on a new line before a flag."""
    lines, line = [], ""
    for part, following in zip(parts, [*parts[1:], "--"]):
        word = shlex.quote(part)
        ahead = 0 if following.startswith("--") else len(following) + 3
        if line and part.startswith("--") and len(line) + len(word) + ahead >= width:
            lines.append(line)
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


def commands_remark(row: Row) -> str:
    """Return what the reader must add to the commands."""
    parts = []
    if row.result.environment.dirty:
        parts.append("The checkout had changes that were not committed: its code cannot be had again exactly.")
    if _sweep(row.result):
        points = f"{len(row.runs)} points" if len(row.runs) > 1 else "One point"
        parts.append(
            f"{points} of a sweep, which trains and tests all of them; a sweep of your own is named by its file."
        )
        return " ".join(parts)
    if not row.is_standin and row.result.spec.evaluate:
        parts.append("Put the folder of your copy of the data for DIR.")
    if row.result.spec.conditions.tile == "auto" and any(tiling.tile for tiling in row.result.tilings):
        parts.append("Which tiles auto takes depends on machine and memory limit: the notes name them, as --tile HxW.")
    if _needs_weights(row.result, row.is_standin):
        parts.append("The weights file is recognised by its sha256.")
    if row.result.measurements and not row.result.spec.evaluate:
        parts.append("Only costs and times: no images were passed through the network.")
    return " ".join(parts)


def _sweep(result: Result) -> str | None:
    """Return the sweep that a record belongs to; records of earlier versions name it in a note alone."""
    if about := result.training.get("sweep"):
        return str(about["name"])
    note = next((note for note in result.notes if note.startswith("sweep ")), "")
    return note.removeprefix("sweep ").partition(",")[0] if result.options != result.spec.options and note else None


def _costs_command(result: Result) -> list[str]:
    shapes = [m.input_shape for m in result.measurements.values() if m.input_shape]
    command = ["zoo-bench", *_seed(result), "profile", result.model]
    command += ["--size", f"{shapes[0][2]}x{shapes[0][3]}"] if shapes else []
    timed = any(m.kind == "timing" for m in result.measurements.values())
    command += ["--measure", *result.spec.conditions.flags()] if timed else []
    return command + [part for key, value in _options(result) for part in ("--set", f"{key}={value}")]


def _run_command(result: Result, standin: bool) -> list[str]:
    spec = result.spec
    dataset = original_of(result.dataset) if standin or "label" in result.data else result.dataset
    label = [] if standin or "label" not in result.data else ["--name", str(result.data["label"])]
    standin = standin and not result.data.get("from_photographs")
    command = ["zoo-bench", *_seed(result), "run", "--dataset", dataset]
    command += [] if standin else ["--data-root", "DIR"]
    for name, flag in FLAGS.items():
        value = result.data.get(name)
        command += [] if value is None else [flag] if value is True else [flag, str(value)]
    command += label
    command += ["--models", result.model, "--split", result.split]
    command += ["--limit", str(spec.limit)] if spec.limit else []
    command += ["--metrics", ",".join(spec.metrics)] if spec.metrics else []
    for key, value in _options(result):
        command += ["--set", f"{result.model}.{key}={value}"]
    if _needs_weights(result, standin):
        named = f"{result.model}@{result.label}" if result.label else result.model
        command += ["--weights", f"{named}={(result.weights or {}).get('name', 'FILE')}"]
    command += ["--exact"] if spec.scoring == "float64" else []
    command += ["--skip-bad"] if spec.skip_bad else []
    command += ["--partial"] if result.part else []
    return [*command, *result.spec.conditions.flags(), "--sizes", _sizes(result)]


def _seed(result: Result) -> list[str]:
    return ["--seed", str(result.spec.seed)] if result.spec.seed else []


def _options(result: Result) -> list[tuple[str, str]]:
    """Return the options as ``--set`` takes them, by name."""
    options = sorted(result.spec.options.items())
    return [(key, ",".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in options]


def _sizes(result: Result) -> str:
    """Return the sizes at which time was measured, as --sizes takes them."""
    suffixes = {name.partition("@")[2] for name in result.spec.profilers if name.startswith("latency")}
    names = [name for suffix, name in (("", "dataset"), ("1mpix", "1mpix"), ("12mp", "12mp")) if suffix in suffixes]
    return ",".join(names) or "none"


def _needs_weights(result: Result, standin: bool) -> bool:
    """Whether the user must give the weights; weights in the package are found, but only for stand-in data."""
    if result.weights is None:
        return False
    shipped = shipped_weights(result.model) if standin else None
    return shipped is None or _sha256(shipped) != result.weights.get("sha256")


@functools.cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
