"""Check the images of one run like ``data check`` before they are scored.

Files are read, judged and remembered in the same way. A defect of a file makes its image bad. Findings that need a
whole dataset (a colour filter by votes, duplicates between splits) or depend on a threshold (a pair that shows
different things) are remarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datacheck.checking import facts_of
from benchmark.datacheck.judging import Judge
from benchmark.datacheck.plans import PLANS, CheckPlan, Problem, Unit, rules_at
from benchmark.datasets.sidd import SiddBlocks
from benchmark.types import Dataset, DatasetCard

_REMARKS = ("mismatch", "cfa", "orientation")


@dataclass(frozen=True)
class Screening:
    """The findings: problems of the files by image, and remarks on all images together."""

    bad: dict[str, list[Problem]]
    remarks: list[Problem]


def screen(card: DatasetCard, dataset: Dataset, root: Path, ids: Sequence[str]) -> Screening:
    """Judge the files of the images ``ids``; there are no findings for a dataset without files per image or check."""
    if isinstance(dataset, SiddBlocks):
        return _screen_blocks(dataset, ids)
    paths: Any = getattr(dataset, "paths", None)
    if card.name not in PLANS or paths is None:
        return Screening({}, [])
    plan: CheckPlan = rules_at(card, root)
    # The files of an image are those of the first rules.
    plan.units = [Unit(dataset.split, id, tuple(zip(plan.rules, paths(id)))) for id in ids]
    owner = {str(path): unit.id for unit in plan.units for _, path in unit.files}
    judge = Judge(plan, root)
    for unit, facts, _ in facts_of(plan, root, None):
        judge.take(unit, facts)
    bad: dict[str, list[Problem]] = {}
    remarks = []
    for problem in judge.finish():
        id = owner.get(problem.file)
        if id is None or problem.kind in _REMARKS:
            remarks.append(problem)
        else:
            bad.setdefault(id, []).append(problem)
    return Screening(bad, [*remarks, *_first_of_each(judge.remarks)])


def _first_of_each(remarks: Sequence[Problem]) -> Iterator[Problem]:
    """Yield the first remark of each kind with the number of the others, to be kept in a record."""
    counts = Counter(remark.kind for remark in remarks)
    first: dict[str, Problem] = {}
    for remark in remarks:
        first.setdefault(remark.kind, remark)
    for remark in first.values():
        more = counts[remark.kind] - 1
        yield remark._replace(what=remark.what + f" (and {more} more files like it)") if more else remark


def _screen_blocks(dataset: SiddBlocks, ids: Sequence[str]) -> Screening:
    """Judge blocks: black blocks are bad, blocks without noise are a remark."""
    bad: dict[str, list[Problem]] = {}
    remarks = []
    for index, id in enumerate(ids):
        noisy, target = dataset.pixels(index)
        if not noisy.any() or not target.any():
            bad[id] = [Problem(f"block {id}", "black", "every pixel is 0", "a picture")]
        elif np.array_equal(noisy, target):
            remarks.append(Problem(f"block {id}", "mismatch", "the same pixels as its target", "a noisy picture"))
    return Screening(bad, remarks)
