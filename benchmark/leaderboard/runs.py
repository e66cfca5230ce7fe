"""Several trainings of one network: the mean of their measurements, and the spread between them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit

from benchmark.metrics import possible
from benchmark.results.journal import Scores
from benchmark.results.paired import LEVEL, Difference, mean_interval
from benchmark.types import Measurement


class Spread(NamedTuple):
    """The standard deviation of a score between trainings that differ only in their seed, and how well it is known."""

    deviation: float
    freedom: int


def spread_of(groups: Sequence[Sequence[float]]) -> Spread | None:
    """Return the spread of scores pooled over ``groups``, one for each network; None if none has two runs."""
    finite = [[value for value in group if math.isfinite(value)] for group in groups]
    freedom = sum(max(len(group) - 1, 0) for group in finite)
    if not freedom:
        return None
    squares = math.fsum(statistics.variance(group) * (len(group) - 1) for group in finite if len(group) > 1)
    return Spread(math.sqrt(squares / freedom), freedom)


def widened(difference: Difference, spread: Spread | None, *runs: int) -> Difference:
    """Return a mean or a difference of means over scenes whose interval also holds the spread between trainings.

    ``runs``: how many trainings each mean is over; 0 for what is not trained. The two sources of uncertainty are
    independent, so the parts of the interval add as squares.
    """
    return widened_by(difference, between_runs(spread, *runs))


def widened_by(difference: Difference, between: float) -> Difference:
    """Return ``difference`` with an interval that also holds ``between``, half the width that trainings alone give."""
    if not between or difference.low is None or difference.high is None:
        return difference
    below, above = difference.mean - difference.low, difference.high - difference.mean
    low, high = difference.mean - math.hypot(below, between), difference.mean + math.hypot(above, between)
    return Difference(difference.mean, low, high, difference.n, difference.num_scenes)


def between_runs(spread: Spread | None, *runs: int, level: float = LEVEL) -> float:
    """Return half the width of the interval (95 %) that the spread between trainings alone gives (see `widened`)."""
    shares = math.fsum(1 / number for number in runs if number)
    return float(stdtrit(spread.freedom, (1 + level) / 2)) * spread.deviation * math.sqrt(shares) if spread else 0.0


def between_unequal(sides: Sequence[tuple[Spread, int]], level: float = LEVEL) -> float:
    """Return half the width of that interval for a difference of networks with spreads of their own (Welch's test).

    ``sides``: the spread and the number of trainings of each network that was trained.
    """
    shares = [(spread.deviation**2 / number, spread.freedom) for spread, number in sides]
    variance = math.fsum(share for share, _ in shares)
    if not variance:
        return 0.0
    # Satterthwaite's approximation of how well the sum is known.
    freedom = variance**2 / math.fsum(share**2 / known for share, known in shares)
    return float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)


def mean_scores(runs: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """Return the mean scores of each image; empty unless all runs have scores of the same images."""
    first = runs[0]
    if any(run.keys() != first.keys() for run in runs):
        return {}
    ids = {image: [id for id in scores if all(id in run[image] for run in runs)] for image, scores in first.items()}
    return {
        image: {id: math.fsum(run[image][id] for run in runs) / len(runs) for id in own} for image, own in ids.items()
    }


def mean_measurements(
    runs: Sequence[Mapping[str, Measurement]], scores: Mapping[str, Scores], scenes: Mapping[str, str]
) -> dict[str, Measurement]:
    """Return the measurements of a network that was trained several times.

    A score is the mean over the runs that have it, with their standard deviation (``run_std``) and number
    (``num_runs``); its interval is over scenes and runs. Counts are those of the first run; of timings, which do not
    depend on the weights, the first undisturbed one is taken. ``scores`` are the mean scores by image.
    """
    found: dict[str, Measurement] = {}
    for id in dict.fromkeys(id for run in runs for id in run):
        own = [run[id] for run in runs if id in run]
        if own[0].kind != "score":
            found[id] = next((one for one in own if not one.tainted), own[0])
        elif len(own) == len(runs) and all(one.value is not None for one in own):
            found[id] = _mean(id, own, scores, scenes)
    return found


def _mean(id: str, own: Sequence[Measurement], scores: Mapping[str, Scores], scenes: Mapping[str, str]) -> Measurement:
    values = [float(one.value) for one in own if one.value is not None]
    spread = spread_of([values])
    found: dict[str, object] = {"value": math.fsum(values) / len(values), "num_runs": len(values)}
    found |= {"run_std": spread.deviation if spread else None, "ci_low": None, "ci_high": None}
    if len(values) == 1:
        found |= {"ci_low": own[0].ci_low, "ci_high": own[0].ci_high}
    elif scores and scores.keys() == scenes.keys() and all(id in image for image in scores.values()):
        images = [scores[image][id] for image in scenes]
        if all(map(math.isfinite, images)):
            interval = widened(mean_interval(images, list(scenes.values())), spread, len(values))
            found |= possible(id, interval.low, interval.high)
    return own[0].model_copy(update=found)
