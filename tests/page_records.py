"""Records for the tests of the HTML page: small ones of any name and number, and files of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.results.jsonl import to_json
from benchmark.results.records import content_of
from benchmark.types import Measurement, Result
from tests.sample_records import make_record

HOSTILE = "</script><img src=x onerror=alert(1)><!--<b>&amp;"
STANDIN = {"standin": True, "generator": 1, "sources": "abc"}


def measurement(value: float | None, kind: str, higher: bool | None, unit: str = "", **more: Any) -> Measurement:
    """Return a measurement whose definition is its kind."""
    return Measurement(value=value, unit=unit, definition=f"a {kind}", kind=kind, higher_is_better=higher, **more)


def record(
    model: str,
    psnr: float | None = None,
    *,
    flops: int = 10**12,
    latency: float | None = None,
    machine: str = "machine1",
    options: dict[str, Any] | None = None,
    more: dict[str, Measurement] | None = None,
    **fields: Any,
) -> Result:
    """Return a record: with ``psnr`` one of quality, else of costs alone."""
    shape = [1, 4, 1536, 2048]
    measurements = {"flops@12mp": measurement(flops, "count", False, "FLOP", input_shape=shape)}
    if psnr is not None:
        measurements["psnr[rgb]"] = measurement(psnr, "score", True, "dB", n=12, num_scenes=12)
    if latency is not None:
        beside = {"q1": latency * 0.9, "q3": latency * 1.1, "n": 9, "threads": 2}
        measurements["latency_ms"] = measurement(latency, "timing", False, "ms", input_shape=[1, 4, 224, 224], **beside)
    data = fields.setdefault("data", STANDIN)
    fields.setdefault("dataset", "zrr-standin" if data.get("standin") else "zrr")
    spec = {"profilers": ["macs"] + ["latency"] * (latency is not None)}
    if psnr is not None:
        spec |= {"metrics": {"psnr[rgb]": 1}, "evaluate": True}
        fields = {"evidence": "trained", "n": 12, "num_scenes": 12, **fields}
    return make_record(
        model,
        options=options or {},
        measurements=measurements | (more or {}),
        spec=spec,
        environment={"machine": machine, "cpu": f"CPU of {machine}"},
        **{"created": "2026-01-02T03:04:05+00:00", **fields},
    )


def write_records(path: Path, records: Sequence[Result]) -> Path:
    """Write records as ``results.jsonl`` of a run; return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(to_json(content_of(one)) + b"\n" for one in records))
    return path
