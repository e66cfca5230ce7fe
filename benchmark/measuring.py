"""Measure one model's time and memory in child processes: what ``profile --measure`` adds, and records use.

One child times, another measures memory: a process that has timed holds more memory than it needs. Both run under
the machine-wide lock. Where the predicted memory is more than there is, nothing runs and the row says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmark import machine
from benchmark.engine import Limits, Outcome, run_isolated, timing_lock
from benchmark.measure import PRECISIONS, Job, summary_of
from benchmark.profiling import CostError, meta_model, trace_card
from benchmark.reporting import Reporter
from benchmark.roofline import ceilings, roofline
from benchmark.selection import jsonable_options
from benchmark.types import Measurement
from zoo.card import get_card
from zoo.errors import SizeError, UserError

GIB = 1 << 30
# torch, its libraries and the interpreter in a child that has done one small pass.
PROCESS_BYTES = GIB * 6 // 10
# Sampling keeps to --time-limit itself; after this many seconds more (building the network, the pass that is under
# way) and half as long again the child is ended.
GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Conditions:
    """How a model runs: these decide the numbers. ``threads`` None: as many as torch uses here."""

    threads: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    time_limit: float | None = None
    memory_limit: int | None = None

    def check(self) -> None:
        """Raise UserError for a device or precision that is not there."""
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}.")
        if self.device not in ("cpu", "cuda"):
            raise UserError(f"--device {self.device}: expected cpu or cuda.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: torch sees no CUDA device here; leave the option out.")
        if self.time_limit is not None and not (math.isfinite(self.time_limit) and self.time_limit > 0):
            raise UserError(f"--time-limit {self.time_limit:g}: expected a number of seconds above 0.")


@dataclass(frozen=True)
class Predicted:
    """What one pass costs by counting, at float32."""

    shape: Sequence[int]
    output_pixels: int
    flops: int
    moved_bytes: int
    peak_activation_bytes: int
    peak_workspace_bytes: int
    weight_bytes: int

    def need(self, conditions: Conditions) -> int:
        """Return the bytes of activations, workspace and weights under ``conditions``."""
        scale = torch.finfo(PRECISIONS[conditions.precision]).bits / 32
        plain = conditions.device == "cpu" and not conditions.channels_last
        activations = self.peak_workspace_bytes if plain else self.peak_activation_bytes
        return int(scale * (activations + self.weight_bytes))


def predict(model: str, size: tuple[int, int], options: Mapping[str, Any]) -> Predicted:
    """Count one pass over planes of ``size``; raises UserError for a model that cannot be counted."""
    card = get_card(model)
    network = meta_model(card, options)
    try:
        traced = trace_card(card, options, size, network)
    except CostError as error:
        raise UserError(str(error)) from error
    return Predicted(
        shape=traced.input_shape,
        output_pixels=math.prod(traced.output_shape[-2:]),
        flops=2 * traced.macs,
        moved_bytes=traced.moved_bytes,
        peak_activation_bytes=traced.peak_activation_bytes,
        peak_workspace_bytes=traced.peak_workspace_bytes,
        weight_bytes=sum(p.numel() * p.element_size() for p in network.parameters()),
    )


def measure(
    model: str,
    predicted: Predicted,
    *,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    conditions: Conditions | None = None,
    plugins: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Return the measured part of a profile as JSON-ready values; a value that could not be measured is None.

    ``measurement.status`` is ``ok``, ``skipped`` (the predicted memory is not there), ``oom``, ``error`` or
    ``timeout`` with the reason in ``measurement.error``; samples from before such an end are kept, and
    ``latency_ms.complete`` is false where they are fewer than 20.
    Waits for other timings of this tool on the machine. Raises UserError for conditions that cannot be kept and
    for the user's mistakes that only the child could see.
    """
    conditions, reporter = conditions or Conditions(), reporter or Reporter()
    conditions.check()
    threads = conditions.threads or torch.get_num_threads()
    document = _nothing(conditions, threads, predicted)
    short = _shortage(predicted, conditions)
    if short:
        document["measurement"] |= {"status": "skipped", "error": short}
        return document
    job = Job(
        model=model,
        shape=list(predicted.shape),
        options=jsonable_options(options or {}),
        weights=weights,
        seed=seed,
        device=conditions.device,
        precision=conditions.precision,
        channels_last=conditions.channels_last,
    )
    arguments = {"job": dataclasses.asdict(job)}
    seconds = None if conditions.time_limit is None else 1.5 * conditions.time_limit + GRACE_SECONDS
    limits = Limits(conditions.memory_limit, seconds, threads)
    with timing_lock(reporter):
        budget = {"budget_seconds": conditions.time_limit}
        timed = run_isolated("benchmark.measure:measure_latency", arguments | budget, limits=limits, plugins=plugins)
        held = run_isolated("benchmark.measure:measure_memory", arguments, limits=limits, plugins=plugins)
        limit = ceilings(threads, reporter) if timed.status == "ok" and conditions.device == "cpu" else None
    for outcome in (timed, held):
        if outcome.exception == "UserError":
            raise UserError(outcome.error)
    document |= _timed(timed) | (held.value if held.status == "ok" else {})
    _derive(document, predicted, limit, conditions)
    failed = next((outcome for outcome in (timed, held) if outcome.status != "ok"), None)
    latency = document["latency_ms"]
    if failed:
        document["measurement"] |= {"status": failed.status, "error": failed.error}
    elif conditions.time_limit is not None and not latency["complete"]:
        text = f"{latency['n']} samples before the time limit of {conditions.time_limit:g} s"
        document["measurement"] |= {"status": "timeout", "error": text}
    return document


def _nothing(conditions: Conditions, threads: int, predicted: Predicted) -> dict[str, Any]:
    return {
        "latency_ms": None,
        "relative_latency": None,
        "relative_latency_ci": None,
        "ms_per_mpix": None,
        "calibration_ms": None,
        "tainted": None,
        "taint_reasons": [],
        "peak_rss_bytes": None,
        "peak_rss": None,
        "cuda_peak_bytes": None,
        "roofline": None,
        "measurement": {
            "status": "ok",
            "error": None,
            **dataclasses.asdict(conditions),
            "threads": threads,
            "predicted_bytes": predicted.need(conditions),
        },
    }


def _shortage(predicted: Predicted, conditions: Conditions) -> str | None:
    """Say what is missing where the predicted memory is more than there is."""
    need = predicted.need(conditions)
    if conditions.device == "cuda":
        there: int | None = torch.cuda.mem_get_info()[0]
        where = "free on the GPU"
    else:
        need += PROCESS_BYTES
        there, where = machine.available_memory(), "available"
        if conditions.memory_limit is not None and (there is None or conditions.memory_limit < there):
            there, where = conditions.memory_limit, "allowed by --memory-limit"
    if there is None or need <= there:
        return None
    shape = "x".join(map(str, predicted.shape))
    return f"not run: input {shape} needs {need / GIB:.2f} GiB (predicted), {there / GIB:.2f} GiB are {where}"


def _timed(outcome: Outcome) -> dict[str, Any]:
    """Return the timing's part; of a child that was ended, what it had sent."""
    if outcome.status == "ok":
        return dict(outcome.value)
    pairs = [event for event in outcome.events if "latency_ms" in event]
    warm_up = [event["warm_up_ms"] for event in outcome.events if "warm_up_ms" in event]
    if not pairs:
        return {}
    part = summary_of(
        [pair["latency_ms"] for pair in pairs],
        [pair["calibration_ms"] for pair in pairs],
        warm_up,
    )
    # Nobody looked at the machine when the child was ended.
    part["tainted"] = None
    part["latency_ms"]["complete"] = False
    return part


def _derive(
    document: dict[str, Any], predicted: Predicted, limit: dict[str, float] | None, conditions: Conditions
) -> None:
    latency = document["latency_ms"]
    if latency is None:
        return
    latency["threads"] = document["measurement"]["threads"]
    document["ms_per_mpix"] = latency["median"] / (predicted.output_pixels / 1e6)
    # The ceilings are those of float32.
    if limit and conditions.precision == "fp32":
        document["roofline"] = roofline(predicted.flops, predicted.moved_bytes, latency["median"], limit)


def add_measurements(document: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return what ``profiling.profile`` returned with the measured part; arguments as ``measure`` takes them."""
    size = tuple(document["input_shape"][-2:])
    try:
        predicted = predict(document["model"], size, document["options"])
    except SizeError as error:
        raise UserError(str(error)) from error
    return document | measure(document["model"], predicted, options=document["options"], **arguments)


def as_measurements(document: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Measurement]:
    """Return what ``measure`` returned as measurements of a record; nothing for what was not measured."""
    found: dict[str, Measurement] = {}
    latency, conditions = document["latency_ms"], document["measurement"]
    how = f"{conditions['device']}, {conditions['precision']}" + (
        ", channels last" if conditions["channels_last"] else ""
    )
    common: dict[str, Any] = {"kind": "timing", "higher_is_better": False, "input_shape": list(shape)}
    if latency is not None:
        beside = {"n": latency["n"], "threads": latency["threads"]}
        found["latency_ms"] = Measurement(
            value=latency["median"],
            unit="ms",
            definition=f"median time of one forward pass in a process of its own after a warm-up; {how}",
            q1=latency["q1"],
            q3=latency["q3"],
            **common,
            **beside,
        )
        low, high = document["relative_latency_ci"] or (None, None)
        found["relative_latency"] = Measurement(
            value=document["relative_latency"],
            unit="",
            definition=f"latency_ms over the median time of the calibration kernel, timed in turn"
            f" ({document['calibration_ms']['kernel']}); q1 and q3 are the 95 % interval; {how}",
            q1=low,
            q3=high,
            **common,
            **beside,
        )
        found["ms_per_mpix"] = Measurement(
            value=document["ms_per_mpix"],
            unit="ms/MPix",
            definition=f"latency_ms per million pixels of the output image; {how}",
            **common,
            **beside,
        )
    if document["peak_rss_bytes"] is not None:
        found["peak_rss_bytes"] = Measurement(
            value=document["peak_rss_bytes"],
            unit="B",
            definition="what one pass adds to the resident memory of a process that holds network and input"
            f" ({document['peak_rss']['method']}); {how}",
            **common,
        )
    return found


def measured_text(document: Mapping[str, Any]) -> str:
    """Return the measured part for people."""
    latency, conditions = document["latency_ms"], document["measurement"]
    lines = [
        f"  measured on            {conditions['device']}, {conditions['precision']}, {conditions['threads']} threads"
    ]
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
    if document["roofline"]:
        line = document["roofline"]
        lines.append(
            f"  ceilings               {line['gemm_gflops']:.0f} GFLOP/s, {line['copy_gbs']:.1f} GB/s allow"
            f" {line['allowed_ms']:.4g} ms ({line['bound']}-bound): {100 * line['share_of_ceiling']:.0f} % reached"
        )
    lines += [f"  tainted                {reason}" for reason in document["taint_reasons"]]
    if conditions["status"] != "ok":
        lines.append(f"  {conditions['status']:22} {conditions['error']}")
    return "\n".join(lines)
