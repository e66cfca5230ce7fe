"""Time and memory of one model for a record, measured on this machine or on a node of a cluster."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import Predicted
from benchmark.host.calls import Emit, child_call
from benchmark.host.environment import describe_environment
from benchmark.host.turns import timing_turn
from benchmark.record import Record
from benchmark.reporting import Relay, Reporter
from benchmark.running.child import check_same
from benchmark.running.coldload import PROGRAMS, ToLoad, measure_cold_load
from benchmark.running.messages import Same
from benchmark.selection import entry_of
from benchmark.timing.messages import Job
from benchmark.timing.session import as_measurements, measure
from benchmark.types import Environment, Measurement, Status, Tiling
from benchmark.units import shape_text

# Seconds of timing at the larger sizes, and the longest pass that is tried there without --time-limit.
LARGE_BUDGET, LONGEST_PASS = 5.0, 60.0
# The processes of a cold load, with the export of the network before them, may take this long.
COLD_LOAD_SECONDS = 300.0


class ToTime(Record):
    """A model to time at ``sizes`` (by suffix of the ids), its file of weights, and what its machine must have."""

    model: str
    options: dict[str, Any]
    weights: str | None
    seed: int
    sizes: dict[str, Predicted]
    conditions: Conditions
    seconds: float | None
    memory_bytes: int | None
    same: Same


class Timed(Record):
    """What was measured, by id; ``samples`` by suffix; ``status`` is that of the dataset's own size."""

    measurements: dict[str, Measurement]
    samples: dict[str, dict[str, Any]]
    tilings: list[Tiling]
    notes: list[str]
    status: Status
    error: str | None
    environment: Environment


@child_call()
def time_on_node(request: ToTime, emit: Emit) -> Timed:
    """Time a model on another machine than the one where the run was started; raises UserError if code differs."""
    entry = entry_of(request.model, request.weights, request.options)
    check_same(request.same, entry)
    return time_model(request, Relay(emit))


def time_model(work: ToTime, reporter: Reporter, *, isolate: bool = True) -> Timed:
    """Time a model on this machine, alone: other work of this tool waits meanwhile."""
    measured = measure(
        work.model,
        work.sizes,
        options=work.options,
        weights=work.weights,
        seed=work.seed,
        conditions=work.conditions.without_sigma(),
        limits=Limits(work.memory_bytes, work.seconds),
        budgets={suffix: LARGE_BUDGET for suffix in work.sizes if suffix},
        longest_pass=LONGEST_PASS if work.seconds is None else max(work.seconds, LONGEST_PASS),
        isolate=isolate,
        reporter=reporter,
    )
    measurements: dict[str, Measurement] = {}
    samples: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for suffix, one in measured.items():
        found = as_measurements(one, work.sizes[suffix].shape)
        measurements |= {id + suffix: measurement for id, measurement in found.items()}
        state, timing = one.measurement, one.timing
        if timing:
            samples[suffix] = {
                "latency_ms": timing.latency_ms.samples,
                "calibration_ms": timing.calibration_ms.samples,
                **({"exchange_ms": timing.exchange_ms} if timing.exchange_ms else {}),
                "warm_up_ms": timing.latency_ms.warm_up,
                "observed": timing.observed,
            }
        elif state.status != "ok":
            # If there are samples, the measurement itself says what is wrong with them.
            notes.append(f"time at {shape_text(work.sizes[suffix].shape[1:])}: {state.error}")
    if "" in work.sizes and work.conditions.backend in PROGRAMS and work.conditions.precision != "bf16":
        with timing_turn(reporter):
            loaded = _cold_load(work, isolate)
        measurements |= {"cold_load_ms": loaded} if isinstance(loaded, Measurement) else {}
        notes += [f"cold load: {loaded}"] if isinstance(loaded, str) else []
    status: Status = "ok"
    first = measured[""].measurement if "" in measured else None
    if first and first.status in ("oom", "error"):
        status = first.status
    threads = work.conditions.threads or torch.get_num_threads()
    return Timed(
        measurements=measurements,
        samples=samples,
        tilings=[one.prepared.tiling for one in measured.values() if one.prepared.tiling],
        notes=notes,
        status=status,
        error=first.error if first and status != "ok" else None,
        environment=describe_environment().model_copy(update={"threads": threads}),
    )


def _cold_load(work: ToTime, isolate: bool) -> Measurement | str:
    """Return the cold load of an engine at the dataset's size, or why there is none."""
    job = Job(
        model=work.model,
        options=work.options,
        weights=work.weights,
        seed=work.seed,
        conditions=work.conditions.without_sigma(),
    )
    shape = list(work.sizes[""].shape)
    request, limits = ToLoad(job=job, shape=shape), Limits(work.memory_bytes, COLD_LOAD_SECONDS)
    threads = work.conditions.threads
    call = measure_cold_load
    outcome = call.isolated(request, limits=limits, threads=threads) if isolate else call.here(request)
    if outcome.status != "ok":
        return str(outcome.error)
    measured: Measurement = outcome.value.measurement(job)
    return measured.model_copy(update={"input_shape": shape})
