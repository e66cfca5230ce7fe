"""Which interval of a mean over images can be believed? Simulated sets of images whose scenes are the independent unit.

Every design is a number of scenes, the images of each, the correlation between images of one scene (0, 0.3, 0.9) and a
distribution of the differences: normal, or log-normal with a log-sd of 0.5 (skewness 1.75) or 1 (skewness 6.18) minus
its true mean. The differences of single images have exactly that distribution and correlation. The true mean is 0, so
an interval without 0 is a false alarm and a miss at once: the type I error of "the difference is zero" is 1 minus the
coverage of the interval. All methods move with the data, so it is the same at any other mean.

    python -m speed scene_intervals

prints the tables of docs/statistics.md in a few minutes on one core; the seed is fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmark.results.paired import interval_sides
from speed.figures import Figure

Array = NDArray[np.float64]
Interval = tuple[Array, Array]

SCENES = (6, 8, 12, 24, 100)
BEYOND = (6, 12, 24, 48, 100)
CORRELATIONS = (0.0, 0.3, 0.9)
LOG_SDS = {"normal": 0.0, "log-normal 0.5": 0.5, "log-normal 1": 1.0}
DRAWS = 999
CHUNK = 1_000  # sets that are drawn, and resampled, at once


class Sets(NamedTuple):
    """Simulated sets: the images (sets, images), the mean of each scene (sets, scenes), and the images per scene."""

    images: Array
    means: Array
    sizes: NDArray[np.int64]

    @property
    def weights(self) -> Array:
        return self.sizes / self.sizes.sum()

    @property
    def mean(self) -> Array:
        return self.means @ self.weights


SIZES: dict[str, Callable[[int], NDArray[np.int64]]] = {
    "1": lambda scenes: np.full(scenes, 1),
    "8": lambda scenes: np.full(scenes, 8),
    "32": lambda scenes: np.full(scenes, 32),
    "1 to 32": lambda scenes: np.rint(np.linspace(1, 32, scenes)).astype(int),
    "1 or 32": lambda scenes: np.where(np.arange(scenes) < scenes // 2, 1, 32),
}


def draw(rng: np.random.Generator, sets: int, sizes: NDArray[np.int64], correlation: float, log_sd: float) -> Sets:
    """Return sets of images with true mean 0."""
    scene = np.repeat(np.arange(len(sizes)), sizes)
    of_scene, of_image = rng.standard_normal((sets, len(sizes)))[:, scene], rng.standard_normal((sets, len(scene)))
    if not log_sd:
        images = np.sqrt(correlation) * of_scene + np.sqrt(1 - correlation) * of_image
    else:
        # The correlation of the logarithms that gives the differences themselves the one asked for.
        inner = np.log1p(correlation * np.expm1(log_sd**2)) / log_sd**2
        logs = np.sqrt(inner) * of_scene + np.sqrt(1 - inner) * of_image
        images = np.exp(log_sd * logs) - np.exp(log_sd**2 / 2)
    return Sets(images, np.add.reduceat(images, np.cumsum(sizes) - sizes, axis=1) / sizes, sizes)


def studentised(sets: Sets) -> tuple[Array, Array, float]:
    """Return contributions of the scenes to the mean, its error (robust to dependence within scenes), and freedom.

    Error and degrees of freedom (Satterthwaite) are those for scenes whose means vary equally. They are worked out
    with matrices, independently of the sums in `benchmark.results.paired`.
    """
    weights = sets.weights
    centred = np.eye(len(weights)) - weights
    form = centred.T @ np.diag(weights**2) @ centred
    shares = weights * (sets.means - sets.mean[:, None])
    error = np.sqrt(np.sum(shares**2, axis=1) * np.sum(weights**2) / np.trace(form))
    return shares, error, float(np.trace(form) ** 2 / np.trace(form @ form))


def plain_t(sets: Sets) -> Interval:
    """Student's t over scenes with a cluster-robust error and one degree of freedom less than scenes."""
    scenes, (shares, _, _) = len(sets.sizes), studentised(sets)
    side = student.ppf(0.975, scenes - 1) * np.sqrt(scenes / (scenes - 1) * np.sum(shares**2, axis=1))
    return sets.mean - side, sets.mean + side


def t_interval(sets: Sets) -> Interval:
    """The same with an error and degrees of freedom that allow for scenes of unequal numbers of images."""
    _, error, freedom = studentised(sets)
    side = student.ppf(0.975, freedom) * error
    return sets.mean - side, sets.mean + side


def johnson(sets: Sets) -> Interval:
    """Johnson's t (1978): the t-interval moved by the third moment."""
    low, high = t_interval(sets)
    shares, _, _ = studentised(sets)
    shift = np.sum(shares**3, axis=1) / (6 * np.sum(shares**2, axis=1))
    return low + shift, high + shift


def chosen(sets: Sets) -> Interval:
    """What `benchmark.results.paired` does: Student's t with guards against few scenes and skewed differences."""
    below, above = interval_sides(sets.means, sets.sizes.tolist())
    return sets.mean - below, sets.mean + above


@lru_cache(maxsize=8)
def counts(units: int, draws: int = DRAWS) -> Array:
    """Return how often each of ``units`` is drawn with replacement, (draws, units)."""
    return np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)


def percentiles(values: Array) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975), axis=-1)
    return low, high


def over_images(sets: Sets) -> Interval:
    """The percentile bootstrap over images, which takes them to be independent."""
    return percentiles(sets.images @ counts(sets.images.shape[1]).T / sets.images.shape[1])


def over_scenes(sets: Sets) -> Interval:
    """The percentile bootstrap over scenes."""
    drawn = counts(len(sets.sizes)) * sets.sizes
    return percentiles(sets.means @ drawn.T / drawn.sum(axis=1))


def hierarchical(sets: Sets) -> Interval:
    """The percentile bootstrap over scenes, and over images within each scene drawn."""
    rng, scenes = np.random.default_rng(1), counts(len(sets.sizes)).astype(int)
    inner = [rng.multinomial(scenes[:, k] * size, np.full(size, 1 / size)) for k, size in enumerate(sets.sizes)]
    drawn = np.concatenate(inner, axis=1).astype(np.float64)
    return percentiles(sets.images @ drawn.T / drawn.sum(axis=1))


def bootstrap_t(sets: Sets) -> Interval:
    """The studentised bootstrap over scenes; a resample that holds only one scene counts as infinite."""
    shares, _, _ = studentised(sets)
    error = np.sqrt(np.sum(shares**2, axis=1))
    drawn = counts(len(sets.sizes))
    total = drawn @ sets.sizes
    sums = sets.sizes * sets.means
    means = sums @ drawn.T / total
    # The squared contributions of a resample: Σ c_k n_k² (m_k - mean)², opened up.
    squares = sums**2 @ drawn.T - 2 * means * (sums * sets.sizes @ drawn.T) + means**2 * (drawn @ sets.sizes**2)
    errors = np.sqrt(np.maximum(squares, 0)) / total
    gaps = means - sets.mean[:, None]
    flat = errors < 1e-6 * error[:, None]
    ratios = np.where(flat, np.sign(gaps) * 1e9, gaps / np.where(flat, 1, errors))
    low, high = percentiles(ratios)
    return sets.mean - high * error, sets.mean - low * error


def wider(sets: Sets) -> Interval:
    """The wider of t and bootstrap-t on each side."""
    (a, b), (c, d) = t_interval(sets), bootstrap_t(sets)
    return np.minimum(a, c), np.maximum(b, d)


def sign_flip(sets: Sets) -> Interval:
    """All values that a sign-flip test over scenes keeps: between order statistics of the means of subsets of scenes.

    A flip is as extreme as the data if the flipped scenes alone have a mean beyond the value, so the inverted test
    needs no search. All subsets up to 8 scenes, else 999 random ones.
    """
    scenes = len(sets.sizes)
    if scenes <= 8:
        subsets = (np.arange(1, 2**scenes)[:, None] >> np.arange(scenes)) & 1
    else:
        subsets = np.random.default_rng(2).integers(0, 2, (DRAWS, scenes))
    drawn = subsets * sets.sizes
    means = np.sort(sets.means @ drawn.T / drawn.sum(axis=1), axis=1)
    rank = int(0.025 * (len(subsets) + 1))
    return means[:, rank - 1], means[:, -rank]


METHODS: dict[str, Callable[[Sets], Interval]] = {
    "bootstrap over images": over_images,
    "bootstrap over scenes": over_scenes,
    "hierarchical bootstrap": hierarchical,
    "sign flips": sign_flip,
    "t, K - 1": plain_t,
    "t": t_interval,
    "Johnson's t": johnson,
    "bootstrap-t": bootstrap_t,
    "wider of t and bootstrap-t": wider,
    "chosen": chosen,
}


def designs() -> Iterator[tuple[str, int, str, float]]:
    """Yield distribution, number of scenes, images per scene and correlation; single images have no correlation."""
    for distribution in LOG_SDS:
        for size in SIZES:
            for correlation in CORRELATIONS if size != "1" else (0.0,):
                for scenes in SCENES:
                    yield distribution, scenes, size, correlation


def misses(interval: Interval) -> float:
    """Return the share of intervals without 0, in percent."""
    low, high = interval
    return 100 * float(np.mean((low > 0) | (high < 0)))


def simulate(replications: int) -> dict[str, dict[tuple[str, int, str, float], float]]:
    """Return the type I error of each method in each design; methods but `chosen` get one chunk of sets."""
    errors: dict[str, dict[tuple[str, int, str, float], float]] = {name: {} for name in METHODS}
    for number, design in enumerate(designs()):
        distribution, scenes, size, correlation = design
        rng, sizes = np.random.default_rng((18, number)), SIZES[size](scenes)
        chunks = []
        for done in range(0, replications, CHUNK):
            sets = draw(rng, min(CHUNK, replications - done), sizes, correlation, LOG_SDS[distribution])
            for name, method in METHODS.items():
                if not done and name != "chosen":
                    errors[name][design] = misses(method(sets))
            chunks.append(misses(chosen(sets)) * len(sets.means))
        errors["chosen"][design] = sum(chunks) / replications
    return errors


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def beyond(replications: int) -> list[list[str]]:
    """Return the type I error where differences are still more skewed, or very few scenes have nearly all images."""
    cases = {
        "log-normal 1.5, 1 image per scene": (1.5, lambda k: np.full(k, 1)),
        "log-normal 1, correlation 0.9, each sixth scene has 32 images and the others 1": (
            1.0,
            lambda k: np.where(np.arange(k) % 6, 1, 32),
        ),
    }
    rows = []
    for name, (log_sd, sizes) in cases.items():
        rng = np.random.default_rng(20)
        found = [misses(chosen(draw(rng, replications, sizes(k), 0.9, log_sd))) for k in BEYOND]
        rows.append([name, *(f"{value:.1f}" for value in found)])
    return rows


def prices(replications: int) -> list[list[str]]:
    """Return, for normal and skewed differences, how wide the chosen interval is beside t, and the power of both."""
    rows = []
    for scenes in SCENES:
        rng, row = np.random.default_rng((19, scenes)), [str(scenes)]
        for log_sd in LOG_SDS.values():
            sets = draw(rng, replications, SIZES["1"](scenes), 0.0, log_sd)
            (a, b), (c, d) = t_interval(sets), chosen(sets)
            row.append(f"{np.mean(d - c) / np.mean(b - a):.2f}")
        sets = draw(rng, replications, SIZES["1"](scenes), 0.0, 0.0)
        for effect in (0.5, 1.0, 2.0):
            powers = [100 * float(np.mean(low + effect > 0)) for low, _ in (t_interval(sets), chosen(sets))]
            row.append(" / ".join(f"{power:.0f}" for power in powers))
        rows.append(row)
    return rows


def split_tables(tables: int = 1000) -> list[list[str]]:
    """Return how many percent of tables of equally good rows show more than one rank.

    As in `benchmark.leaderboard.ranks`: the best row is tested against each of the others, at 5 % each.
    """
    rows = []
    for number in (2, 5, 10, 20):
        rng, row = np.random.default_rng((21, number)), [str(number)]
        for scenes in SCENES:
            scores = rng.normal(size=(tables, number, scenes))
            best = np.take_along_axis(scores, scores.mean(axis=2).argmax(axis=1)[:, None, None], axis=1)
            lead = best - scores
            split = lead.mean(axis=2) - interval_sides(lead, [1] * scenes)[0] > 0
            row.append(f"{100 * np.mean(split.any(axis=1)):.0f}")
        rows.append(row)
    return rows


def main() -> list[Figure]:
    """Print the tables; return the largest type I error of the chosen method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--replications", type=int, default=10_000, help="sets per design for the chosen method")
    replications = parser.parse_args().replications
    errors = simulate(replications)
    print(f"Type I error in percent, the largest over images per scene and correlation ({CHUNK} sets per design):\n")
    kinds = [(distribution, scenes) for distribution in LOG_SDS for scenes in SCENES]
    worst = [
        [kind, str(k), *(f"{max(v for d, v in one.items() if d[:2] == (kind, k)):.1f}" for one in errors.values())]
        for kind, k in kinds
    ]
    print(table(["differences", "scenes", *METHODS], worst))
    print(f"Type I error of the chosen method in percent, for correlations of {' / '.join(map(str, CORRELATIONS))}")
    print(f"({replications} sets per design; single images have no correlation):\n")
    full = errors["chosen"]
    rows = [
        [kind, size, *(" / ".join(f"{v:.1f}" for d, v in full.items() if d[:3] == (kind, k, size)) for k in SCENES)]
        for kind in LOG_SDS
        for size in SIZES
    ]
    print(table(["differences", "images per scene", *(f"{k} scenes" for k in SCENES)], rows))
    error = 100 * np.sqrt(0.06 * 0.94 / replications)
    print(f"The largest is {max(full.values()):.2f}; the Monte-Carlo standard error is at most {error:.2f}.\n")
    print("Beyond what the method was made for, type I error in percent:\n")
    print(table(["differences", *(f"{k} scenes" for k in BEYOND)], beyond(replications)))
    print("Width beside the t-interval, and power (t / chosen, percent) for normal differences:\n")
    head = ["scenes", *(f"width, {kind}" for kind in LOG_SDS), *(f"mean of {e} sd" for e in (0.5, 1, 2))]
    print(table(head, prices(replications)))
    print("Tables of equally good rows that show more than one rank, in percent:\n")
    print(table(["rows", *(f"{k} scenes" for k in SCENES)], split_tables()))
    return [Figure("largest type I error of the chosen method", max(full.values()), "%", at_most=6)]
