"""Do two rows differ by a score? That is tested over the scenes that their images show."""

from __future__ import annotations

from benchmark.leaderboard.rows import Row
from benchmark.results.paired import paired_difference


def is_testable(row: Row, id: str) -> bool:
    """Whether the row has the score ``id`` of each image, the images' scenes, and enough of them."""
    return row.has_enough_scenes and bool(row.scenes) and all(id in scores for scores in row.image_scores.values())


def differ(a: Row, b: Row, id: str) -> bool | None:
    """Whether two rows differ significantly by the score ``id``; None: they lack scores of the same images to test."""
    if not (is_testable(a, id) and is_testable(b, id)) or a.scenes != b.scenes:
        return None
    first, second = ([row.image_scores[image][id] for image in a.scenes] for row in (a, b))
    return paired_difference(first, second, list(a.scenes.values())).is_significant
