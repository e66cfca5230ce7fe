"""Match the records of one set with those of the other.

Keys cannot be used: new code or new weights change them, and these are what a comparison examines. Two records belong
together if they have the same model, options, label, dataset, split, limit and conditions. If there are several,
records with the same part of the dataset, threads, seeds and weights file are paired first.

Several trainings of one network by one recipe are one row (`benchmark.leaderboard.pooling`), so a recipe is compared
with another one, not a seed with a seed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from benchmark.leaderboard.pooling import pooled
from benchmark.leaderboard.rows import Row, rows_of
from benchmark.results.records import newest
from benchmark.types import Result

Identity = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A row that is in both sets or only in one of them; ``lost``: how many of its trainings are only before."""

    before: Row | None
    after: Row | None
    lost: int = 0


def identity_of(result: Result) -> Identity:
    """Return the fields that two records of the same measurement share, as sortable text."""
    spec = result.spec
    conditions = (str(value) for name, value in spec.conditions.model_dump().items() if name != "threads")
    # A sweep's records also name family and seed in their options.
    options = json.dumps(spec.options if _sweep(result) else result.options, sort_keys=True)
    return (result.dataset, result.split, f"{spec.limit or 0:09d}", result.model, options, result.label, *conditions)


def _slot(result: Result) -> tuple[Any, ...]:
    # A point of a sweep that failed has no weights.
    origin = _sweep(result) or (_weights_name(result), _trained_with(result))
    return (result.spec.conditions.threads, *origin, result.spec.seed, *_scored(result))


def _scored(result: Result) -> tuple[Any, ...]:
    spec = result.spec
    return (spec.evaluate, spec.scoring, tuple(sorted(spec.metrics)), result.part)


def _sweep(result: Result) -> tuple[str, ...]:
    """Return name and family of the sweep that a record belongs to; empty for any other record."""
    about = result.training.get("sweep", {})
    return (about["name"], about["family"]) if about else ()


def _trained_with(result: Result) -> str:
    """Return the seed of weights that were trained by a known recipe: another seed is another measurement."""
    weights = result.weights or {}
    return weights.get("seed", "") if "recipe_digest" in weights else ""


def _seed_of(row: Row) -> str:
    return _trained_with(row.result) or str(row.result.spec.seed)


def _weights_name(result: Result) -> str:
    return (result.weights or {}).get("name", "")


def _row_slot(row: Row) -> tuple[Any, ...]:
    """Return what two rows share; rows of trainings do not share seeds and names of files."""
    if not row.runs:
        return _slot(row.result)
    recipe = (row.result.weights or {}).get("recipe", "")
    return (row.result.spec.conditions.threads, recipe, *_sweep(row.result), *_scored(row.result))


def _names(row: Row) -> list[str]:
    return sorted({_weights_name(run.result) for run in row.runs or (row,)})


# From the best match to the weakest.
_PASSES: tuple[Callable[[Row], Any], ...] = (
    lambda row: sorted(run.result.key for run in row.runs or (row,)),
    lambda row: (_row_slot(row), row.training if row.runs else ""),
    lambda row: (_row_slot(row), _names(row)),
    _row_slot,
    lambda row: (row.result.part, row.result.spec.conditions.threads, _names(row)),
    lambda row: (row.result.part, row.result.spec.conditions.threads, bool(row.runs)),
    lambda row: (row.result.part, row.result.spec.conditions.threads),
    lambda row: row.result.spec.conditions.threads,
    lambda row: None,
)


def _place(result: Result) -> tuple[Any, ...]:
    return (identity_of(result), *map(str, _slot(result)))


def _current(results: Iterable[Result]) -> list[Row]:
    """Return the newest row of each place, oldest first.

    Seeds are places of their own, so what another recipe of the same name left there is taken out: it is as old as a
    record that was replaced.
    """
    known = list(results)
    # A record that was renamed since stands under its new label alone.
    labels = {result.key: result.label for result in newest(known)}
    found = rows_of(known, lambda result: (result.label == labels[result.key], _place(result)))
    rows = [row for row in found if row.result.label == labels[row.result.key]]
    latest = {_stem(row): row.training for row in rows if row.training}
    return [row for row in rows if not row.training or latest[_stem(row)] == row.training]


def _stem(row: Row) -> tuple[Any, ...]:
    result = row.result
    recipe = (result.weights or {}).get("recipe", "")
    origin = _sweep(result) or (_weights_name(result),)
    return (identity_of(result), result.spec.conditions.threads, recipe, *origin, *_scored(result))


def rows_to_compare(results: Iterable[Result]) -> list[Row]:
    """Return a sorted list with one row per model, conditions and seed; the newest record replaces older ones."""
    return sorted(_current(results), key=lambda row: _place(row.result))


def pair_up(before: Iterable[Result], after: Iterable[Result]) -> list[Pair]:
    """Return the pairs of two sets, sorted; a row without a partner gets a pair of its own."""
    groups: dict[Identity, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, results in enumerate((before, after)):
        for row in sorted(pooled(_current(results)), key=lambda row: _place(row.result)):
            groups[identity_of(row.result)][side].append(row)
    return [pair for key in sorted(groups) for pair in _pair_group(*groups[key])]


def _pair_group(before: list[Row], after: list[Row]) -> list[Pair]:
    pairs = []
    for likeness in _PASSES:
        for row in list(before):
            partner = next((other for other in after if likeness(other) == likeness(row)), None)
            if partner is not None:
                pairs.append(Pair(row, partner))
                before.remove(row)
                after.remove(partner)
    pairs = [found for pair in pairs for found in _with_single_runs(pair, before, after)]
    return [*pairs, *(Pair(row, None) for row in before), *(Pair(None, row) for row in after)]


def _with_single_runs(pair: Pair, before: list[Row], after: list[Row]) -> list[Pair]:
    """Return a pair and those of its runs that are no run in the other set, because they failed or were edited there.

    The rows that are taken from ``before`` and ``after`` are removed there.
    """
    assert pair.before is not None
    assert pair.after is not None
    first, second = pair.before.runs, pair.after.runs
    gone = [Pair(run, row) for run, row in _partners(first, pair.after, after)]
    come = [Pair(row, run) for run, row in _partners(second, pair.before, before)]
    lost = len(first) - len(second) - len(gone) if second else 0
    return [replace(pair, lost=max(lost, 0)), *gone, *come]


def _partners(runs: tuple[Row, ...], other: Row, left: list[Row]) -> list[tuple[Row, Row]]:
    taken = {_seed_of(run) for run in other.runs or (other,)}
    found = []
    for run in runs if len(runs) > 1 else ():
        row = next((row for row in left if not row.runs and _seed_of(row) == _seed_of(run)), None)
        if row is not None and _seed_of(run) not in taken:
            left.remove(row)
            found.append((run, row))
    return found
