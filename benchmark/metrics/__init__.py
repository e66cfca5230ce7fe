"""One file per family of metrics; the registry imports the files when it is first used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from benchmark.types import MetricCard, MetricFunction
from benchmark.units import style_of
from zoo.errors import UserError
from zoo.registry import Registry, pieces_of

METRICS: Registry[MetricCard] = Registry("metric", load=pieces_of(__name__))

# The parts of the mean squared error, which add up to it.
ERROR_PARTS = {"shift": "error[shift]", "colour": "error[colour]", "rest": "error[rest]"}
# The suffix for ids of measurements on images of the training split.
ON_TRAIN = "@train"
# The scores that sweeps compute from others, lower is better, by the name of an error.
SWEEP_ERRORS = {"msssim": "one_minus_msssim[perchannel]", "mse": "mse[rgb]"}
# Words that stand for several ids where a user chooses metrics; "protocol" stands for those of the protocol.
PROTOCOL, ERROR = "protocol", "error"
ERROR_IDS = (
    "psnr[rgb,aligned]",
    "psnr[rgb,colour]",
    "ssim[gaussian11,rgb,colour]",
    "ciede2000[rgb]",
    *ERROR_PARTS.values(),
)


def register_metric(
    id: str,
    *,
    definition: str,
    unit: str = "",
    higher_is_better: bool = True,
    version: int = 1,
    least: float = -math.inf,
    most: float = math.inf,
    check: Callable[[], None] = lambda: None,
    takes_gray: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function of two images (H, W, 3), float64 in [0, 1], as the metric called ``id``.

    Its values lie in [``least``, ``most``]; a stored score outside of this range is measured again. ``check`` raises
    UserError if a package or file that the metric needs is missing. ``takes_gray``: the function also compares gray
    images (H, W, 1).
    """

    def register(function: MetricFunction) -> MetricFunction:
        card = MetricCard(id, function, definition, unit, higher_is_better, version, least, most, check, takes_gray)
        METRICS.add(id, card)
        return function

    return register


def possible(id: str, low: float | None, high: float | None) -> dict[str, float | None]:
    """Return an interval of a score by its id as ``ci_low`` and ``ci_high``, without what the score cannot be.

    The id may end in ``ON_TRAIN``. None stands for an unknown end, and stays.
    """
    metric, least, most = id.removesuffix(ON_TRAIN), -math.inf, math.inf
    if metric in METRICS:
        least, most = METRICS.get(metric).least, METRICS.get(metric).most
    elif metric in SWEEP_ERRORS.values():
        least = 0.0
    return {"ci_low": None if low is None else max(low, least), "ci_high": None if high is None else min(high, most)}


def chosen_ids(wanted: Sequence[str] | None, protocol: Sequence[str], *, gray: bool = False) -> list[str]:
    """Return the metric ids that a user wants (default: the ``protocol``'s), each once.

    "protocol" stands for the protocol's ids, "error" for those that say what the error is made of. Raises UserError
    for an unknown id, for a metric that cannot be computed here and, with ``gray``, for one that needs three colours.
    """
    words = {PROTOCOL: protocol, ERROR: ERROR_IDS}
    ids = list(dict.fromkeys(id for name in wanted or [PROTOCOL] for id in words.get(name, [name])))
    for id in ids:
        card = METRICS.get(id)
        if gray and not card.takes_gray:
            able = ", ".join(other.id for other in METRICS if other.takes_gray)
            raise UserError(f"metric {id}: it compares three colours, and these images are gray; expected {able}.")
        card.check()
    return ids


def error_shares(means: Mapping[str, float | None]) -> dict[str, float] | None:
    """Return the shares of the squared error by part, which add up to 1, from mean scores by metric id.

    They are shares of the sum over all images. None: a part was not scored, or there is no finite error to share.
    """
    parts = [means.get(id) for id in ERROR_PARTS.values()]
    known = [part for part in parts if part is not None]
    total = math.fsum(known)
    if len(known) < len(parts) or not 0 < total < math.inf:
        return None
    shift, colour = known[0] / total, known[1] / total
    return {"shift": shift, "colour": colour, "rest": max(0.0, 1 - shift - colour)}


def score_text(id: str, value: float) -> str:
    """Return a score with its metric, with the decimals that all tables show."""
    return f"{id} {style_of(id, METRICS.get(id).unit, is_score=True).show(value)}"
