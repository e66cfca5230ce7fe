"""Runs of one recipe that differ only in their seed become one row; rows of a sweep get times measured elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from benchmark.leaderboard.rows import Row
from benchmark.types import Result


def pooled(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the runs of each recipe as one row, at the place of the newest of them.

    Runs are pooled if they are good records of the same network, options, code, learning rate, steps, recipe, images,
    protocol and conditions; of two runs with one seed the newer counts. What has been edited, contradicts an older
    record or was labelled by the user keeps its own row. ``rows`` are oldest first.
    """
    groups: dict[str, dict[str, Row]] = {}
    places: dict[int, str] = {}
    for place, row in enumerate(rows):
        key = _training(row)
        if key is not None:
            seed = _seed(row.result)
            groups.setdefault(key, {})[seed] = row
            places[place] = key
    last = {key: place for place, key in places.items()}
    found = []
    for place, row in enumerate(rows):
        key = places.get(place)
        if key is None:
            found.append(row)
        elif last[key] == place:
            runs = tuple(groups[key][seed] for seed in sorted(groups[key], key=lambda seed: (len(seed), seed)))
            found.append(replace(runs[0], runs=runs))
    return found


def with_times(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Return the rows, each with the timings of the newest of ``others`` that ran the same network without scores.

    Time does not depend on the weights, so a sweep's networks are timed apart from their training.
    """
    timed = {_network(row.result): row for row in others if row.is_timed and not row.is_scored}
    return [replace(row, timed=timed.get(_network(row.result))) if row.runs else row for row in rows]


def _network(result: Result) -> str:
    return json.dumps([result.model, result.spec.options, result.spec.code], sort_keys=True)


def _seed(result: Result) -> str:
    return (result.weights or {}).get("seed", "")


def _training(row: Row) -> str | None:
    """Return what runs must share to be one row; None for a row that is not one of several trainings."""
    result, weights = row.result, row.result.weights or {}
    if row.runs or not (row.training and row.is_fair and row.is_scored) or "label" in weights or not _seed(result):
        return None
    spec = result.spec.model_dump(mode="json", exclude={"weights_digest", "seed"})
    own = [weights.get(key) for key in ("recipe_digest", "lr", "step", "data_digest")]
    return json.dumps([spec, own, result.data, sorted(result.measurements)], sort_keys=True, default=str)
