"""Can the timing tier of the gate be relied on? False alarms and detections over simulated noisy reruns.

    python -m speed gate [RUNS] [quiet|ordinary|shared|"very noisy"|real ...]

The goal at "ordinary" and "shared", 60 pairs, is at most 1 % false alarms and at least 95 % found at +30 %.

Each case is a baseline and a rerun through ``benchmark.regression.gate.check`` with its default thresholds. Both are
drawn anew from a machine with: a clock that drifts over the run and slow spells, which hit network and calibration
kernel nearly alike; lognormal jitter of each sample and a few outliers; and a shift of the network's own time from run
to run, which no calibration sees. The numbers are shares of reruns that fail: of the same code ("+0 %", false alarms),
and of code that became slower. Nothing is marked as disturbed, though real spells are. "real" reruns are made of the
samples in ``leaderboards/baselines/ci.jsonl``: neighbouring passes of one network, from two places of its measurement
that do not overlap, with a shift as of an "ordinary" machine.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.conditions import Conditions
from benchmark.regression.baseline import read_baseline
from benchmark.regression.gate import check
from benchmark.regression.sources import ResultSet
from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec
from speed.figures import Figure

PAIRS, WITH_GOALS = 60, ("ordinary", "shared")
# The fewest pairs of a full measurement, what a pass of about 40 ms gets, and the most.
ALL_PAIRS = (20, 60, 200)
# Two real runs of one network have no more than half of its samples each.
REAL_PAIRS = (20, 30)
SLOWER = (1.0, 1.1, 1.15, 1.3)
REAL = Path(__file__).resolve().parents[1] / "leaderboards" / "baselines" / "ci.jsonl"


@dataclass(frozen=True)
class Noise:
    """Standard deviations (of logarithms) and shares of one kind of machine."""

    jitter: float
    between: float
    drift: float
    spells: float
    # By how much a spell slows, and how unequally it hits network and kernel.
    slowdown: float = 0.4
    unequal: float = 0.1
    outliers: float = 0.02


LEVELS = {
    "quiet": Noise(jitter=0.01, between=0.01, drift=0.02, spells=0.0),
    "ordinary": Noise(jitter=0.03, between=0.015, drift=0.05, spells=0.1),
    "shared": Noise(jitter=0.06, between=0.02, drift=0.10, spells=0.25),
    "very noisy": Noise(jitter=0.15, between=0.03, drift=0.20, spells=0.4, unequal=0.2),
}


def draw(noise: Noise, rng: np.random.Generator, *, slower: float = 1.0, pairs: int = PAIRS) -> dict[str, list[float]]:
    """Return the samples of one run in ms: of the network, and of the calibration kernel after each."""
    time = np.linspace(-0.5, 0.5, pairs)
    machine = np.exp(rng.normal(0, noise.drift) * time)
    in_spell = _spells(noise.spells, rng, pairs)
    samples = {}
    for name, base in (("latency_ms", 12.0 * slower * np.exp(rng.normal(0, noise.between))), ("calibration_ms", 9.0)):
        hit = 1 + noise.slowdown * in_spell * (1 + noise.unequal * rng.normal(size=pairs))
        jitter = np.exp(rng.normal(0, noise.jitter, pairs))
        outliers = np.where(rng.random(pairs) < noise.outliers, rng.uniform(1.5, 3, pairs), 1.0)
        samples[name] = list(base * machine * hit * jitter * outliers)
    return samples


def _spells(share: float, rng: np.random.Generator, pairs: int, length: int = 6) -> np.ndarray:
    """Return 1 inside slow spells of about ``length`` samples that take ``share`` of the run, else 0."""
    starts = rng.random(pairs) < share / length
    return (np.convolve(starts, np.ones(length))[:pairs] > 0).astype(float)


@functools.cache
def real_samples() -> list[dict[str, list[float]]]:
    """Return the samples of each network in the committed baseline, in the order in which they were taken."""
    return [kept.samples[""] for kept in read_baseline(REAL)]


def windows(rng: np.random.Generator, pairs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return two runs of ``pairs`` neighbouring passes each, from the real samples of one network."""
    series = real_samples()
    chosen = series[rng.integers(len(series))]
    spare = len(chosen["latency_ms"]) - 2 * pairs
    first, second = np.sort(rng.integers(0, spare + 1, 2))
    cuts = [slice(start, start + pairs) for start in rng.permutation([first, second + pairs])]
    before, after = ({name: list(values[cut]) for name, values in chosen.items()} for cut in cuts)
    return before, after


def as_set(samples: dict[str, list[float]], name: str = "simulated") -> ResultSet:
    """Return a set of one record with these samples at the dataset's size."""
    latency, calibration = (float(np.median(samples[name])) for name in ("latency_ms", "calibration_ms"))
    beside: dict[str, Any] = {"kind": "timing", "higher_is_better": False, "n": len(samples["latency_ms"])}
    measurements = {
        "latency_ms": Measurement(value=latency, unit="ms", definition="a", **beside),
        "relative_latency": Measurement(value=latency / calibration, unit="", definition="b", **beside),
    }
    result = _RECORD.model_copy(update={"measurements": measurements})
    return ResultSet(name, [result], lambda _: {}, lambda _: {"": samples})


def alarms(noise: Noise, runs: int, *, slower: float = 1.0, seed: int = 0, pairs: int = PAIRS) -> int:
    """Return in how many of ``runs`` reruns the gate fails."""
    rng = np.random.default_rng(seed)
    return _failed(lambda: (draw(noise, rng, pairs=pairs), draw(noise, rng, slower=slower, pairs=pairs)), runs)


def real_alarms(runs: int, *, slower: float, seed: int, pairs: int) -> int:
    """Return in how many of ``runs`` reruns the gate fails that are made of real samples."""
    rng, between = np.random.default_rng(seed), LEVELS["ordinary"].between

    def reruns() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        before, after = windows(rng, pairs)
        for side, factor in ((before, 1.0), (after, slower)):
            side["latency_ms"] = list(factor * np.exp(rng.normal(0, between)) * np.asarray(side["latency_ms"]))
        return before, after

    return _failed(reruns, runs)


def _failed(reruns: Callable[[], tuple[dict[str, list[float]], dict[str, list[float]]]], runs: int) -> int:
    pairs = (reruns() for _ in range(runs))
    return sum(not check(as_set(before, "before"), as_set(after, "after")).passes for before, after in pairs)


_SPEC = RunSpec(
    model="simulated",
    options={},
    code="v1",
    weights_digest=None,
    dataset="none",
    dataset_digest="0",
    split="test",
    limit=None,
    protocol="none-v1",
    metrics={},
    profilers=["latency"],
    conditions=Conditions(device="cpu", precision="fp32", threads=1),
    seed=0,
    evaluate=True,
)
_RECORD = Result(
    key=_SPEC.key(),
    model=_SPEC.model,
    options={},
    dataset="none",
    split="test",
    n=0,
    evidence="untrained",
    status="ok",
    error=None,
    seconds=0,
    created="2000-01-01T00:00:00+00:00",
    measurements={},
    per_image=None,
    pictures=None,
    spec=_SPEC,
    protocol=ProtocolRecord(name="none", version=1, text=""),
    environment=Environment(
        machine="here",
        cpu="any",
        cores=1,
        memory_bytes=0,
        platform="any",
        python="3",
        torch="2",
        packages={},
        threads=1,
        load=0,
        commit=None,
        dirty=None,
    ),
)


def main() -> list[Figure]:
    """Print the shares of reruns that fail, for each kind of machine, number of pairs and slowdown.

    Returns those of 60 pairs on machines for which there are goals.
    """
    figures = []
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    kinds = sys.argv[2:] or (*LEVELS, "real")
    titles = [f"+{100 * (slower - 1):.0f} %" for slower in SLOWER]
    print(f"{'noise':12} {'pairs':>5} {' '.join(f'{title:>8}' for title in titles)}   of {runs} reruns each")
    for name in kinds:
        for pairs in ALL_PAIRS if name in LEVELS else REAL_PAIRS:
            shares = []
            for seed, slower in enumerate(SLOWER, start=1):
                beside: dict[str, Any] = {"slower": slower, "seed": seed, "pairs": pairs}
                found = alarms(LEVELS[name], runs, **beside) if name in LEVELS else real_alarms(runs, **beside)
                shares.append(found / runs)
            print(f"{name:12} {pairs:5} {' '.join(f'{share:8.1%}' for share in shares)}", flush=True)
            if name in WITH_GOALS and pairs == PAIRS:
                figures += [
                    Figure(f"{name}: false alarms", 100 * shares[0], "%", at_most=1),
                    Figure(f"{name}: found at +30 %", 100 * shares[-1], "%", at_least=95),
                ]
    return figures
