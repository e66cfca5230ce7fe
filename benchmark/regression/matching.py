"""Match the records of one set with those of the other.

Keys cannot be used: new code or new weights change them, and these are what a comparison examines. Two records belong
together if they have the same model, options, label, dataset, split, limit and conditions. If there are several,
records with the same part of the dataset, threads, seeds and weights file are paired first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmark.leaderboard.rows import Row, rows_of
from benchmark.results.records import newest
from benchmark.types import Result

Identity = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A row that is in both sets or only in one of them."""

    before: Row | None
    after: Row | None


def identity_of(result: Result) -> Identity:
    """Return the fields that two records of the same measurement share, as sortable text."""
    spec = result.spec
    conditions = (str(value) for name, value in spec.conditions.model_dump().items() if name != "threads")
    options = json.dumps(result.options, sort_keys=True)
    return (result.dataset, result.split, f"{spec.limit or 0:09d}", result.model, options, result.label, *conditions)


def _slot(result: Result) -> tuple[Any, ...]:
    spec = result.spec
    scored = spec.evaluate, spec.scoring, tuple(sorted(spec.metrics))
    return (spec.conditions.threads, _weights_name(result), _trained_with(result), spec.seed, *scored, result.part)


def _trained_with(result: Result) -> str:
    """Return the seed of weights that were trained by a recipe: another seed is another measurement."""
    weights = result.weights or {}
    return weights.get("seed", "") if "recipe_digest" in weights else ""


def _weights_name(result: Result) -> str:
    return (result.weights or {}).get("name", "")


# From the best match to the weakest.
_PASSES: tuple[Callable[[Result], Any], ...] = (
    lambda result: result.key,
    _slot,
    lambda result: (result.part, result.spec.conditions.threads, _weights_name(result)),
    lambda result: (result.part, result.spec.conditions.threads),
    lambda result: result.spec.conditions.threads,
    lambda result: None,
)


def rows_to_compare(results: Iterable[Result]) -> list[Row]:
    """Return a sorted list with one row per model and conditions; the newest record replaces older ones."""

    known = list(results)
    # A record that was renamed since stands under its new label alone.
    labels = {result.key: result.label for result in newest(known)}

    def place(result: Result) -> tuple[Any, ...]:
        return (result.label == labels[result.key], identity_of(result), *map(str, _slot(result)))

    rows = (row for row in rows_of(known, place) if row.result.label == labels[row.result.key])
    return sorted(rows, key=lambda row: place(row.result))


def pair_up(before: Iterable[Result], after: Iterable[Result]) -> list[Pair]:
    """Return the pairs of two sets, sorted; a row without a partner gets a pair of its own."""
    groups: dict[Identity, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, results in enumerate((before, after)):
        for row in rows_to_compare(results):
            groups[identity_of(row.result)][side].append(row)
    return [pair for key in sorted(groups) for pair in _pair_group(*groups[key])]


def _pair_group(before: list[Row], after: list[Row]) -> list[Pair]:
    pairs = []
    for likeness in _PASSES:
        for row in list(before):
            partner = next((other for other in after if likeness(other.result) == likeness(row.result)), None)
            if partner is not None:
                pairs.append(Pair(row, partner))
                before.remove(row)
                after.remove(partner)
    return [*pairs, *(Pair(row, None) for row in before), *(Pair(None, row) for row in after)]
