"""The choice of a learning rate for each member of a sweep: short trainings, scored on held-out images, by one rule.

The two rates in the middle of the grid are tried first, then the neighbours of the best one, until both neighbours of
the best are worse or the grid ends. All trainings of a search have the sweep's first seed. The rate with the best score
at the end is taken, of equal ones the smallest. The test images have no part in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.metrics import METRICS
from benchmark.results.jsonl import append_line, read_lines
from benchmark.sweeping.messages import Trained
from benchmark.sweeping.points import Member, Point, Splits, decisive
from benchmark.sweeping.settings import Search, SweepPlan
from benchmark.training.recipe import Recipe

# Not beside the records, because every *.jsonl there holds records.
SEARCHES = "points/search.jsonl"
# By member: the score of each rate (None: the training failed).
Found = dict[Member, dict[float, float | None]]


@dataclass(frozen=True)
class Probe:
    """One short training of a search: a point whose recipe has one rate of the grid."""

    point: Point
    key: str


def probes_of(plan: SweepPlan, points: Sequence[Point], splits: Splits) -> list[Probe]:
    """Return the probes of each member of ``points`` for every rate of the grid, in their order."""
    search = plan.sweep.search
    if search is None:
        return []
    first = {point.member: point for point in reversed(points) if point.seed == plan.sweep.seeds[0]}
    ordered = dict.fromkeys(point.member for point in points)
    probes = []
    for point in (first[member] for member in ordered):
        for rate in search.lr:
            recipe = _probe_recipe(point.recipe, search, rate)
            asked = replace(point, recipe=recipe, rate=rate)
            decides = decisive(plan, asked, splits) | {"search": [search.metric, search.limit]}
            text = json.dumps(decides, sort_keys=True)
            probes.append(Probe(asked, hashlib.sha256(text.encode()).hexdigest()[:20]))
    return probes


def _probe_recipe(recipe: Recipe, search: Search, rate: float) -> Recipe:
    validation = recipe.validation.model_copy(
        update={"every": search.max_steps, "limit": search.limit, "metrics": [search.metric], "pictures": 0}
    )
    changed = {"lr": rate, "lr_rule": None, "max_steps": search.max_steps, "epochs": None, "validation": validation}
    return recipe.model_copy(update=changed)


def known_scores(folder: Path, probes: Iterable[Probe]) -> dict[str, float]:
    """Return the scores of earlier searches in ``folder`` by the probes' keys."""
    keys = {probe.key for probe in probes}
    lines = read_lines(folder / SEARCHES)
    return {
        line["key"]: float(line["score"]) for line in lines if line.get("key") in keys and line["score"] is not None
    }


def keep_score(folder: Path, plan: SweepPlan, probe: Probe, trained: Trained | None, error: str | None) -> float | None:
    """Append the score of a probe that has ended to the folder's searches; return it, None if it failed."""
    search = plan.sweep.search
    assert search is not None
    score = None if trained is None else trained.training["scores"].get(search.metric)
    score = score if isinstance(score, float) else None
    line = {
        "key": probe.key,
        "family": probe.point.family.name,
        "value": probe.point.value,
        "seed": probe.point.seed,
        "lr": probe.point.rate,
        "steps": search.max_steps,
        "metric": search.metric,
        "score": score,
        "error": error,
    }
    append_line(folder / SEARCHES, line)
    return score


def rule_text(search: Search, split: str) -> str:
    """Return the rule in words, as records hold it; its rates and steps are part of a recipe's digest."""
    rates = ", ".join(f"{rate:g}" for rate in search.lr)
    return f"best {search.metric} on {split} after {search.max_steps} steps, of {rates}"


def choose(search: Search, scores: Mapping[float, float | None]) -> float:
    """Return the rate with the best score, of equal ones the smallest; the smallest of the grid if all failed."""
    sign = 1.0 if METRICS.get(search.metric).higher_is_better else -1.0
    good = {rate: sign * score for rate, score in scores.items() if score is not None}
    return min(good, key=lambda rate: (-good[rate], rate)) if good else min(search.lr)


def missing_rates(search: Search, scores: Mapping[float, float | None]) -> list[float]:
    """Return the rates to try next, given the scores of those that were tried; empty when the search is complete."""
    grid = search.lr
    first = [grid[max(len(grid) // 2 - 1, 0)], grid[len(grid) // 2]]
    if untried := [rate for rate in first if rate not in scores]:
        return untried
    place = grid.index(choose(search, scores))
    return [rate for rate in grid[max(place - 1, 0) : place + 2] if rate not in scores]


def tried_rates(probes: Sequence[Probe], scores: Mapping[str, float | None]) -> Found:
    """Return the scores of the rates that were tried for each member; None where the training failed."""
    found: Found = {probe.point.member: {} for probe in probes}
    for probe in probes:
        if probe.key in scores:
            found[probe.point.member][probe.point.recipe.lr] = scores[probe.key]
    return found


def search_record(scores: Mapping[float, float | None], rate: float) -> list[dict[str, Any]]:
    """Return the rates with their scores and which was chosen, JSON-ready."""
    return [{"lr": lr, "score": score, "chosen": lr == rate} for lr, score in sorted(scores.items())]
