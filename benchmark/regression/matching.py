"""Which record of one set belongs to which of the other.

Keys do not tell: new code or new weights change them, and that is what a comparison is about. Records belong together
where model, options, dataset, split, limit and conditions agree. Of several such, those of the same part of the
dataset, with the same threads, seed and weights file come together first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.results import records
from benchmark.types import Result

Identity = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A record in both sets, or in one of them."""

    before: Result | None
    after: Result | None


def identity_of(result: Result) -> Identity:
    """Return what two records of the same measurement share, as sortable text."""
    spec = result.spec
    conditions = (str(value) for name, value in spec.conditions.model_dump().items() if name != "threads")
    options = json.dumps(result.options, sort_keys=True)
    return (result.dataset, result.split, f"{spec.limit or 0:09d}", result.model, options, *conditions)


def _slot(result: Result) -> tuple[Any, ...]:
    spec = result.spec
    scored = spec.evaluate, spec.scoring, tuple(sorted(spec.metrics))
    return (spec.conditions.threads, _weights_name(result), spec.seed, *scored, result.part)


def _weights_name(result: Result) -> str:
    return (result.weights or {}).get("name", "")


# From what fits best to what is left.
_PASSES: tuple[Callable[[Result], Any], ...] = (
    lambda result: result.key,
    _slot,
    lambda result: (result.part, result.spec.conditions.threads, _weights_name(result)),
    lambda result: (result.part, result.spec.conditions.threads),
    lambda result: result.spec.conditions.threads,
    lambda result: None,
)


def newest(results: Iterable[Result]) -> list[Result]:
    """Return the newest record of each model under each conditions, sorted: an older one was superseded."""

    def place(result: Result) -> tuple[Any, ...]:
        return (identity_of(result), *map(str, _slot(result)))

    return sorted(records.newest(results, place), key=place)


def pair_up(before: Sequence[Result], after: Sequence[Result]) -> list[Pair]:
    """Return the pairs of two sets, sorted; a record without a partner stands alone."""
    groups: dict[Identity, tuple[list[Result], list[Result]]] = defaultdict(lambda: ([], []))
    for side, results in enumerate((before, after)):
        for result in newest(results):
            groups[identity_of(result)][side].append(result)
    return [pair for key in sorted(groups) for pair in _pair_group(*groups[key])]


def _pair_group(before: list[Result], after: list[Result]) -> list[Pair]:
    pairs = []
    for likeness in _PASSES:
        for result in list(before):
            partner = next((other for other in after if likeness(other) == likeness(result)), None)
            if partner is not None:
                pairs.append(Pair(result, partner))
                before.remove(result)
                after.remove(partner)
    return [*pairs, *(Pair(result, None) for result in before), *(Pair(None, result) for result in after)]
