"""The measured values of one network at one size: time, memory, the engine, the tiles, and how it ended.

In JSON (``zoo-bench profile --measure --json``) the fields have the same names, and the conditions are direct keys of
``measurement``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_serializer
from pydantic.functional_serializers import SerializerFunctionWrapHandler

from benchmark.conditions import Conditions
from benchmark.record import Record, flattened
from benchmark.types import Tiling


class Samples(Record):
    """Samples of a time in ms with their median, quartiles and 95 % interval (None below two samples)."""

    median: float
    q1: float
    q3: float
    ci_low: float | None
    ci_high: float | None
    n: int
    samples: list[float]


class Latency(Samples):
    """The passes of a network. ``warm_up``: ms of earlier passes; ``cold``: the first pass is the only sample."""

    threads: int
    warm_up: list[float]
    steady: bool
    cold: bool
    # Whether there are as many samples as in a full measurement.
    complete: bool
    # Whether the heap kept freed memory while passes were timed.
    heap_kept: bool = False


class Calibration(Samples):
    """The passes of the calibration kernel, each next to a pass of the network; ``kernel`` describes it."""

    kernel: str


class Timing(Record):
    """Time of a network at one size. ``tainted`` is None if we cannot tell whether the timing was disturbed."""

    latency_ms: Latency
    relative_latency: float
    relative_latency_ci: tuple[float, float] | None
    calibration_ms: Calibration
    tainted: bool | None
    taint_reasons: list[str]
    # The times of the exchange between cores, in ms, where several threads of a CPU were timed.
    exchange_ms: list[float] = []
    # The load of the machine meanwhile: see ``benchmark.timing.sampling.observed``.
    observed: dict[str, float | None] | None = None


class ResidentPeak(Record):
    """How the memory of a pass was read; ``given_back``: freed tensors went back to the system at once."""

    resting_bytes: int
    input_bytes: int
    method: str
    given_back: bool = False


class PassMemory(Record):
    """What one pass adds to the process's resident bytes (and to the GPU's), and the time of that cold pass."""

    cuda_peak_bytes: int | None
    peak_rss_bytes: int
    peak_rss: ResidentPeak
    pass_ms: float


class EngineCost(Record):
    """The cost of an engine before the first pass: ms to compile, and the bytes that it and its libraries hold."""

    compile_ms: float
    compile_rss_bytes: int | None
    library_rss_bytes: int | None


class Prepared(Record):
    """The preparations: the engine's cost (None: torch runs the network), how images are cut (None: not at all)."""

    engine: EngineCost | None = None
    tiling: Tiling | None = None


class Ceilings(Record):
    """The fastest arithmetic (GFLOP/s of a matrix product) and copy (GB/s) of a machine, in float32.

    ``gemm_bf16_gflops`` is that arithmetic in bfloat16; None where the processor has no instructions for it.
    """

    gemm_gflops: float
    copy_gbs: float
    gemm_bf16_gflops: float | None = None

    def of(self, precision: str) -> Ceilings | None:
        """Return the ceilings of a precision, fp32 or bf16; None if they are not known."""
        if precision == "fp32":
            return self
        fast = self.gemm_bf16_gflops if precision == "bf16" else None
        return None if fast is None else self.model_copy(update={"gemm_gflops": fast})


class Roofline(Ceilings):
    """A time compared with the time that the machine's measured ceilings allow for the same FLOPs and bytes."""

    moved_bytes: int
    compute_ms: float
    bandwidth_ms: float
    allowed_ms: float
    share_of_ceiling: float
    bound: Literal["compute", "bandwidth"]


class State(Record):
    """How a measurement ended, and under which conditions it ran."""

    status: Literal["ok", "skipped", "oom", "error", "timeout"] = "ok"
    error: str | None = None
    # The class of the exception that ended the child.
    exception: str | None = None
    # These include the number of threads; ``conditions`` is their text for definitions.
    under: Conditions
    time_limit: float | None
    memory_limit: int | None
    conditions: str
    isolated: bool
    # The counted bytes that the network needs; None: not known.
    predicted_bytes: int | None = None

    @model_serializer(mode="wrap")
    def _flatten_conditions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return flattened(handler(self), "under")


class Measured(Record):
    """One network at one size; a part that was not measured is None. JSON has the fields of all parts on one level."""

    timing: Timing | None = None
    # Milliseconds per million pixels of the output image.
    ms_per_mpix: float | None = None
    memory: PassMemory | None = None
    prepared: Prepared = Prepared()
    roofline: Roofline | None = None
    measurement: State

    @model_serializer(mode="wrap")
    def _flatten_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        absent: dict[str, Any] = dict.fromkeys([*Timing.model_fields, *PassMemory.model_fields])
        absent |= {"exchange_ms": [], "taint_reasons": []}
        return {**absent, **flattened(values, "timing", "memory", "prepared")}

    def with_values(self, **values: Any) -> Measured:
        """Return a copy with other values of some fields."""
        return self.model_copy(update=values)

    def ended(self, status: str, error: str | None, exception: str | None = None) -> Measured:
        """Return a copy with this end of the measurement."""
        state = {"status": status, "error": error, "exception": exception}
        return self.with_values(measurement=self.measurement.model_copy(update=state))
