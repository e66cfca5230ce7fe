"""Time one pass over a full-scale image: the CPU-time column of papers."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmark.environment import describe_environment
from benchmark.profiling import CostError, count_costs, meta_model, trace_card
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.types import Measurement, ProtocolRecord, Result, RunSpec
from zoo.errors import SizeError
from zoo.raw import pad_planes

NAME = "full-scale"
# A pass that takes longer than this is its own warm-up: a second one would not be faster, only later.
LONG_SECONDS = 20.0
SAMPLES = 5
_PROTOCOL = ProtocolRecord(name=NAME, version=1, text="one image of uniform noise in [0, 1]; nothing is scored")


def time_full_scale(
    model: str, size: tuple[int, int], *, options: Mapping[str, Any] | None = None, seed: int = 0
) -> Result:
    """Return a record with ``latency_ms@fullscale`` and the costs of one pass over planes of ``size``.

    The weights are random: time does not depend on them. The first pass warms up; passes of over 20 s are timed
    once and cold, which the definition says. A failure becomes the record's status.
    """
    entry = entry_of(model, None, options or {})
    begin = time.perf_counter()
    measurements: dict[str, Measurement] = {}
    error = None
    try:
        network = meta_model(entry.card, entry.options)
        traced = trace_card(entry.card, entry.options, size, network)
        shape = list(traced.input_shape)
        for id, cost in count_costs(network, traced).items():
            measurements[f"{id}@fullscale"] = cost.model_copy(update={"input_shape": shape})
        measurements["latency_ms@fullscale"] = _time(entry, size, seed).model_copy(update={"input_shape": shape})
    except (CostError, SizeError) as failure:
        error = str(failure)
    except (RuntimeError, MemoryError) as failure:
        error = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
    spec = _spec(entry, size, seed)
    return Result(
        key=spec.key(),
        model=entry.card.name,
        options=jsonable_options(entry.options),
        dataset=NAME,
        split=f"{size[0]}x{size[1]}",
        n=0,
        evidence=entry.evidence,
        status="error" if error else "ok",
        error=error,
        seconds=round(time.perf_counter() - begin, 3),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        measurements=measurements,
        per_image=None,
        pictures=None,
        spec=spec,
        protocol=_PROTOCOL,
        environment=describe_environment(),
    )


def _time(entry: Entry, size: tuple[int, int], seed: int) -> Measurement:
    spec = entry.card.input_for(entry.options)
    network = entry.build(seed=seed)
    planes = pad_planes(torch.rand(1, spec.channels, *size), spec)
    samples: list[float] = []
    with torch.inference_mode():
        start = time.perf_counter()
        network(planes)
        first = time.perf_counter() - start
        while first <= LONG_SECONDS and len(samples) < SAMPLES:
            start = time.perf_counter()
            network(planes)
            samples.append(time.perf_counter() - start)
    how = "one cold pass" if not samples else f"median of {len(samples)} passes after a warm-up"
    times = [1000 * value for value in samples or [first]]
    q1, median, q3 = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    return Measurement(
        value=median,
        unit="ms",
        definition=f"wall-clock time of one forward pass over one whole image on the CPU: {how}",
        kind="timing",
        higher_is_better=False,
        q1=q1,
        q3=q3,
        n=len(times),
        threads=torch.get_num_threads(),
    )


def _spec(entry: Entry, size: tuple[int, int], seed: int) -> RunSpec:
    return RunSpec(
        model=entry.card.name,
        options=jsonable_options(entry.options),
        code=entry.card.code_digest,
        weights_digest=None,
        dataset=NAME,
        dataset_digest="uniform noise",
        split=f"{size[0]}x{size[1]}",
        limit=None,
        protocol=f"{NAME}-v1",
        metrics={},
        profilers=["macs", "memory", "params", "latency@fullscale"],
        device="cpu",
        precision="float32",
        threads=torch.get_num_threads(),
        seed=seed,
        evaluate=False,
    )
