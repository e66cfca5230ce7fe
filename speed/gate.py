"""Can the timing tier of the gate be relied on? False alarms and detections over simulated noisy reruns.

    python speed/gate.py [RUNS]      # goals at "ordinary" and "shared": at most 1 % alarms, at least 95 % found

Each case is a baseline and a rerun, 60 pairs of samples each, through ``benchmark.regression.gate.check`` with its
default thresholds. Both are drawn anew from a machine with: a clock that drifts over the run and slow spells, which hit
network and calibration kernel nearly alike; lognormal jitter of each sample and a few outliers; and a shift of the
network's own time from run to run, which no calibration sees. "false alarms" are reruns of the same code that fail,
"found" are reruns of code that became slower by 30 % and fail. Nothing is marked as disturbed, though real spells are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from benchmark.regression.gate import check
from benchmark.regression.sources import ResultSet
from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec

PAIRS = 60
SLOWER = 1.3


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


def draw(noise: Noise, rng: np.random.Generator, *, slower: float = 1.0) -> dict[str, list[float]]:
    """Return the samples of one run in ms: of the network, and of the calibration kernel after each."""
    time = np.linspace(-0.5, 0.5, PAIRS)
    machine = np.exp(rng.normal(0, noise.drift) * time)
    in_spell = _spells(noise.spells, rng)
    samples = {}
    for name, base in (("latency_ms", 12.0 * slower * np.exp(rng.normal(0, noise.between))), ("calibration_ms", 9.0)):
        hit = 1 + noise.slowdown * in_spell * (1 + noise.unequal * rng.normal(size=PAIRS))
        jitter = np.exp(rng.normal(0, noise.jitter, PAIRS))
        outliers = np.where(rng.random(PAIRS) < noise.outliers, rng.uniform(1.5, 3, PAIRS), 1.0)
        samples[name] = list(base * machine * hit * jitter * outliers)
    return samples


def _spells(share: float, rng: np.random.Generator, length: int = 6) -> np.ndarray:
    """Return 1 inside slow spells of about ``length`` samples that take ``share`` of the run, else 0."""
    starts = rng.random(PAIRS) < share / length
    return (np.convolve(starts, np.ones(length))[:PAIRS] > 0).astype(float)


def as_set(samples: dict[str, list[float]], name: str = "simulated") -> ResultSet:
    """Return a set of one record with these samples at the dataset's size."""
    latency, calibration = (float(np.median(samples[name])) for name in ("latency_ms", "calibration_ms"))
    beside = {"kind": "timing", "higher_is_better": False, "n": PAIRS}
    measurements = {
        "latency_ms": Measurement(value=latency, unit="ms", definition="a", **beside),
        "relative_latency": Measurement(value=latency / calibration, unit="", definition="b", **beside),
    }
    result = _RECORD.model_copy(update={"measurements": measurements})
    return ResultSet(name, [result], lambda _: {}, lambda _: {"": samples})


def alarms(noise: Noise, runs: int, *, slower: float = 1.0, seed: int = 0) -> int:
    """Return in how many of ``runs`` reruns the gate fails."""
    rng = np.random.default_rng(seed)
    failed = 0
    for _ in range(runs):
        baseline, rerun = as_set(draw(noise, rng)), as_set(draw(noise, rng, slower=slower))
        failed += not check(baseline, rerun).passes
    return failed


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
    device="cpu",
    precision="fp32",
    threads=1,
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


def main() -> None:
    """Print false alarms and detections at each level of noise."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{'noise':12} {'false alarms':>16} {'30 % slower found':>20}   of {runs} reruns each")
    for name, noise in LEVELS.items():
        false, found = alarms(noise, runs, seed=1), alarms(noise, runs, slower=SLOWER, seed=2)
        print(f"{name:12} {false:8} ({false / runs:5.1%}) {found:12} ({found / runs:5.1%})")


if __name__ == "__main__":
    main()
