"""The interval beside a score: how sure a mean over images is, with the scene as the unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.metrics import possible
from benchmark.results.paired import mean_interval


def over_scenes(id: str, values: Sequence[float], images: Sequence[str], scenes: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a score's measurement that follow from the scenes of its images; none if one is unknown.

    The interval holds no value that the metric ``id`` cannot have.
    """
    if not images or any(image not in scenes for image in images):
        return {}
    found = mean_interval(values, [scenes[image] for image in images])
    # An infinite score has no distance from the mean, so it leaves no interval.
    is_finite = all(map(math.isfinite, values))
    interval = possible(id, found.low, found.high) if is_finite else {}
    return {"num_scenes": found.num_scenes, **interval}
