"""Do two rows differ by a score? That is tested over the scenes that their images show, and over trainings."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboard.rows import Row
from benchmark.leaderboard.runs import Spread, between_unequal, spread_of, widened_by
from benchmark.results.paired import Difference, paired_difference


def is_testable(row: Row, id: str) -> bool:
    """Whether the row has the score ``id`` of each image, the images' scenes, and enough of them."""
    return row.has_enough_scenes and bool(row.scenes) and all(id in scores for scores in row.image_scores.values())


def differ(a: Row, b: Row, id: str, spread: Spread | None = None) -> bool | None:
    """Whether two rows differ significantly by the score ``id``; None: they lack scores of the same images to test."""
    difference = difference_of(a, b, id, spread)
    return None if difference is None else difference.is_significant


def difference_of(a: Row, b: Row, id: str, spread: Spread | None = None) -> Difference | None:
    """Return the mean of b - a by the score ``id``, with an interval over scenes and over trainings.

    A row of several trainings has its own spread between them, and a row of one takes ``spread``, that of the others
    (`run_spread`; None: trainings have no part). None: the rows lack scores of the same images to test.
    """
    if not (is_testable(a, id) and is_testable(b, id)) or a.scenes != b.scenes:
        return None
    first, second = ([row.image_scores[image][id] for image in a.scenes] for row in (a, b))
    difference = paired_difference(first, second, list(a.scenes.values()))
    if spread is None:
        return difference
    sides = [(run_spread([row], id) or spread, row.num_runs) for row in (a, b) if row.num_runs]
    return widened_by(difference, between_unequal(sides))


def run_spread(rows: Sequence[Row], id: str) -> Spread | None:
    """Return the spread of a score between trainings, pooled over the rows with several; None if there are none."""
    values = ([run.value(id) for run in row.runs] for row in rows if row.is_fair)
    return spread_of([[value for value in own if value is not None] for own in values])
