"""Measure one model's time and memory at one or more sizes in a child process: for ``profile --measure`` and records.

It runs under the machine-wide lock of timings. Where the predicted memory is more than there is, nothing runs and the
row says so. A size that ends the child (out of memory, a crash, the time limit) is marked; the others go on in another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch

from benchmark.conditions import WHOLE, Conditions, Limits
from benchmark.costs.prediction import Predicted, predict
from benchmark.host.engine import Outcome, run_here, run_isolated
from benchmark.host.turns import timing_turn
from benchmark.placing import check, described
from benchmark.profilers import PROFILERS
from benchmark.reporting import Relayed, Reporter
from benchmark.selection import jsonable_options
from benchmark.timing.job import Job
from benchmark.timing.measure import measure_model, summary_of
from benchmark.timing.roofline import ceilings, roofline
from benchmark.timing.room import shortage, tiled_needs
from benchmark.types import Measurement
from benchmark.units import GIB
from zoo.errors import OutputError, TileError, UserError

# Sampling keeps to --time-limit itself; after this many seconds more (building the network, the pass that is under
# way) and half as long again the child is ended.
GRACE_SECONDS = 10.0
# Beside that, what an engine may take to compile a network for a size.
COMPILE_SECONDS = 120.0
# And what choosing tiles may take: passes over crops that show the network's speed, once per machine.
CHOOSE_SECONDS = 60.0
# A pass of up to this many seconds is timed once more after a warm-up, whatever the budget.
COLD_AFTER = 60.0


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
) -> dict[str, dict[str, Any]]:
    """Return the measured part of a profile by the names of ``predicted``; a value that was not measured is None.

    ``measurement.status`` is ``ok``, ``skipped`` (the predicted memory is not there, or a pass would take more than
    ``longest_pass`` seconds at the machine's ceilings), ``oom``, ``error`` or ``timeout`` with the reason in
    ``measurement.error`` and, where an exception ended the child, its class in ``measurement.exception``; samples from
    before such an end are kept, and ``latency_ms.complete`` is false where they are fewer than 20. ``tiling`` is how
    images went through, None without ``--tile``. Waits for other work of this tool on the machine. ``isolate`` False
    measures in this process, for models that a child could not load. Raises UserError for conditions that cannot be
    kept and for the user's mistakes that only the child could see.
    """
    conditions, limits, reporter = conditions or Conditions(), limits or Limits(), reporter or Reporter()
    check(conditions, limits)
    threads = conditions.threads or torch.get_num_threads()
    job = Job(
        model=model,
        options=jsonable_options(options or {}),
        weights=weights and os.path.abspath(weights),
        seed=seed,
        conditions=conditions,
        memory_limit=limits.memory_bytes,
    )
    needs = tiled_needs(job, predicted)
    run = _Run(job, predicted, needs, limits, threads, budgets or {}, isolate, reporter)
    with timing_turn(reporter):
        limit = ceilings(threads, reporter) if conditions.device == "cpu" else None
        run.skip_what_does_not_fit()
        if limit:
            run.skip_what_takes_long(limit, longest_pass)
        run.measure_the_rest()
    for size, document in run.documents.items():
        _derive(document, predicted[size], limit, conditions)
    return run.documents


class _Run:
    """The measurement of one model at several sizes, child by child."""

    def __init__(
        self,
        job: Job,
        predicted: Mapping[str, Predicted],
        needs: Mapping[str, int],
        limits: Limits,
        threads: int,
        budgets: Mapping[str, float],
        isolate: bool,
        reporter: Reporter,
    ) -> None:
        self.job, self.predicted, self.limits, self.threads = job, predicted, limits, threads
        self.conditions = conditions = job.conditions
        self.needs, self.budgets, self.isolate, self.reporter = needs, budgets, isolate, reporter
        self.documents = {size: _nothing(conditions, limits, threads, isolate) for size in predicted}
        # What torch would need says nothing about an engine.
        for size, one in predicted.items() if conditions.by_torch else ():
            self.documents[size]["measurement"]["predicted_bytes"] = needs.get(size, one.need(conditions))
        self.open = list(predicted)

    def skip_what_does_not_fit(self) -> None:
        """Close the sizes whose predicted memory is not there."""
        for size in list(self.open):
            if short := shortage(self.predicted[size], self.conditions, self.limits, self.needs.get(size)):
                self._close(size, "skipped", short)

    def skip_what_takes_long(self, limit: Mapping[str, float], longest: float) -> None:
        """Close the sizes at which one pass takes more than ``longest`` seconds at the machine's ceilings."""
        for size in list(self.open):
            one = self.predicted[size]
            seconds = roofline(one.flops, _moved(one, self.conditions), math.inf, limit)["allowed_ms"] / 1000
            if seconds > longest:
                shape = "x".join(map(str, one.shape))
                text = f"not run: one pass over {shape} takes at least {seconds:.0f} s at this machine's ceilings"
                self._close(size, "skipped", f"{text} (limit {longest:g} s; --time-limit raises it)")

    def measure_the_rest(self) -> None:
        """Run children until every size is closed; raises UserError for a user's mistake that one found."""
        while self.open:
            outcome = self._run_child()
            if outcome.exception == "UserError":
                raise UserError(outcome.error)
            self._take(outcome)

    def _run_child(self) -> Outcome:
        limit, one_after_another = self.limits.seconds, len(self.open)
        budgets = {size: limit if limit is not None else self.budgets.get(size) for size in self.open}
        arguments: dict[str, Any] = {
            "job": self.job.model_dump(mode="json"),
            "sizes": {size: list(self.predicted[size].shape) for size in self.open},
            "budgets": budgets,
            # Asked to keep to a time, a slow network is not run twice.
            "cold_after": COLD_AFTER if limit is None else None,
        }
        with closing(Relayed(self.reporter)) as relayed:
            return self._start(arguments, lambda event: relayed.take(event), one_after_another)

    def _start(self, arguments: dict[str, Any], take: Callable[[Any], object], one_after_another: int) -> Outcome:
        limit = self.limits.seconds
        if not self.isolate:
            return run_here(measure_model, arguments | {"own_process": False}, on_event=take)
        grace = GRACE_SECONDS + (0.0 if self.conditions.by_torch else COMPILE_SECONDS)
        grace += CHOOSE_SECONDS if self.conditions.is_tiled else 0.0
        seconds = None if limit is None else (1.5 * limit + grace) * one_after_another
        limits = Limits(self.limits.memory_bytes, seconds)
        return run_isolated(
            "benchmark.timing.measure:measure_model", arguments, limits=limits, threads=self.threads, on_event=take
        )

    def _take(self, outcome: Outcome) -> None:
        """Keep what a child sent; where it was ended, mark the size that it was at."""
        for size in list(self.open):
            events = [event for event in outcome.events if event["size"] == size]
            self.documents[size] |= _merged(events)
            if any("timing" in event for event in events):
                latency, limit = self.documents[size]["latency_ms"], self.limits.seconds
                cut = limit is not None and not latency["complete"]
                text = f"{latency['n']} samples before the time limit of {limit:g} s" if cut else None
                self._close(size, "timeout" if cut else "ok", text)
        if outcome.status == "ok":
            return
        last = outcome.events[-1]["size"] if outcome.events else None
        # Without a word from the child, no size is better than another.
        for size in [last] if last in self.open else list(self.open):
            self._close(size, outcome.status, outcome.error)
            self.documents[size]["measurement"]["exception"] = outcome.exception

    def _close(self, size: str, status: str, error: str | None) -> None:
        self.open.remove(size)
        self.documents[size]["measurement"] |= {"status": status, "error": error}


def _nothing(conditions: Conditions, limits: Limits, threads: int, isolated: bool) -> dict[str, Any]:
    return {
        "latency_ms": None,
        "relative_latency": None,
        "relative_latency_ci": None,
        "ms_per_mpix": None,
        "calibration_ms": None,
        "tainted": None,
        "taint_reasons": [],
        "observed": None,
        "peak_rss_bytes": None,
        "peak_rss": None,
        "cuda_peak_bytes": None,
        "engine": None,
        "tiling": None,
        "roofline": None,
        "measurement": {
            "status": "ok",
            "error": None,
            "exception": None,
            **conditions.model_dump(),
            "time_limit": limits.seconds,
            "memory_limit": limits.memory_bytes,
            "threads": threads,
            "conditions": described(conditions),
            "isolated": isolated,
            "predicted_bytes": None,
        },
    }


def _merged(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a child sent about one size; the samples of a timing that was cut off are summed up here."""
    part: dict[str, Any] = {}
    pairs, warm_up = [], []
    for event in events:
        part |= event.get("prepared", {}) | event.get("memory", {}) | event.get("timing", {})
        if "latency_ms" in event:
            pairs.append(event)
        elif "warm_up_ms" in event:
            warm_up.append(event["warm_up_ms"])
    if pairs and "latency_ms" not in part:
        part |= summary_of([pair["latency_ms"] for pair in pairs], [pair["calibration_ms"] for pair in pairs], warm_up)
        # Nobody looked at the machine when the child was ended.
        part["tainted"] = None
        part["latency_ms"] |= {"complete": False, "heap_kept": True}
    return part


def _derive(
    document: dict[str, Any], predicted: Predicted, limit: dict[str, float] | None, conditions: Conditions
) -> None:
    latency = document["latency_ms"]
    if latency is None:
        return
    latency["threads"] = document["measurement"]["threads"]
    document["ms_per_mpix"] = latency["median"] / (predicted.output_pixels / 1e6)
    # The ceilings are those of float32, and say nothing about arithmetic that is not counted.
    if limit and conditions.precision == "fp32" and predicted.complete:
        # Whole after all, an image moves its tensors.
        whole = document["tiling"] is not None and document["tiling"]["mode"] == "whole"
        moved = _moved(predicted, conditions.model_copy(update={"tile": WHOLE}) if whole else conditions)
        document["roofline"] = roofline(predicted.flops, moved, latency["median"], limit)


def _moved(predicted: Predicted, conditions: Conditions) -> int:
    """Return the bytes that a pass moves between operations.

    0 for an engine, which fuses them in its own way, and for tiles, whose tensors stay in the caches.
    """
    return predicted.moved_bytes if conditions.by_torch and not conditions.is_tiled else 0


def add_measurements(document: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return what ``profiling.profile`` returned with the measured part; arguments as ``measure`` takes them.

    Raises UserError as ``measure`` does, for tiles that cannot be, and for a model that does not return one image.
    """
    size = tuple(document["input_shape"][-2:])
    predicted = predict(document["model"], size, document["options"])
    measured = measure(document["model"], {"": predicted}, options=document["options"], **arguments)[""]
    if measured["measurement"]["exception"] in (TileError.__name__, OutputError.__name__):
        raise UserError(measured["measurement"]["error"])
    return document | measured


def as_measurements(document: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Measurement]:
    """Return what ``measure`` returned for one size as measurements of a record; nothing for what is not there."""
    found: dict[str, Measurement] = {}
    for card in PROFILERS:
        if card.kind == "timing":
            found |= card.measure(document)
    return {id: measurement.model_copy(update={"input_shape": list(shape)}) for id, measurement in found.items()}


def measured_text(document: Mapping[str, Any]) -> str:
    """Return the measured part for people."""
    latency, conditions = document["latency_ms"], document["measurement"]
    lines = [f"  measured on            {conditions['conditions']}, {conditions['threads']} threads"]
    if latency is not None:
        low, high = latency["ci_low"], latency["ci_high"]
        interval = "" if low is None else f", 95 % interval {low:.4g}-{high:.4g}"
        lines += [
            f"  latency                {latency['median']:.4g} ms (quartiles {latency['q1']:.4g}-{latency['q3']:.4g}"
            f"{interval}, n={latency['n']}), {document['ms_per_mpix']:.4g} ms per output MPix",
            f"  relative latency       {document['relative_latency']:.4g} x the calibration kernel"
            f" ({document['calibration_ms']['median']:.4g} ms)",
        ]
    if document["peak_rss_bytes"] is not None:
        lines.append(f"  memory added by a pass {document['peak_rss_bytes'] / GIB:.3f} GiB")
    if document["tiling"]:
        lines.append(f"  tiles                  {document['tiling']['text']}")
    if document["engine"]:
        lines.append(_engine_line(document["engine"]))
    if document["roofline"]:
        line = document["roofline"]
        copy = f", {line['copy_gbs']:.1f} GB/s" if line["moved_bytes"] else ""
        lines.append(
            f"  ceilings               {line['gemm_gflops']:.0f} GFLOP/s"
            f"{copy} allow"
            f" {line['allowed_ms']:.4g} ms ({line['bound']}-bound): {100 * line['share_of_ceiling']:.0f} % reached"
        )
    lines += [f"  tainted                {reason}" for reason in document["taint_reasons"]]
    if conditions["status"] != "ok":
        lines.append(f"  {conditions['status']:22} {conditions['error']}")
    return "\n".join(lines)


def _engine_line(engine: Mapping[str, Any]) -> str:
    sizes = [
        f"{what} {engine[key] / GIB:.3f} GiB"
        for what, key in (("held by it", "compile_rss_bytes"), ("by the engine's libraries", "library_rss_bytes"))
        if engine[key] is not None
    ]
    took = f"{engine['compile_ms'] / 1000:.2f} s"
    return f"  compiled in            {', '.join([took, *sizes])}; not in the pass"
