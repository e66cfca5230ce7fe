"""One file per family of metrics; the registry imports the files when it is first used."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmark.types import MetricCard, MetricFunction
from zoo.registry import Registry, pieces_of

METRICS: Registry[MetricCard] = Registry("metric", load=pieces_of(__name__))


def register_metric(
    id: str,
    *,
    definition: str,
    unit: str = "",
    higher_is_better: bool = True,
    version: int = 1,
    least: float = -math.inf,
    most: float = math.inf,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function of two images (H, W, 3), float64 in [0, 1], as the metric called ``id``.

    Its values lie in [``least``, ``most``]; a stored score outside of this range is measured again.
    """

    def register(function: MetricFunction) -> MetricFunction:
        METRICS.add(id, MetricCard(id, function, definition, unit, higher_is_better, version, least, most))
        return function

    return register
