"""The numbers in a sweep's figures: a row per point, a row per member over its seeds, and the thresholds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.cleaning import csv_cell
from benchmark.metrics import ON_TRAIN, SWEEP_ERRORS
from benchmark.replacing import replace_text
from benchmark.types import Result, encode_number

DATA_FILES = ("points.csv", "points.json")
ERROR_LABELS = {"msssim": "1 - MS-SSIM", "mse": "mean squared error"}


def is_aside(id: str) -> bool:
    """Whether a score of a sweep is for its figures only: on training images, or an error that follows from a score."""
    return id.endswith(ON_TRAIN) or id in SWEEP_ERRORS.values()


def page_of_sweep(result: Result) -> str | None:
    """Return the name of the page on which a sweep shows its records; None for other records."""
    page = result.training.get("sweep", {}).get("page")
    return page if isinstance(page, str) else None


def summary_of(results: Sequence[Result]) -> dict[str, Any]:
    """Return all data of the figures of one sweep as JSON-ready values, from its records alone, in their order."""
    first = results[0]
    about, trained_on = first.training["sweep"], first.training["trained_on"]
    rows = [_row(about["error"], result) for result in results]
    members = _members(rows)
    shapes = [result.measurements["macs"].input_shape for result in results if "macs" in result.measurements]
    return {
        "sweep": about["name"],
        "title": about["title"],
        "recipe": about["recipe"],
        "dataset": first.dataset,
        "standin": bool(first.data.get("standin")),
        "trained_on": trained_on["split"],
        "tested_on": first.split,
        "train_images": trained_on["images"],
        "test_images": max(result.n for result in results),
        # How much of each split is present, for example "12 of 1204"; null for a whole split.
        "train_part": trained_on["part"],
        "test_part": first.data.get("part"),
        # The side of the square in the middle of each test image to which the errors belong; null: whole images.
        "window": first.data.get("window"),
        "input_shape": next((list(shape) for shape in shapes if shape), []),
        "error": ERROR_LABELS[about["error"]],
        "vanished": about["vanished"],
        "thresholds": thresholds(members, about["vanished"]),
        "members": members,
        "points": rows,
    }


def _row(error: str, result: Result) -> dict[str, Any]:
    def value(id: str) -> Any:
        found = result.measurements.get(id)
        return None if found is None else encode_number(found.value) if isinstance(found.value, float) else found.value

    flops = result.measurements.get("flops")
    id, about = SWEEP_ERRORS[error], result.training["sweep"]
    scores = {name: value(name) for name in sorted(result.measurements) if result.measurements[name].kind == "score"}
    return {
        "family": about["family"],
        "model": result.model,
        "option": about["option"],
        "value": about["value"],
        "seed": result.spec.seed,
        "status": result.status,
        "params": value("params"),
        "macs": value("macs"),
        "flops": value("flops"),
        **({"incomplete": flops.remark} if flops is not None and flops.is_incomplete else {}),
        "test_error": value(id),
        "train_error": value(id + ON_TRAIN),
        **scores,
        "train_seconds": value("train_seconds"),
        "failure": result.error,
    }


def _members(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean and the sample standard deviation of the errors over the seeds of each member."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] == "ok":
            groups.setdefault((row["family"], str(row["value"])), []).append(row)
    members = []
    for group in groups.values():
        shared = ("family", "model", "option", "value", "params", "macs", "flops", "incomplete")
        member = {key: group[0][key] for key in shared if key in group[0]} | {"seeds": len(group)}
        for name in ("test_error", "train_error"):
            values = [float(row[name]) for row in group]
            member[name] = math.fsum(values) / len(values)
            member[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        members.append(member)
    return members


def thresholds(members: Sequence[dict[str, Any]], vanished: float) -> dict[str, Any]:
    """Return each family's interpolation threshold: its smallest member whose training error is under ``vanished``.

    It is None if no member has such an error: the threshold was not reached.
    """
    found: dict[str, Any] = {}
    for family in dict.fromkeys(member["family"] for member in members):
        own = sorted((m for m in members if m["family"] == family), key=lambda member: member["params"])
        first = next((m for m in own if m["train_error"] < vanished), None)
        found[family] = first and {key: first[key] for key in ("option", "value", "params", "train_error")}
    return found


def write_data(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Write the points as CSV and the whole summary as JSON, atomically."""
    rows = summary["points"]
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
    contents = (text.getvalue(), json.dumps(summary, indent=2, allow_nan=False) + "\n")
    for name, content in zip(DATA_FILES, contents):
        replace_text(folder / name, content)
    return [folder / name for name in DATA_FILES]
