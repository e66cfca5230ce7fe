"""Several trainings of one network in a comparison: their mean scores, and how much the trainings differ."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from benchmark.leaderboard.rows import Row
from benchmark.leaderboard.runs import Spread, mean_measurements, mean_scores, spread_of
from benchmark.regression.baseline import Kept
from benchmark.regression.matching import Pair
from benchmark.regression.sources import ResultSet
from benchmark.types import Result
from benchmark.units import counted

ONE_EACH = "one training each: another seed alone may change this"


@dataclass(frozen=True)
class Between:
    """What is known about the spread of a score between trainings: their numbers before and after, 0: not trained."""

    runs: tuple[int, int]
    spread: Spread | None
    text: str


def kept_of(pair: Pair, before: ResultSet, after: ResultSet) -> tuple[Kept, Kept]:
    """Return both sides of a pair with scores, scenes and samples; several trainings have their mean scores.

    Counts and times do not depend on the weights: they are those of one run of each side, if possible of the same
    weights and with undisturbed times.
    """
    assert pair.before is not None
    assert pair.after is not None
    first, second = (row.runs or (row,) for row in (pair.before, pair.after))
    if len(first) == len(second) == 1:
        sides = [found.kept(row.result) for found, row in ((before, pair.before), (after, pair.after))]
        return _alone(sides[0], pair.before), _alone(sides[1], pair.after)

    def strangeness(rows: tuple[Row, Row]) -> tuple[bool, int]:
        return _differ(*(row.result for row in rows)), sum(map(_disturbed, rows))

    shown = min(itertools.product(first, second), key=strangeness)
    return _pooled(before, shown[0], pair.before), _pooled(after, shown[1], pair.after)


def _alone(kept: Kept, row: Row) -> Kept:
    return replace(kept, runs=(kept.result,) if row.training else ())


def _pooled(found: ResultSet, shown: Row, row: Row) -> Kept:
    """Return the run ``shown`` of a row with the mean scores of all runs."""
    kept = found.kept(shown.result)
    result = seedless(shown.result)
    if len(row.runs) < 2:
        return replace(_alone(kept, row), result=result)
    runs = [found.kept(run.result) for run in row.runs]
    means = mean_measurements([run.result.measurements for run in runs], {}, {})
    scores = {id: one for id, one in means.items() if one.kind == "score"}
    measured = {
        id: scores.get(id, one) for id, one in result.measurements.items() if one.kind != "score" or id in scores
    }
    result = result.model_copy(update={"measurements": measured})
    scenes = kept.scenes if all(run.scenes == kept.scenes for run in runs) else {}
    records = tuple(run.result for run in runs)
    return Kept(result, mean_scores([run.scores for run in runs]), kept.samples, scenes, records)


def seedless(result: Result) -> Result:
    """Return the record of a sweep without its seed among the options, for a row of several runs."""
    if "sweep" not in result.training:
        return result
    return result.model_copy(update={"options": {k: v for k, v in result.options.items() if k != "seed"}})


def _differ(a: Result, b: Result) -> bool:
    return a.spec.weights_digest != b.spec.weights_digest


def _disturbed(row: Row) -> int:
    return sum(bool(one.tainted) for one in row.result.measurements.values())


def are_several(before: Kept, after: Kept) -> bool:
    """Whether one of the two sides has several trainings."""
    return max(len(before.runs), len(after.runs)) > 1


def is_one_each(before: Kept, after: Kept) -> bool:
    """Whether both sides are one training, and not the same one."""
    return len(before.runs) == len(after.runs) == 1 and _differ(before.result, after.result)


def between(id: str, before: Kept, after: Kept) -> Between | None:
    """Return how much the score ``id`` differs between trainings; None: no side has several."""
    if not are_several(before, after):
        return None
    sides = (before, after)
    # Weights of an unknown recipe are one training too, whose seed could have been another.
    a, b = (len(side.runs) or int(side.result.evidence == "trained") for side in sides)
    if a == b and _digests(before) == _digests(after):
        return Between((a, b), None, f", {_count(a)}, of the same weights before and after")
    values = [[run.measurements[id].value for run in side.runs if id in run.measurements] for side in sides]
    spread = spread_of([[float(value) for value in own if value is not None] for own in values])
    text = f", {_count(a)} before and {b} after"
    if spread is not None:
        unit = before.result.measurements[id].unit
        text += f", sd {spread.deviation:.3g} {unit}".rstrip() + " between runs"
        if 1 in (a, b):
            text += f" (of those {'after' if a == 1 else 'before'}, taken for both)"
    return Between((a, b), spread, text)


def _digests(side: Kept) -> list[str]:
    return sorted(run.spec.weights_digest or "" for run in side.runs)


def _count(runs: int) -> str:
    return counted(runs, "run")
