"""Ranks that do not claim more than the images show: rows whose difference is not significant share one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmark.leaderboard.rows import Row
from benchmark.results.paired import LEVEL, RESAMPLES, paired_difference
from benchmark.results.store import image_scores, scores_problem

RULE = (
    "Rank: rows that share one (=) are not significantly worse than the first of them by {main}: the"
    f" {LEVEL:.0%} interval of the mean difference per image (paired bootstrap over the images,"
    f" {RESAMPLES} draws) holds 0. Rows of neighbouring ranks may not differ significantly either."
)
CROPS = (
    "Images are drawn as if they were independent; crops of one photograph are not, so differences look surer than"
    " they are."
)
UNTESTED = (
    "Rank: by {main} alone. No difference was tested and no tie is shown: that takes the scores of two or more images"
    " beside the records."
)
DISTRUSTED = "the scores per image beside the record are not as they were written, so they are not used."
_UNTESTED = "?"


def ranked(rows: Sequence[Row], main: str) -> tuple[list[str], list[str]]:
    """Return the rank of each row as text, and the notes on them; ``rows`` are sorted by ``main``, best first.

    Each group is led by its best row; the first row that is significantly worse than the leader leads the next group,
    and its rank is its position. A row that may not be compared has none, one without scores per image cannot be
    tested against the leader: it leads a group of its own, with a question mark.
    """
    scores = [_scores(row, main) for row in rows]
    ranks = ["-"] * len(rows)
    fair = [index for index, row in enumerate(rows) if row.is_fair]
    groups = _groups(fair, lambda leader, other: _differ(scores[leader], scores[other]))
    position = 1
    for group in groups:
        for index in group:
            tested = bool(scores[index]) or len(fair) == 1
            ranks[index] = f"{position}{'=' if len(group) > 1 else ''}{'' if tested else _UNTESTED}"
        position += len(group)
    if not any(scores[index] for index in fair):
        return [rank.rstrip(_UNTESTED) for rank in ranks], [UNTESTED.format(main=f"`{main}`"), *_distrusted(rows)]
    notes = [RULE.format(main=f"`{main}`"), CROPS]
    if any(rank.endswith(_UNTESTED) for rank in ranks):
        notes.append(f"{_UNTESTED}: no scores per image beside the record, so the difference was not tested.")
    return ranks, [*notes, *_distrusted(rows)]


def _distrusted(rows: Sequence[Row]) -> list[str]:
    names = [row.name for row in rows if scores_problem(row.result)]
    return [f"{', '.join(names)}: {DISTRUSTED}"] if names else []


def _groups(indices: Sequence[int], differ: Callable[[int, int], bool]) -> list[list[int]]:
    groups: list[list[int]] = []
    for index in indices:
        if groups and not differ(groups[-1][0], index):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _scores(row: Row, main: str) -> Mapping[str, float]:
    found = {id: scores[main] for id, scores in image_scores(row.result).items() if main in scores}
    return found if len(found) > 1 else {}


def _differ(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether two rows are told apart: by their images, or because they have not the same ones."""
    if not a or a.keys() != b.keys():
        return True
    return paired_difference(list(a.values()), [b[id] for id in a]).is_significant
