"""Time one pass over a full-scale image: the CPU-time column of papers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from benchmark.conditions import Conditions
from benchmark.costs.prediction import predicted_of
from benchmark.costs.profiling import count_costs, meta_model, trace_card
from benchmark.host.environment import describe_environment
from benchmark.host.isolation import can_isolate
from benchmark.placing import resolved
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.timing.session import as_measurements, measure
from benchmark.types import Measurement, ProtocolRecord, Result, RunSpec, Tiling
from zoo.errors import UserError

NAME = "full-scale"
BUDGET_SECONDS = 20.0
_PROTOCOL = ProtocolRecord(name=NAME, version=1, text="one image of uniform noise in [0, 1]; nothing is scored")


def time_full_scale(
    model: str,
    size: tuple[int, int],
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    conditions: Conditions | None = None,
) -> Result:
    """Return a record with the time, memory and costs of one pass over planes of ``size``: ``latency_ms@fullscale``.

    The weights are random, because time does not depend on them. The time is measured in its own process for 20
    seconds; a pass that takes longer is the only one and is marked cold. ``conditions`` must be those of a CPU; with
    ``tile`` the image runs in pieces. A failure becomes the record's status.
    """
    conditions = conditions or Conditions()
    tilings: list[Tiling] = []
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
        measured = measure(
            entry.card.name,
            {"": predicted_of(traced, network)},
            options=entry.options,
            seed=seed,
            conditions=conditions,
            budgets={"": BUDGET_SECONDS},
            isolate=can_isolate(entry.card.build),
        )[""]
        if measured.timing is None:
            raise UserError(f"{measured.measurement.status}: {measured.measurement.error}")
        tilings += [measured.prepared.tiling] if measured.prepared.tiling else []
        for id, one in as_measurements(measured, shape).items():
            measurements[f"{id}@fullscale"] = one
    except UserError as failure:
        error = str(failure)
    spec = _spec(entry, size, seed, conditions)
    return Result.of(
        spec,
        evidence=entry.evidence,
        status="error" if error else "ok",
        error=error,
        seconds=time.perf_counter() - begin,
        measurements=measurements,
        protocol=_PROTOCOL,
        environment=describe_environment(),
        tilings=tilings,
        notes=entry.notes,
    )


def _spec(entry: Entry, size: tuple[int, int], seed: int, conditions: Conditions) -> RunSpec:
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
        conditions=resolved(conditions),
        seed=seed,
        evaluate=False,
    )
