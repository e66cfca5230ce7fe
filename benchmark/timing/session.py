"""Measure one model's time and memory at one or more sizes in a child process: for ``profile --measure`` and records.

It runs under the machine-wide lock of timings. If the predicted memory is not available, nothing runs and the row says
so. A size that ends the child (out of memory, a crash, the time limit) is marked; the others go on in a new child.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch

from benchmark.conditions import WHOLE, Conditions, Limits
from benchmark.costs.prediction import Predicted, predict
from benchmark.host.isolation import Outcome
from benchmark.host.turns import timing_turn
from benchmark.measured import Ceilings, Measured, State, Timing
from benchmark.placing import check, described, resolved
from benchmark.profilers import PROFILERS
from benchmark.record import Record
from benchmark.reporting import Relayed, Reporter
from benchmark.selection import jsonable_options
from benchmark.timing.child import measure_model, summary_of
from benchmark.timing.exchange import moved_apart
from benchmark.timing.messages import Job, MemoryAt, PairAt, PreparedAt, Request, SizeEvent, TimedAt, WarmUpAt
from benchmark.timing.roofline import ceilings, roofline
from benchmark.timing.room import shortage, tiled_needs
from benchmark.types import Measurement
from benchmark.units import shape_text
from zoo.errors import OutputError, TileError, UserError

# Sampling keeps to --time-limit itself. The child is ended after one and a half times the limit plus these seconds, for
# building the network and for the pass that is running.
GRACE_SECONDS = 10.0
# In addition, an engine may take this long to compile a network for a size.
COMPILE_SECONDS = 120.0
# Decisions may take this long: plans of pieces, and passes that compare pieces with the whole on small images.
DECIDING_SECONDS = 60.0
# A pass of up to this many seconds is timed again after a warm-up, whatever the budget is: the pass that measures
# memory gives freed memory back, page by page, and can take several times as long as one that keeps it.
COLD_AFTER = 120.0


def measure(
    model: str,
    predicted: Mapping[str, Predicted],
    *,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    conditions: Conditions | None = None,
    limits: Limits | None = None,
    budgets: Mapping[str, float] | None = None,
    longest_pass: float = math.inf,
    isolate: bool = True,
    reporter: Reporter | None = None,
) -> dict[str, Measured]:
    """Return what was measured by the names of ``predicted``; a value that was not measured is None.

    ``measurement.status`` is ``ok``, ``skipped`` (the predicted memory is not available, or a pass would take more than
    ``longest_pass`` seconds at the machine's ceilings), ``oom``, ``error`` or ``timeout`` with the reason in
    ``measurement.error`` and, where an exception ended the child, its class in ``measurement.exception``; samples from
    before such an end are kept, and ``latency_ms.complete`` is false if they are fewer than 20. ``tiling`` says how
    images were cut; None without ``--tile``. ``limits``: the process's memory, and seconds of timing at each size.
    Waits for other work of this tool on the machine. ``isolate`` False measures in this process, for models that a
    child could not load. Raises UserError for conditions that cannot be kept and for the user's mistakes that only the
    child could see.
    """
    conditions, limits, reporter = conditions or Conditions(), limits or Limits(), reporter or Reporter()
    check(conditions, limits)
    job = Job(
        model=model,
        options=jsonable_options(options or {}),
        weights=weights and os.path.abspath(weights),
        seed=seed,
        conditions=resolved(conditions),
        memory_limit=limits.memory_bytes,
    )
    session = _Session(job, predicted, limits, budgets or {}, isolate, reporter)
    with timing_turn(reporter):
        threads = job.conditions.threads or torch.get_num_threads()
        known = ceilings(threads, reporter) if conditions.device == "cpu" else None
        allowed = known and known.of(conditions.precision)
        session.skip_what_does_not_fit()
        if known:
            session.skip_what_takes_long(allowed or known, longest_pass)
        session.measure_the_rest()
    return {size: _completed(one, predicted[size], threads, allowed) for size, one in session.measured.items()}


class _Session:
    """The measurement of one model at several sizes, child by child."""

    def __init__(
        self,
        job: Job,
        predicted: Mapping[str, Predicted],
        limits: Limits,
        budgets: Mapping[str, float],
        isolate: bool,
        reporter: Reporter,
    ) -> None:
        self.job, self.predicted, self.limits, self.budgets = job, predicted, limits, budgets
        self.isolate, self.reporter, self.conditions = isolate, reporter, job.conditions
        # The memory that a pass needs at the sizes at which images run in pieces.
        self.needs = tiled_needs(job, predicted)
        self.measured = {size: Measured(measurement=self._state(size)) for size in predicted}
        self.open = list(predicted)

    def _state(self, size: str) -> State:
        # The memory that torch would need says nothing about an engine.
        by_torch = self.conditions.by_torch
        need = self.needs.get(size, self.predicted[size].need(self.conditions)) if by_torch else None
        return State(
            under=self.conditions,
            time_limit=self.limits.seconds,
            memory_limit=self.limits.memory_bytes,
            conditions=described(self.conditions),
            isolated=self.isolate,
            predicted_bytes=need,
        )

    def skip_what_does_not_fit(self) -> None:
        """Close the sizes whose predicted memory is not available."""
        for size in list(self.open):
            if short := shortage(self.predicted[size], self.conditions, self.limits, self.needs.get(size)):
                self._close(size, "skipped", short)

    def skip_what_takes_long(self, allowed: Ceilings, longest: float) -> None:
        """Close the sizes at which one pass takes more than ``longest`` seconds at the machine's ceilings."""
        for size in list(self.open):
            one = self.predicted[size]
            seconds = roofline(one.flops, _moved(one, self.conditions), math.inf, allowed).allowed_ms / 1000
            if seconds > longest:
                shape = shape_text(one.shape)
                text = f"not run: one pass over {shape} takes at least {seconds:.0f} s at this machine's ceilings"
                self._close(size, "skipped", f"{text} (limit {longest:g} s; --time-limit raises it)")

    def measure_the_rest(self) -> None:
        """Run children until every size is closed; raises UserError for a user's mistake that a child found."""
        while self.open:
            outcome = self._run_child()
            if outcome.exception == "UserError":
                raise UserError(outcome.error)
            self._take(outcome)

    def _run_child(self) -> Outcome:
        limit = self.limits.seconds
        request = Request(
            job=self.job,
            sizes={size: list(self.predicted[size].shape) for size in self.open},
            budgets={size: limit if limit is not None else self.budgets.get(size) for size in self.open},
            # Under a time limit a slow network is not run twice.
            cold_after=COLD_AFTER if limit is None else None,
            own_process=self.isolate,
        )
        passes = self.reporter.progress(f"{self.job.model}: time, pass", 0)
        with passes as passed, closing(Relayed(self.reporter)) as relayed:

            def take(event: Record) -> None:
                if isinstance(event, (WarmUpAt, PairAt)):
                    passed()
                else:
                    relayed.take(event)

            if not self.isolate:
                return measure_model.here(request, on_event=take)
            grace = GRACE_SECONDS + (0.0 if self.conditions.by_torch else COMPILE_SECONDS)
            grace += DECIDING_SECONDS if self.conditions.is_tiled else 0.0
            seconds = None if limit is None else (1.5 * limit + grace) * len(self.open)
            limits, threads = Limits(self.limits.memory_bytes, seconds), self.conditions.threads
            return measure_model.isolated(request, limits=limits, threads=threads, on_event=take)

    def _take(self, outcome: Outcome) -> None:
        """Keep what a child sent; if it was ended, mark the size that it was measuring."""
        events = [event for event in outcome.events if isinstance(event, SizeEvent)]
        for size in list(self.open):
            own = [event for event in events if event.size == size]
            self.measured[size] = _merged(self.measured[size], own)
            if any(isinstance(event, TimedAt) for event in own):
                self._close(size, *self._end_of(self.measured[size].timing))
        if outcome.status == "ok":
            return
        last = events[-1].size if events else None
        # If the child sent nothing, we cannot tell which size ended it: all are marked.
        for size in [last] if last in self.open else list(self.open):
            self._close(size, outcome.status, outcome.error, outcome.exception)

    def _end_of(self, timing: Timing | None) -> tuple[str, str | None]:
        """Return the status of a finished timing; --time-limit may have ended it."""
        limit = self.limits.seconds
        if timing is None or limit is None or timing.latency_ms.complete:
            return "ok", None
        return "timeout", f"{timing.latency_ms.n} samples before the time limit of {limit:g} s"

    def _close(self, size: str, status: str, error: str | None, exception: str | None = None) -> None:
        self.open.remove(size)
        self.measured[size] = self.measured[size].ended(status, error, exception)


def _merged(measured: Measured, events: Iterable[Record]) -> Measured:
    """Return what a child sent about one size; for a timing that was cut off, the statistics are computed here."""
    pairs, warm_up = list[PairAt](), list[float]()
    for event in events:
        if isinstance(event, PreparedAt):
            measured = measured.with_values(prepared=event.prepared)
        elif isinstance(event, MemoryAt):
            measured = measured.with_values(memory=event.memory)
        elif isinstance(event, TimedAt):
            measured = measured.with_values(timing=event.timing)
        elif isinstance(event, PairAt):
            pairs.append(event)
        elif isinstance(event, WarmUpAt):
            warm_up.append(event.warm_up_ms)
    if pairs and measured.timing is None:
        times = [pair.latency_ms for pair in pairs], [pair.calibration_ms for pair in pairs]
        timing = summary_of(*times, warm_up, heap_kept=True, whole=False)
        exchange = [pair.exchange_ms for pair in pairs if pair.exchange_ms is not None]
        # The child was killed, so we cannot tell whether the timing was disturbed.
        measured = measured.with_values(timing=timing.model_copy(update={"exchange_ms": exchange, "tainted": None}))
    return measured


def _completed(measured: Measured, predicted: Predicted, threads: int, allowed: Ceilings | None) -> Measured:
    """Add what follows from the time: ms per megapixel, whether cores lay apart, the time against the ceilings."""
    timing, conditions, tiling = measured.timing, measured.measurement.under, measured.prepared.tiling
    if timing is None:
        return measured
    # The statistics of a timing that was cut off come from this process, which may use another number of threads.
    latency = timing.latency_ms.model_copy(update={"threads": conditions.threads})
    changed: dict[str, Any] = {"latency_ms": latency}
    if apart := moved_apart(timing.exchange_ms, threads):
        changed |= {"tainted": True, "taint_reasons": [*timing.taint_reasons, apart]}
    per_mpix = latency.median / (predicted.output_pixels / 1e6)
    measured = measured.with_values(timing=timing.model_copy(update=changed), ms_per_mpix=per_mpix)
    # The comparison needs all arithmetic to be counted.
    if allowed and predicted.complete:
        # If the image ran whole in spite of --tile, its tensors do move through memory.
        whole = tiling is not None and tiling.mode == "whole"
        moved = _moved(predicted, conditions.model_copy(update={"tile": WHOLE}) if whole else conditions)
        measured = measured.with_values(roofline=roofline(predicted.flops, moved, latency.median, allowed))
    return measured


def _moved(predicted: Predicted, conditions: Conditions) -> int:
    """Return the bytes that a pass moves between operations.

    0 for an engine, which fuses them in its own way, and for tiles, whose tensors stay in the caches.
    """
    moved = predicted.moved_bytes if conditions.by_torch and not conditions.is_tiled else 0
    return moved // 2 if conditions.precision == "bf16" else moved


def measure_profiled(document: Mapping[str, Any], **arguments: Any) -> Measured:
    """Return the measured part of what ``profiling.profile`` returned; the arguments are those of ``measure``.

    Raises UserError as ``measure`` does, for impossible tiles, and for a model that does not return one image.
    """
    size = tuple(document["input_shape"][-2:])
    predicted = predict(document["model"], size, document["options"])
    measured = measure(document["model"], {"": predicted}, options=document["options"], **arguments)[""]
    if measured.measurement.exception in (TileError.__name__, OutputError.__name__):
        raise UserError(measured.measurement.error)
    return measured


def as_measurements(measured: Measured, shape: Sequence[int]) -> dict[str, Measurement]:
    """Return the values measured at one size as measurements of a record; missing values are left out."""
    found: dict[str, Measurement] = {}
    for card in PROFILERS:
        if card.kind == "timing":
            found |= card.measure(measured)
    return {id: measurement.model_copy(update={"input_shape": list(shape)}) for id, measurement in found.items()}
